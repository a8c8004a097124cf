"""Messages to bytes: always valid JSON, never a NaN, never more than the protocol says."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from trivet.core.decisions import decide, named_outputs
from trivet.core.errors import InvalidRequest, InvalidRows, TrivetError
from trivet.dataplane.protocol.messages import Answer, InferRequest
from trivet.dataplane.protocol.outputs import binary_outputs
from trivet.dataplane.protocol.raw import raw_bytes

MAX_FIELD = 256  # characters of a field that is told: no input has a longer name

_encode = msgspec.json.Encoder().encode


class _Parameters(msgspec.Struct, omit_defaults=True):
    prediction_id: str
    route: str
    cached: bool
    flagged_rows: int = 0
    fallback_from: str = ""


class _InferBody(msgspec.Struct):
    model_name: str
    model_version: str
    parameters: _Parameters
    outputs: list[Any]


class _InferBodyWithId(msgspec.Struct):
    model_name: str
    model_version: str
    id: str
    parameters: _Parameters
    outputs: list[Any]


class _BinaryOutput(msgspec.Struct):
    """An output tensor whose values follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any]


def encode_infer(answer: Answer) -> bytes:
    """Return the JSON of an `/infer` answer; NaN and infinities become null, counted in the output's parameters."""
    parameters = _parameters(answer)
    if answer.id is None:
        return _encode(_InferBody(answer.model, str(answer.version), parameters, answer.outputs))
    return _encode(_InferBodyWithId(answer.model, str(answer.version), answer.id, parameters, answer.outputs))


def encode_tensors(answer: Answer, request: InferRequest) -> tuple[bytes, int | None]:
    """Return the body of an `/infer` answer, and the length of its JSON where outputs follow it as bytes."""
    if request.outputs is None and request.parameters is None:
        return encode_infer(answer), None
    binary = binary_outputs(request, [output.name for output in answer.outputs])
    if not binary:
        return encode_infer(answer), None
    outputs: list[Any] = []
    tensors: list[bytes] = []
    for output, array in zip(answer.outputs, answer.arrays, strict=True):
        if output.name not in binary:
            outputs.append(output)
            continue
        tensor = raw_bytes(array, output.datatype)
        tensors.append(tensor)
        parameters = {**(output.parameters or {}), "binary_data_size": len(tensor)}
        outputs.append(_BinaryOutput(output.name, output.shape, output.datatype, parameters))
    header = encode_infer(msgspec.structs.replace(answer, outputs=outputs))
    return b"".join((header, *tensors)), len(header)


def encode_rows(answer: Answer, wanted: list[str] | None) -> bytes:
    """Return the JSON of a `/predict` answer: per row its id, value, decision and flags, and the outputs in `wanted`."""
    body: dict[str, Any] = {"model_name": answer.model, "model_version": str(answer.version)}
    if answer.id is not None:
        body["id"] = answer.id
    body["parameters"] = _parameters(answer)
    body["rows"] = answer_rows(answer, wanted or ())
    return _encode(body)


def answer_rows(answer: Answer, wanted: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return one mapping per row: `id`, `value`, `decision`, and `flags` and `outputs` where there are any.

    A row that did not fit stands in its place with `field`, `code` and `error`.
    """
    places = range(answer.rows) if answer.places is None else answer.places
    columns = {output.name: output.data for output in answer.outputs}
    rows: list[dict[str, Any]] = []
    for number, decision in enumerate(decide(answer.signature, columns, answer.rows)):
        row: dict[str, Any] = {"id": f"{answer.prediction_id}:{places[number]}", "value": decision.value}
        if decision.decision:
            row["decision"] = decision.decision
        if answer.flags and number in answer.flags:
            row["flags"] = answer.flags[number]
        rows.append(row)
    if wanted:
        named = named_outputs(answer.signature, {name: columns[name] for name in wanted}, answer.rows)
        for row, outputs in zip(rows, named, strict=True):
            row["outputs"] = outputs
    return rows if answer.problems is None else _in_their_places(rows, answer.problems)


def _in_their_places(rows: list[dict[str, Any]], problems: dict[int, InvalidRequest]) -> list[dict[str, Any]]:
    answered = iter(rows)
    return [
        {"field": _cut(problem.field), "code": problem.code, "error": problem.message} if problem else next(answered)
        for problem in map(problems.get, range(len(rows) + len(problems)))
    ]


def answer_parameters(answer: Answer) -> dict[str, Any]:
    """Return the parameters of `answer` by name, as every door gives them."""
    named: dict[str, Any] = msgspec.to_builtins(_parameters(answer))
    return named


def encode_error(error: TrivetError, state: dict[str, Any]) -> bytes:
    """Return `{"error": text}`, with `errors` for rows, and with what a health answer adds in `state`."""
    body: dict[str, Any] = {"error": error.message, **state}
    if isinstance(error, InvalidRows):
        body["errors"] = [
            {"row": problem.row, "field": _cut(problem.field), "code": problem.code, "error": problem.message}
            for problem in error.problems
        ]
    return _encode(body)


def _cut(field: str | None) -> str | None:
    return field and field[:MAX_FIELD]


def _parameters(answer: Answer) -> _Parameters:
    flagged_rows = len(answer.flags) if answer.flags else 0
    fallback_from = "" if answer.fallback_from is None else str(answer.fallback_from)
    return _Parameters(answer.prediction_id, answer.route, answer.cached, flagged_rows, fallback_from)
