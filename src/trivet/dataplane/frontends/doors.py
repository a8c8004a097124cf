"""The notations in which rows come and go: each is a decoder, an encoder and the word for it in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from trivet.dataplane.protocol.decode import decode_rows
from trivet.dataplane.protocol.encode import encode_rows
from trivet.dataplane.protocol.labels import decode_label_lines, decode_labels
from trivet.dataplane.protocol.messages import Answer, RowsRequest
from trivet.dataplane.protocol.text_table import MEDIA, decode_table, encode_table
from trivet.dataplane.protocol.v1 import decode_instances, encode_predictions

JSON = b"application/json"  # and no parameters: a stock client compares for equality


class RowsDoor(NamedTuple):
    """One notation of rows; `name` stands in the log as the door."""

    name: str
    decode: Callable[[bytes, str, bytes, int], RowsRequest]  # the body, the model's name, the query, the most rows
    encode: Callable[[Answer, Any], bytes]  # Any: the request it decoded
    media: bytes = JSON
    suffix: str = ""  # of the file that an answer is sent as


ROWS_DOORS = {
    "predict": RowsDoor(
        "rows",
        lambda body, model, _query, _max_rows: decode_rows(body, model),
        lambda answer, request: encode_rows(answer, request.outputs),
    ),
    "predict_csv": RowsDoor("csv", decode_table, encode_table, MEDIA, "csv"),
    "v1_predict": RowsDoor(
        "v1", lambda body, model, _query, _max_rows: decode_instances(body, model), encode_predictions
    ),
}
"""By the kind of path that leads to them."""

FEEDBACK = "feedback"
LABELS_DOORS = {"feedback": decode_labels, "feedback_lines": decode_label_lines}
"""How each notation of labels is read."""

DOORS = {
    "infer": "rest",
    **{kind: door.name for kind, door in ROWS_DOORS.items()},
    **dict.fromkeys(LABELS_DOORS, FEEDBACK),
}
"""What the log and the metrics call each kind of path that predicts, or says what came true."""
