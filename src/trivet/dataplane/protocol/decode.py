"""Bytes to messages: strict JSON, by type, never by guess. Every refusal is an `InvalidRequest` with a catalogue code."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.protocol.messages import InferBody, InferRequest, RowsRequest, Scalar

MAX_INPUTS = 4096
MAX_OUTPUTS = 64
MAX_RANK = 8
MAX_PARAMETERS = 64
MAX_PARAMETER_KEY = 64
MAX_PARAMETER_TEXT = 1024
MAX_ROUTE_KEY = 128  # characters
MAX_ELEMENT = 1024 * 1024  # characters of one string element
ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_KEY = re.compile(rb'"\s*:')
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*?)`")
_MISSING_FIELD = re.compile(r"missing required field `(.*?)`")
_PLACE = re.compile(r" - at `\$?\.?(.*?)`$")
_infer = msgspec.json.Decoder(InferBody)
_rows = msgspec.json.Decoder(RowsRequest)
Message = TypeVar("Message")


def decode_infer(body: bytes, model: str) -> InferBody:
    """Return the request in `body`; raises `InvalidRequest`. Values are typed later, against a signature."""
    request = decode_json(_infer, body)
    inputs = request.inputs
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(f"{len(inputs)} inputs; at most {MAX_INPUTS} are read.", code="TOO_MANY")
    keys = 1 + 4 * len(inputs)
    for tensor in inputs:
        if tensor.data is None:
            raise InvalidRequest(f"{model}: input {quoted(tensor.name)} has no data.", code="MISSING_FIELD")
        if tensor.parameters is not None:
            check_parameters(tensor.parameters)
            _check_content_type(tensor.parameters)
            keys += 1 + len(tensor.parameters)
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
    if len(body) > MAX_ELEMENT:
        for tensor in inputs:
            _check_elements(tensor.name, tensor.data)
    return request


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
    if size > MAX_ELEMENT:
        for row in named:
            for name, value in row.items():
                _check_elements(name, [value])
    return keys


def decode_json(decoder: msgspec.json.Decoder[Message], body: bytes) -> Message:
    """Return what `decoder` reads in `body`; raises `InvalidRequest` with the place and the catalogue's code."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {_reason(str(error))}.", code="NOT_JSON") from None
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8.", code="NOT_JSON") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply.", code="BAD_NESTING") from None


def _reason(text: str) -> str:
    return text.removeprefix("JSON is malformed: ")[:80]


def _explained(text: str) -> InvalidRequest:
    """Translate msgspec's sentence; the caller's own names are quoted, its position is kept."""
    place = _PLACE.search(text)
    at = f" at {place[1]}" if place and place[1] else ""
    if unknown := _UNKNOWN_FIELD.search(text):
        return InvalidRequest(f"unknown field {quoted(unknown[1])}{at}.", code="UNKNOWN_FIELD")
    if missing := _MISSING_FIELD.search(text):
        return InvalidRequest(f"field {quoted(missing[1])} is missing{at}.", code="MISSING_FIELD")
    sentence = _PLACE.sub("", text).replace("`", "")
    if "out of range" in sentence:
        return InvalidRequest(f"a number is out of range{at}.", code="OUT_OF_RANGE")
    code = "BAD_SHAPE" if ".shape" in at else "BAD_PARAMETER" if "parameters" in at else "WRONG_TYPE"
    return InvalidRequest(f"{sentence[0].lower()}{sentence[1:]}{at}.", code=code)


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
    return keys


def check_parameters(parameters: dict[str, Scalar]) -> None:
    """Raise `InvalidRequest` for parameters beyond their bounds, or ones no request may set."""
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidRequest(f"{len(parameters)} parameters; at most {MAX_PARAMETERS} are read.", code="TOO_MANY")
    for key, value in parameters.items():
        if len(key) > MAX_PARAMETER_KEY or (isinstance(value, str) and len(value) > MAX_PARAMETER_TEXT):
            raise InvalidRequest(
                f"parameter {quoted(key)}: keys have at most {MAX_PARAMETER_KEY} characters, values {MAX_PARAMETER_TEXT}.",
                code="BAD_PARAMETER",
            )
        if (
            key == "headers"
            or key.startswith("triton_")
            or (key.startswith("sequence_") and not _is_no_sequence(key, value))
        ):
            raise InvalidRequest(f"parameter {quoted(key)} is not offered here.", code="BAD_PARAMETER")
    if not isinstance(route_key := parameters.get("route_key", ""), str | None) or len(route_key or "") > MAX_ROUTE_KEY:
        raise InvalidRequest(
            f"parameter 'route_key' is a string of at most {MAX_ROUTE_KEY} characters.", code="BAD_PARAMETER"
        )
    if not isinstance(cache := parameters.get("cache"), bool | None):
        raise InvalidRequest(f"parameter 'cache' is true or false, not {quoted(cache)}.", code="BAD_PARAMETER")


def _is_no_sequence(key: str, value: Scalar) -> bool:
    return key == "sequence_id" and value in (0, "", None)


def _check_content_type(parameters: dict[str, Scalar]) -> None:
    if "binary_data_size" in parameters:
        raise InvalidRequest("binary_data_size without binary tensors in the body.", code="BINARY_SIZE")
    if parameters.get("content_type") not in (None, "np", "pd", "str"):
        raise InvalidRequest(
            f"content_type {quoted(parameters['content_type'])} is not read here.", code="BAD_PARAMETER"
        )


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
            if output.parameters.get("binary_data"):
                raise InvalidRequest(
                    f"{model}: binary outputs are not offered yet; ask for JSON.", code="BAD_PARAMETER"
                )
    if len({output.name for output in outputs}) != len(outputs):
        raise InvalidRequest(f"{model}: an output is named twice.", code="DUPLICATE_OUTPUT")
    return keys


def _check_elements(name: str, data: Any) -> None:
    for value in data or ():
        if isinstance(value, str) and len(value) > MAX_ELEMENT:
            raise InvalidRequest(f"input {quoted(name)}: a text has over {MAX_ELEMENT} characters.", code="TOO_MANY")


def refuse_duplicate_keys(body: bytes, decoded: int) -> None:
    """Raise `DUPLICATE_KEY` if an object in `body` has one key twice; the decoder keeps the last silently.

    `decoded` is how many keys were decoded. As many matches of a key's end mean that none was dropped; a text
    that looks like a key's end, or an optional field sent as null, only makes the count larger, so then look closely.
    """
    if len(_KEY.findall(body)) == decoded:
        return
    json.loads(body, object_pairs_hook=_unique, parse_int=str, parse_float=str)  # the body is known to be good JSON


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = {key for key, _ in pairs}
    if len(names) == len(pairs):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidRequest(f"the key {quoted(key)} stands twice in one object.", code="DUPLICATE_KEY")
        seen.add(key)
