"""Bytes to messages: strict JSON, by type, never by guess. Every refusal is an `InvalidRequest` with a catalogue code."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from trivet.core.datatypes import MAX_ELEMENT_BYTES
from trivet.core.errors import InvalidRequest, did_you_mean, quoted
from trivet.dataplane.protocol.messages import (
    InferBody,
    InferRequest,
    MixedBody,
    RawBody,
    RawTensor,
    RowsRequest,
    Scalar,
    Tensor,
)
from trivet.dataplane.protocol.parameters import check_parameters

MAX_INPUTS = 4096
MAX_OUTPUTS = 64
MAX_RANK = 8
ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_KEY = re.compile(rb'"\s*:')
_BYTE = re.compile(r"\(byte (\d+)\)")
_NAN = re.compile(rb"NaN|Infinity")
_PLACE = re.compile(r"\$[\w.\[\]]{0,200}")  # in a body, as msgspec writes it: $.inputs[0].shape
_ROW_PLACE = re.compile(r"(rows|instances)\[(\d+)\]\[\.\.\.\]")
_UNKNOWN_FIELD, _MISSING_FIELD = "Object contains unknown field `", "Object missing required field `"
_infer = msgspec.json.Decoder(InferBody)
_rows = msgspec.json.Decoder(RowsRequest)
Message = TypeVar("Message")


def decode_infer(body: bytes, model: str, usual: msgspec.json.Decoder[InferBody] | None = None) -> InferBody:
    """Return the request in `body`; raises `InvalidRequest`.

    Values are typed later, against a signature; but for those that the decoder `usual` takes, which has types for them.
    """
    if usual is not None and (request := _usual(body, model, usual)) is not None:
        return request
    request = _decode_tensors(body, model)
    for tensor in request.inputs:
        if tensor.data is None:
            raise InvalidRequest(f"{model}: input {quoted(tensor.name)} has no data.", code="MISSING_FIELD")
        if tensor.parameters is not None and tensor.parameters.get("binary_data_size") is not None:
            raise InvalidRequest(
                f"{model}: input {quoted(tensor.name)} has a binary_data_size, but the request has no"
                " Inference-Header-Content-Length, so no binary tensors.",
                code="BINARY_SIZE",
            )
    return request


def _usual(body: bytes, model: str, decoder: msgspec.json.Decoder[InferBody]) -> InferBody | None:
    """Return the request in `body` where `decoder` takes it, None for one that is to be judged by the general rules."""
    try:
        request = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    _check_keys(request, body, 1 + 4 * len(request.inputs), model)
    return request


def decode_mixed(body: bytes, header_length: int, model: str) -> InferRequest:
    """Return the request in a body whose first `header_length` bytes are JSON and the rest tensors, in input order.

    Without JSON the whole body is the one tensor of a model that has one input. Raises `InvalidRequest`.
    """
    if header_length > len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length is {header_length}, the body has {len(body)} bytes.", code="BINARY_SIZE"
        )
    if header_length == 0:
        return MixedBody([RawBody("", [1], "", body)], parameters={"binary_data_output": True})
    request = _decode_tensors(body[:header_length], model)
    inputs: list[Tensor | RawTensor] = []
    rest, start = memoryview(body), header_length
    for tensor in request.inputs:
        size = _binary_size(tensor, model)
        if size is None:
            inputs.append(tensor)
            continue
        if size > len(body) - start:
            raise InvalidRequest(
                f"{model}: input {quoted(tensor.name)} has a binary_data_size of {size}, {len(body) - start} bytes are"
                " left of the body.",
                code="BINARY_SIZE",
            )
        inputs.append(
            RawTensor(tensor.name, tensor.shape, tensor.datatype, rest[start : start + size], tensor.parameters)
        )
        start += size
    if start != len(body):
        raise InvalidRequest(f"{len(body) - start} bytes follow the last tensor.", code="TRAILING_BYTES")
    return MixedBody(inputs, request.id, request.parameters, request.outputs, request.model_name)


def _binary_size(tensor: Tensor, model: str) -> int | None:
    """Return the size of a tensor that is not in the JSON, None for one that is."""
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        if tensor.data is None:
            raise InvalidRequest(f"{model}: input {quoted(tensor.name)} has no data.", code="MISSING_FIELD")
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidRequest(
            f"{model}: input {quoted(tensor.name)}: binary_data_size is {quoted(size)}; it is a number of bytes.",
            code="BINARY_SIZE",
        )
    if tensor.data is not None:
        raise InvalidRequest(
            f"{model}: input {quoted(tensor.name)} has data and a binary_data_size; send one of them.",
            code="BINARY_SIZE",
        )
    return size


def _decode_tensors(body: bytes, model: str) -> InferBody:
    request = decode_json(_infer, body)
    inputs = request.inputs
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(f"{len(inputs)} inputs; at most {MAX_INPUTS} are read.", code="TOO_MANY")
    keys = 1 + 4 * len(inputs)
    for tensor in inputs:
        if tensor.parameters is not None:
            keys += 1 + len(tensor.parameters)
            _check_tensor(tensor, model)
        if tensor.data is None:
            keys -= 1
    _check_keys(request, body, keys, model)
    if len(body) > MAX_ELEMENT_BYTES:
        for tensor in inputs:
            _check_elements(tensor.name, tensor.data)
    return request


def _check_keys(request: InferBody, body: bytes, keys: int, model: str) -> None:
    """Check what stands beside the tensors, which have `keys` with their own, and that no key stands twice."""
    keys += _check_envelope(request)
    if request.outputs is not None:
        keys += 1 + _check_outputs(request, model)
    if request.model_name is not None:
        keys += 1
        if request.model_name != model:
            raise InvalidRequest(
                f"model_name is {quoted(request.model_name)}, but the path names {quoted(model)}.", code="NAME_MISMATCH"
            )
    if body.count(b":") != keys:  # equal: every key was decoded once, and no string holds a colon
        refuse_duplicate_keys(body, keys)


def check_request(request: InferRequest, model: str) -> None:
    """Check what can be told of a request without a signature, in whatever message it came; raises `InvalidRequest`."""
    if len(request.inputs) > MAX_INPUTS:
        raise InvalidRequest(f"{len(request.inputs)} inputs; at most {MAX_INPUTS} are read.", code="TOO_MANY")
    for tensor in request.inputs:
        if tensor.parameters is not None:
            check_parameters(tensor.parameters)
    _check_envelope(request)
    _check_outputs(request, model)


def _check_tensor(tensor: Tensor, model: str) -> None:
    """Check a tensor's parameters, and put texts in place of base64 where they say that it holds that."""
    parameters = tensor.parameters or {}
    check_parameters(parameters)
    if parameters.get("content_type") == "base64":
        if tensor.datatype != "BYTES":
            raise InvalidRequest(
                f"{model}: input {quoted(tensor.name)}: content_type 'base64' is for BYTES.", code="BAD_PARAMETER"
            )
        if tensor.data is not None:
            tensor.data = _from_base64(tensor.name, tensor.data, model, MAX_RANK)


def _from_base64(name: str, element: Any, model: str, levels: int) -> Any:
    """Return the bytes of a base64 text; of a list, those of its elements, as many `levels` down as a shape may have.

    What is neither is judged with its type.
    """
    if isinstance(element, list) and levels:
        return [_from_base64(name, inner, model, levels - 1) for inner in element]
    if not isinstance(element, str):
        return element
    try:
        return b64decode(element, validate=True)
    except ValueError:
        raise InvalidRequest(
            f"{model}: input {quoted(name)}: {quoted(element)} is not base64 (RFC 4648, with its padding).",
            code="BAD_ELEMENT",
            field=name,
        ) from None


def decode_rows(body: bytes, model: str) -> RowsRequest:
    """Return the rows in `body`; raises `InvalidRequest`."""
    request = decode_json(_rows, body)
    refuse_duplicate_keys(body, check_rows(request, len(body), model))
    return request


def check_rows(request: RowsRequest, size: int, model: str) -> int:
    """Check what can be told of rows without a signature; return how many keys of a body of `size` bytes they are."""
    named = [row for row in request.rows if isinstance(row, dict)]
    widest = max(map(len, named), default=0)
    if widest > MAX_INPUTS:
        raise InvalidRequest(f"a row has {widest} fields; at most {MAX_INPUTS} are read.", code="TOO_MANY")
    keys = 1 + sum(map(len, named)) + _check_envelope(request)
    parameters = request.parameters or {}
    if parameters.get("interval") is not None:
        raise InvalidRequest(f"{model}: no version has calibration yet; ask without 'interval'.", code="BAD_PARAMETER")
    if not isinstance(parameters.get("partial"), bool | None):
        raise InvalidRequest(f"{model}: parameter 'partial' is true or false.", code="BAD_PARAMETER")
    if parameters.get("entity_key") and len(request.rows) != 1:
        raise InvalidRequest(
            f"{model}: the parameter 'entity_key' is for one row; send 'entity_keys', one per row.",
            code="BAD_PARAMETER",
        )
    if request.outputs is not None:
        keys += 1
        if len(set(request.outputs)) != len(request.outputs):
            raise InvalidRequest(f"{model}: an output is named twice.", code="DUPLICATE_OUTPUT")
    if request.entity_keys is not None:
        keys += 1
        if len(request.entity_keys) != len(request.rows):
            raise InvalidRequest(
                f"{model}: {len(request.entity_keys)} entity_keys for {len(request.rows)} rows.", code="COUNT_MISMATCH"
            )
    if size > MAX_ELEMENT_BYTES:
        for row in request.rows:
            for name, value in row.items() if isinstance(row, dict) else [("instances", row)]:
                _check_elements(name, [value])
    return keys


def decode_json(decoder: msgspec.json.Decoder[Message], body: bytes) -> Message:
    """Return what `decoder` reads in `body`; raises `InvalidRequest` with the place and the catalogue's code."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explained(str(error), decoder.type, body) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is {_malformed(body, str(error))}", code="NOT_JSON") from None
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8.", code="NOT_JSON") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply.", code="BAD_NESTING") from None


def _malformed(body: bytes, text: str) -> str:
    """Say what is wrong with a body that is no JSON: msgspec's sentence, and the remedy for what many send."""
    if not body.strip():
        return "empty; JSON is expected."
    reason = text.removeprefix("JSON is malformed: ")[:80]
    place = _BYTE.search(reason)
    hint = (
        " NaN and Infinity are not JSON; a missing value is null." if place and _NAN.match(body, int(place[1])) else ""
    )
    return f"not JSON: {reason}.{hint}"


def _explained(text: str, envelope: Any, body: bytes) -> InvalidRequest:
    """Translate msgspec's sentence of an `envelope`; the caller's own names are quoted, its position is kept."""
    sentence, place = _parted(text)
    at = f" at {place}" if place else ""
    if sentence.startswith(_UNKNOWN_FIELD):
        name = sentence[len(_UNKNOWN_FIELD) : -1]
        way_out = "" if at else _way_out(name, envelope)
        return InvalidRequest(f"unknown field {quoted(name)}{at}.{way_out}", code="UNKNOWN_FIELD")
    if sentence.startswith(_MISSING_FIELD):
        name = sentence[len(_MISSING_FIELD) : -1]
        way_out = "" if at else _SHAPES.get(envelope, "")
        return InvalidRequest(f"field {quoted(name)} is missing{at}.{way_out}", code="MISSING_FIELD")
    sentence = sentence.replace("`", "")
    if "out of range" in sentence:
        field = _field_out_of_range(body, place)
        of = f", field {quoted(field)}" if field else ""
        return InvalidRequest(f"a number is out of range{at}{of}.", code="OUT_OF_RANGE", field=field)
    code = "BAD_SHAPE" if ".shape" in at else "BAD_PARAMETER" if "parameters" in at else "WRONG_TYPE"
    return InvalidRequest(f"{sentence[0].lower()}{sentence[1:]}{at}.", code=code)


def _field_out_of_range(body: bytes, place: str) -> str | None:
    """Return which field of a row has a number that no float64 holds; msgspec names the row alone.

    None where that cannot be told: nobody has read the rest of the body yet, which may be anything.
    """
    match = _ROW_PLACE.match(place)
    if match is None:
        return None
    try:
        envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        rows = msgspec.json.decode(envelope[match[1]], type=list[msgspec.Raw])
        fields = msgspec.json.decode(rows[int(match[2])], type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, LookupError, ValueError):
        return None
    return next((name for name, value in fields.items() if not _is_in_range(value)), None)


def _is_in_range(value: msgspec.Raw) -> bool:
    try:
        msgspec.json.decode(value)
    except msgspec.ValidationError:
        return False
    except (msgspec.DecodeError, ValueError):
        pass
    return True


def _parted(text: str) -> tuple[str, str]:
    """Return msgspec's sentence and the place that it ends with: a caller's own name may read like one, and be long."""
    sentence, mark, place = text.rpartition(" - at `")
    if mark and _PLACE.fullmatch(place, 0, len(place) - 1):
        return sentence, place[1:-1].removeprefix(".")
    return text, ""


_SHAPES: dict[Any, str] = {
    RowsRequest: ' A row goes into "rows": [{...}].',
    InferBody: ' A tensor goes into "inputs": [{"name", "shape", "datatype", "data"}].',
}
_ELSEWHERE = {
    "rows": "/v2/models/NAME/predict",
    "inputs": "/v2/models/NAME/infer",
    "instances": "/v1/models/NAME:predict",
}
"""Which path takes a body with this field."""


def _way_out(name: str, envelope: Any) -> str:
    """Say where a field belongs that this path does not take, or what it takes instead."""
    if name in _ELSEWHERE:
        return f" {quoted(name)} belongs to {_ELSEWHERE[name]}.{_SHAPES.get(envelope, '')}"
    known = envelope.__struct_fields__
    return f"{did_you_mean(name, known)} Expected: {', '.join(known)}.{_SHAPES.get(envelope, '')}"


def _check_envelope(request: InferRequest | RowsRequest) -> int:
    """Check `id` and `parameters`; return how many keys of the body they are."""
    keys = 0
    if request.id is not None:
        keys = 1
        if not ID_PATTERN.fullmatch(request.id):
            raise InvalidRequest(
                f"id {quoted(request.id)}: 1 to 128 letters, digits, '.', '_', ':' or '-'.", code="BAD_ID"
            )
    if request.parameters is not None:
        keys += 1 + len(request.parameters)
        check_parameters(request.parameters)
        _refuse_base64(request.parameters)
    return keys


def _check_outputs(request: InferRequest, model: str) -> int:
    outputs = request.outputs or []
    if len(outputs) > MAX_OUTPUTS:
        raise InvalidRequest(f"{model}: {len(outputs)} outputs; at most {MAX_OUTPUTS}.", code="TOO_MANY")
    keys = 0
    for output in outputs:
        keys += 1
        if output.parameters is not None:
            keys += 1 + len(output.parameters)
            check_parameters(output.parameters)
            _refuse_base64(output.parameters)
    if len({output.name for output in outputs}) != len(outputs):
        raise InvalidRequest(f"{model}: an output is named twice.", code="DUPLICATE_OUTPUT")
    return keys


def _refuse_base64(parameters: Mapping[str, Scalar]) -> None:
    if parameters.get("content_type") == "base64":
        raise InvalidRequest("content_type 'base64' is said of an input, of BYTES.", code="BAD_PARAMETER")


def _check_elements(name: str, data: Any, levels: int = MAX_RANK) -> None:
    for value in data or ():
        if isinstance(value, list) and levels:  # nested deeper than a shape may be, it is refused for that
            _check_elements(name, value, levels - 1)
        elif isinstance(value, str | bytes) and len(_encoded(value)) > MAX_ELEMENT_BYTES:
            raise InvalidRequest(f"input {quoted(name)}: a text has over {MAX_ELEMENT_BYTES} bytes.", code="TOO_MANY")


def _encoded(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def refuse_duplicate_keys(body: bytes, decoded: int) -> None:
    """Raise `DUPLICATE_KEY` if an object in `body` has one key twice; the decoder keeps the last silently.

    `decoded` is how many keys were decoded. As many matches of a key's end mean that none was dropped; a text
    that looks like a key's end, or an optional field sent as null, only makes the count larger, so then look closely.
    """
    if len(_KEY.findall(body)) == decoded:
        return
    try:
        _read_all_keys(body)
    except InvalidRequest as error:
        raise _in_its_row(body, error) from None


def _read_all_keys(text: bytes) -> None:
    json.loads(text, object_pairs_hook=_unique, parse_int=str, parse_float=str)  # it is known to be good JSON


def _in_its_row(body: bytes, error: InvalidRequest) -> InvalidRequest:
    """Return `error` with the number of the row it is about, where one of the body's rows has the key twice."""
    envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for name in ("rows", "instances"):
        rows = envelope.get(name)
        for number, row in enumerate(msgspec.json.decode(rows, type=list[msgspec.Raw]) if rows else ()):
            try:
                _read_all_keys(bytes(row))
            except InvalidRequest as found:
                return InvalidRequest(f"row {number}: {found.message}", code=found.code)
    return error


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = {key for key, _ in pairs}
    if len(names) == len(pairs):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidRequest(f"the key {quoted(key)} stands twice in one object.", code="DUPLICATE_KEY")
        seen.add(key)
