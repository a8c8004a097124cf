"""The notations in which rows come and go: each is a decoder, an encoder and the word for it in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from trivet.dataplane.protocol.decode import decode_rows
from trivet.dataplane.protocol.encode import encode_rows
from trivet.dataplane.protocol.messages import Answer, RowsRequest
from trivet.dataplane.protocol.v1 import decode_instances, encode_predictions


class RowsDoor(NamedTuple):
    """One notation of rows; `name` stands in the log as the door."""

    name: str
    decode: Callable[[bytes, str], RowsRequest]  # the body, the model's name
    encode: Callable[[Answer, Any], bytes]  # Any: the request it decoded


ROWS_DOORS = {
    "predict": RowsDoor("rows", decode_rows, lambda answer, request: encode_rows(answer, request.outputs)),
    "v1_predict": RowsDoor("v1", decode_instances, encode_predictions),
}
"""By the kind of path that leads to them."""

DOORS = {"infer": "rest"} | {kind: door.name for kind, door in ROWS_DOORS.items()}
"""What the log and the metrics call each kind of path that predicts."""
