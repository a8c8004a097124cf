"""Requests that were good once: seeded changes to their JSON, to their bytes and to what their headers say."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, NamedTuple

RAW = "\U0001f6a9"  # begins and ends a text that is put into the JSON as it stands, without its quotes
RAW_TOKENS = [
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e39",
        "1e-400",
        "-0",
        "-0.0",
        "0.10",
        "1E2",
        "1.0",
        "01",
        "+1",
        ".5",
        "1.",
    ),
    *(
        "9" * 5000,
        "1" + "0" * 30,
        "9007199254740993",
        "0x1",
        "TRUE",
        "nul",
        "'x'",
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u0000"',
    ),
    *(
        '"\\ud83d\\ude00"',
        '"\\x"',
        '"\t"',
        "[" * 33 + "]" * 33,
        '{"a":1,"a":1}',
        "",
        ",",
        "/**/1",
        "1 //",
        "\ufeff1",
        "\u00a01",
    ),
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 1.0, 1.5, -0.0, 1e3, 1e308, 3.4e38, 3.5e38, 127, 128, 255, 256, 2**31, 2**32),
    *(2**53 + 1, 10**39, 10**400),
    *(2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**40, "", "1", "NaN", "Lyon", "Oslo", "b\u00e4r"),
    *("\u0000", "\ue000", "\ud800", "e\u0301"),
    *([], {}, [[]], [None], [1], [[1]], {"a": 1}, "x" * 300, "__proto__", "constructor", "a b", "FP32", "INT64", "BYTES", "BOOL"),
]  # fmt: skip
KEYS = [
    *("name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "id", "model_name", "rows", "instances"),
    *(
        "__proto__",
        "paramaters",
        "",
        "Name",
        "binary_data_size",
        "classification",
        "content_type",
        "cache",
        "priority",
        "route_key",
    ),
    *(
        "entity_key",
        "sequence_id",
        "triton_x",
        "headers",
        "note",
        "shared_memory_region",
        "binary_data_output",
        "k" * 65,
    ),
]
BYTES = [
    b"",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\x00",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"0",
    b"-",
    b"e9",
]
BYTES += [
    b"null",
    b"NaN",
    b"\\u0000",
    b"\\ud800",
    b" ",
    b"\n",
    b"\x0b",
    b"/*",
    b"\xe2\x80\xa8",
    b"1e999",
    b'"a":1,',
    b"true",
]
MEDIA = [
    "application/json",
    "application/octet-stream",
    "text/csv",
    "application/x-pickle",
    "multipart/form-data; boundary=x",
]
MEDIA += [
    "application/json; charset=utf-16",
    "APPLICATION/JSON;charset=UTF-8",
    "",
    ";",
    "text/plain",
    "*/*",
    "application/json, text/csv",
]


class Request(NamedTuple):
    """What is sent: headers of its own, and a body."""

    headers: dict[str, str]
    body: bytes


class Mutator:
    """Makes requests without end out of good bodies; the same ones from the same seed."""

    def __init__(self, seed: int, bodies: list[dict[str, Any]]) -> None:
        self._random = random.Random(seed)
        self._bodies = bodies

    def __iter__(self) -> Iterator[Request]:
        while True:
            yield self.request()

    def request(self) -> Request:
        """Return the next one: a sixth are only written otherwise, which changes nothing."""
        some, tree = self._random, json.loads(json.dumps(self._random.choice(self._bodies)))
        kind = some.random()
        if kind < 0.55:
            for _ in range(some.choice([1, 1, 1, 2, 4])):
                self._change(tree)
        body = self._written(tree)
        if 0.5 < kind < 0.85:
            for _ in range(some.choice([1, 1, 2, 5])):
                body = self._scratched(body)
        return self._headed(body) if some.random() < 0.1 else Request({}, body)

    def _change(self, tree: dict[str, Any]) -> None:
        some = self._random
        places = list(_places(tree))
        if not places:
            return
        holder, key = some.choice(places)
        value = holder[key]
        kind = some.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[some.choice(KEYS)] = holder.pop(key)
        elif kind == 2 and isinstance(holder, dict):
            holder[some.choice(KEYS)] = deepcopy(some.choice(VALUES))
        elif kind == 3 and isinstance(holder, list):
            holder.insert(some.randrange(len(holder) + 1), value)
        elif kind == 4 and isinstance(holder, list):
            some.shuffle(holder)
        elif kind == 5:
            holder[key] = [value] if some.random() < 0.7 else {"a": value}
        elif kind == 6:
            holder[key] = f"{RAW}{some.choice(RAW_TOKENS)}{RAW}"
        elif isinstance(value, int | float) and abs(value) < 1e300 and some.random() < 0.5:
            holder[key] = value + some.choice([-1, 1, 0.5, 1e-9, 2**31, -(2**63)])
        else:
            holder[key] = deepcopy(some.choice(VALUES))

    def _written(self, tree: dict[str, Any]) -> bytes:
        some = self._random
        if some.random() < 0.3:
            tree = _shuffled(tree, some)
        text = json.dumps(
            tree,
            ensure_ascii=some.random() < 0.7,
            separators=some.choice([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]),
            indent=some.choice([None, None, None, 1]),
        )
        for mark in (RAW, json.dumps(RAW)[1:-1]):
            text = text.replace(f'"{mark}', "").replace(f'{mark}"', "")
        return (
            text.replace('\\"', '"').encode(errors="surrogatepass")
            if RAW in str(tree)
            else text.encode(errors="surrogatepass")
        )

    def _scratched(self, body: bytes) -> bytes:
        some = self._random
        at = some.randrange(len(body) + 1)
        end = min(len(body), at + some.choice([1, 1, 2, 5, 30]))
        kind = some.randrange(7)
        if kind == 0 and at < len(body):
            return body[:at] + bytes([body[at] ^ (1 << some.randrange(8))]) + body[at + 1 :]
        if kind == 1:
            return body[:at] + body[end:]
        if kind == 2:
            return body[:at] + body[at:end] * 2 + body[end:]
        if kind == 3:
            return body[:at] + some.randbytes(some.choice([1, 2, 4])) + body[at:]
        if kind == 4:
            return body[: at if some.random() < 0.5 else len(body)] + (b"" if at else b"x")
        return body[:at] + some.choice(BYTES) + body[at if kind == 5 else end :]

    def _headed(self, body: bytes) -> Request:
        some = self._random
        kind = some.randrange(4)
        if kind == 0:
            return Request({"content-type": some.choice(MEDIA)}, body)
        if kind == 1:
            lengths = [len(body), len(body), len(body) - 1, len(body) + 1, 0, "+5", "", "9" * 11, "1.0", len(body) // 2]
            return Request({"inference-header-content-length": str(some.choice(lengths))}, body)
        if kind == 2:
            return Request({"content-encoding": some.choice(["gzip", "deflate", "identity", "br", "gzip, gzip"])}, body)
        encoding, pack = some.choice([("gzip", gzip.compress), ("deflate", zlib.compress)])
        packed = pack(body)
        return Request({"content-encoding": encoding}, self._scratched(packed) if some.random() < 0.5 else packed)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys: Any = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def _shuffled(node: Any, some: random.Random) -> Any:
    if isinstance(node, dict):
        return {key: _shuffled(node[key], some) for key in some.sample(list(node), len(node))}
    return [_shuffled(one, some) for one in node] if isinstance(node, list) else node


def good_bodies(
    columns: dict[str, tuple[str, bool]], rows: Callable[[int], dict[str, list[Any]]], outputs: list[str], model: str
) -> list[dict[str, Any]]:
    """Return good requests of several forms: one row and three, flat and nested, narrower datatypes, all that is optional."""

    def tensors(count: int, *, flat: bool = False, nested: bool = False, narrow: bool = False) -> list[dict[str, Any]]:
        made = []
        for name, values in rows(count).items():
            datatype = {"FP64": "FP32", "INT64": "UINT8"}.get(columns[name][0], "BYTES") if narrow else columns[name][0]
            data = [[value] for value in values] if nested else values
            made.append({"name": name, "shape": [count] if flat else [count, 1], "datatype": datatype, "data": data})
        return made

    asked = [{"name": name} for name in outputs]
    full = {
        "id": "a-1",
        "model_name": model,
        "parameters": {"priority": 1, "note": "x", "cache": False, "route_key": "r"},
    }
    return [
        {"inputs": tensors(1)},
        {"inputs": tensors(3)},
        {"inputs": tensors(3, nested=True), "outputs": []},
        {"inputs": tensors(2, flat=True), "outputs": asked[::-1]},
        {"inputs": tensors(2, narrow=True), "outputs": asked[:1], "id": "n:2"},
        {"inputs": tensors(1), "outputs": asked, **full},
        {"inputs": tensors(0)},
    ]  # fmt: skip
