"""An oracle of its own: what a body of `/infer` is worth, by a second reading of the protocol that shares no line with ours.

It says which columns a model must see and which outputs must come back, or that the answer is a 4xx. Made for tables:
one tensor per column, of FP64, INT64 or BYTES. Binary outputs, base64, classification and deadlines it does not judge.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from typing import Any, NamedTuple

Columns = dict[str, tuple[str, bool]]  # the datatype of each input, and whether it may be null

READ_AS_JSON = {"", "application/json", "application/octet-stream", "application/x-www-form-urlencoded"}
BITS = {
    f"{sign}INT{bits}": (0 if sign else -(1 << bits - 1), (1 << bits - (not sign)) - 1)
    for sign in ("U", "")
    for bits in (8, 16, 32, 64)
}
WIDENS = {
    "FP64": {"FP64", "FP32", "INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32"},
    "INT64": {"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"},
    "BYTES": {"BYTES"},
}
KINDS = {
    "timeout": int,
    "priority": int,
    "classification": int,
    "cache": bool,
    "binary_data": bool,
    "binary_data_output": bool,
    "route_key": str,
    "entity_key": str,
}
CHANGE_THE_FORM = {"timeout", "classification", "binary_data", "binary_data_output"}


class Asked(NamedTuple):
    """What a good request asks: the values of each column, the outputs in their order, the caller's id."""

    columns: dict[str, list[Any]]
    outputs: list[str]
    id: str | None


class Refused(ValueError):
    """The protocol says 4xx."""


class NotJudged(Exception):
    """The answer has a form, or a deadline, that is beyond this oracle."""


def judge(headers: dict[str, str], body: bytes, columns: Columns, outputs: list[str], model: str) -> Asked:
    """Return what is asked; raises `Refused` or `NotJudged`."""
    media, *parameters = (part.strip().lower() for part in headers.get("content-type", "").split(";"))
    charsets = [p.partition("=")[2].strip('"') for p in parameters if p.startswith("charset=")]
    need(media in READ_AS_JSON and set(charsets) <= {"utf-8", "utf8"})
    encoding = headers.get("content-encoding", "").strip().lower()
    need(encoding in ("", "identity", "gzip", "deflate"))
    try:
        if encoding in ("gzip", "deflate"):
            stream = zlib.decompressobj(31 if encoding == "gzip" else 15)
            plain = stream.decompress(body)
            need(stream.eof and not stream.unused_data and len(plain) <= 100 * len(body))
            body = plain
        length = headers.get("inference-header-content-length")
        need(length is None or (re.fullmatch("[0-9]{1,10}", length) is not None and int(length) == len(body)))
        request = json.loads(body.decode(), object_pairs_hook=once, parse_constant=need, parse_float=finite)
        json.dumps(request, ensure_ascii=False).encode()  # no lone surrogate in any text
        return envelope(request, columns, outputs, model)
    except (ValueError, OverflowError, RecursionError, zlib.error, struct.error) as error:
        raise Refused(str(error)) from None


def envelope(request: Any, columns: Columns, outputs: list[str], model: str) -> Asked:
    known = {"inputs", "id", "parameters", "outputs", "model_name"}
    need(type(request) is dict and request.keys() <= known and type(request.get("inputs")) is list)
    need(request.get("model_name") in (None, model))
    given = request.get("id")
    need(given is None or (type(given) is str and re.fullmatch("[A-Za-z0-9._:-]{1,128}", given)))
    wanted = request.get("outputs")
    need(wanted is None or (type(wanted) is list and len(wanted) <= 64))
    names = []
    for output in wanted or []:
        need(type(output) is dict and output.keys() <= {"name", "parameters"} and output.get("name") in outputs)
        names.append(output["name"])
    need(len(set(names)) == len(names))
    sent = [tensor(one, columns) for one in request["inputs"]]
    values = dict(sent)
    need(len(sent) == len(columns) and values.keys() == columns.keys())
    rows = {len(column) for column in values.values()}
    need(len(rows) == 1 and max(rows) <= 1024)
    forms = [parameters(request.get("parameters")), *(parameters(output.get("parameters")) for output in wanted or [])]
    forms += [parameters(one.get("parameters")) for one in request["inputs"]]
    need((request.get("parameters") or {}).get("entity_key") in (None, "") or max(rows) <= 1)
    if any(forms):
        raise NotJudged
    return Asked({name: values[name] for name in columns}, names or outputs, given)


def tensor(sent: Any, columns: Columns) -> tuple[str, list[Any]]:
    need(type(sent) is dict and sent.keys() <= {"name", "shape", "datatype", "data", "parameters"})
    name, shape, given, data = (sent.get(key) for key in ("name", "shape", "datatype", "data"))
    need(type(name) is str and name in columns and type(data) is list and type(given) is str)
    datatype, nullable = columns[name]
    need(type(shape) is list and len(shape) in (1, 2) and all(type(size) is int and size >= 0 for size in shape))
    need(shape[1:] in ([], [1]) and given in WIDENS[datatype])
    if shape[1:] and data and type(data[0]) is list:
        need(all(type(row) is list and len(row) == 1 for row in data))
        data = [row[0] for row in data]
    need(len(data) == shape[0])
    return name, [element(value, given, nullable) for value in data]


def element(value: Any, datatype: str, nullable: bool) -> Any:
    if value is None:
        need(nullable)
    elif datatype == "BYTES":
        need(type(value) is str and value != "\ue000" and len(value.encode()) <= 1 << 20)
    elif datatype in BITS:
        need(type(value) is int and BITS[datatype][0] <= value <= BITS[datatype][1])
    else:
        need(type(value) in (int, float))
        value = float(value)
        if datatype == "FP32":
            value = struct.unpack("<f", struct.pack("<f", value))[0]
    return value


def parameters(given: Any) -> bool:
    """Return whether they change the form of the answer."""
    need(given is None or (type(given) is dict and len(given) <= 64))
    said = {key: value for key, value in (given or {}).items() if value is not None}
    need(all(len(key) <= 64 for key in given or {}))
    for key, value in said.items():
        need(type(value) in (str, int, float, bool) and type(value) is KINDS.get(key, type(value)))
        need(type(value) is not str or len(value) <= (128 if key in KINDS else 1024))
        need(type(value) is not int or -(1 << 63) <= value < 1 << 64)
        need(key != "content_type" or value in ("np", "pd", "str", "base64"))
        is_offered = key != "headers" and not key.startswith(("sequence_", "triton_", "shared_memory_"))
        need(is_offered or (key == "sequence_id" and value in (0, "")))
    return bool(said.keys() & (CHANGE_THE_FORM | {"binary_data_size"})) or said.get("content_type") == "base64"


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len({key for key, _ in pairs}) == len(pairs))
    return dict(pairs)


def finite(text: str) -> float:
    need(math.isfinite(float(text)))
    return float(text)


def need(true: object) -> None:
    if not true or isinstance(true, str):  # a text: the name of a number that is no JSON
        raise Refused(true)
