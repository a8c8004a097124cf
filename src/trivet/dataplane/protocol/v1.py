"""KServe V1: instances in, predictions out (protocol, section 13). The same rows, in another notation."""

from __future__ import annotations

from typing import Any

import msgspec

from trivet.core.decisions import decide, named_outputs
from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.protocol.decode import check_rows, decode_json, refuse_duplicate_keys
from trivet.dataplane.protocol.messages import Answer, InstancesRequest, RowsRequest, Scalar

ONLY_SIGNATURE = "serving_default"
NOT_HERE = ("partial", "interval")  # a list of predictions has no place for what these add

_encode = msgspec.json.Encoder().encode


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """What `:predict` is sent; `inputs` is a synonym of `instances`."""

    instances: list[Any] | None = None
    inputs: list[Any] | None = None
    outputs: list[str] | None = None
    parameters: dict[str, Scalar] | None = None
    signature_name: str | None = None


_body = msgspec.json.Decoder(_Body)


def decode_instances(body: bytes, model: str) -> RowsRequest:
    """Return what `body` asks: rows where its instances are objects, else an `InstancesRequest`.

    Raises `InvalidRequest`.
    """
    request = decode_json(_body, body)
    given = request.instances if request.inputs is None else request.inputs
    if given is None or (request.instances is not None and request.inputs is not None):
        which = "both, instances and inputs; send one" if given is not None else "no instances"
        raise InvalidRequest(
            f"{model}: the body has {which}.", code="MISSING_FIELD" if given is None else "BAD_PARAMETER"
        )
    if request.signature_name not in (None, ONLY_SIGNATURE):
        raise InvalidRequest(
            f"{model}: signature_name {quoted(request.signature_name)}: there is only {ONLY_SIGNATURE!r}.",
            code="BAD_PARAMETER",
        )
    for name in NOT_HERE:
        if name in (request.parameters or ()):
            raise InvalidRequest(f"parameter {quoted(name)} is not offered here; use /predict.", code="BAD_PARAMETER")
    objects = sum(isinstance(instance, dict) for instance in given)
    if objects not in (0, len(given)):
        raise InvalidRequest(f"{model}: {objects} of {len(given)} instances are objects; send all alike.")
    kind = RowsRequest if objects else InstancesRequest
    rows = kind(given, outputs=request.outputs, parameters=request.parameters)
    refuse_duplicate_keys(body, check_rows(rows, len(body), model) + (request.signature_name is not None))
    return rows


def encode_predictions(answer: Answer, request: RowsRequest) -> bytes:
    """Return per instance its decision, else its value; or an object of the outputs that were asked for."""
    columns = {output.name: output.data for output in answer.outputs}
    if request.outputs:
        wanted = {name: columns[name] for name in request.outputs}
        return _encode({"predictions": named_outputs(answer.signature, wanted, answer.rows)})
    decisions = decide(answer.signature, columns, answer.rows)
    return _encode({"predictions": [decision.decision or decision.value for decision in decisions]})
