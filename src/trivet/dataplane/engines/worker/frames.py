"""Frames: what passes between a web worker and a model worker. A short head, then the bytes of arrays; never a pickle.

    magic  head's length  arrays' length | head (msgpack) | arrays, one after the other

Every array names itself in the head: name, datatype, shape, bytes. Whoever reads a frame holds it against the version's
own contract before a byte of it becomes a number. BYTES are the lengths of all texts, 32 bits each, then the texts.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from trivet.core.datatypes import NUMPY_DTYPES
from trivet.core.errors import TrivetError
from trivet.core.signature import Signature
from trivet.model.bundle.packing import Pack, graph_inputs

MAGIC = b"TVM1"
PREFIX = struct.Struct("<4sIQ")
MAX_HEAD = 4 * 1024 * 1024  # bytes; 4,096 inputs with long names need under one
MAX_ARRAYS = 512 * 1024 * 1024  # bytes; a body of 16 MiB of the shortest numbers is 64 MiB of FP64
_LENGTH_BYTES = 4

T = TypeVar("T")


class BadFrame(TrivetError):
    """Bytes that are no frame of ours, or arrays that break the contract. Whoever sent them is not believed again."""

    default_code = "MODEL_FAILED"


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One array of a frame."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    size: int  # bytes


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """What a model worker says first on every connection: which bundle it runs, and how it calls this connection."""

    digest: str
    connection: int


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One prediction that is wanted. `deadline` is an instant of the machine's monotonic clock."""

    deadline: float
    outputs: list[str]
    parts: list[Part]
    is_alone: bool = False  # it shared a run with whatever killed a model worker: never batch it again


class Told(msgspec.Struct, frozen=True, array_like=True):
    """One answer; with a `code` of the catalogue it is a refusal and has no arrays."""

    code: str
    parts: list[Part]
    queue_us: int = 0  # from the last byte read to the beginning of the run
    run_us: int = 0
    run_rows: int = (
        0  # of the whole run; with the first answer that finds its caller, so that whoever adds up counts it once
    )


_encode = msgspec.msgpack.Encoder().encode


def encode_frame(head: Hello | Ask | Told, arrays: Sequence[bytes] = ()) -> bytes:
    """Return one frame."""
    encoded = _encode(head)
    return b"".join((PREFIX.pack(MAGIC, len(encoded), sum(map(len, arrays))), encoded, *arrays))


class Inbox(Generic[T]):
    """Bytes as they arrive, and the frames they make. At most one frame is held beyond what was read."""

    def __init__(self, head_type: type[T]) -> None:
        self._decode = msgspec.msgpack.Decoder(head_type).decode
        self._bytes = bytearray()
        self._needed = PREFIX.size

    def feed(self, data: bytes) -> tuple[T, bytearray] | None:
        """Return the head and the arrays' bytes once they are complete. One frame is under way at a time on a connection.

        Raises `BadFrame` for anything else.
        """
        held = self._bytes
        held += data
        if len(held) < self._needed:
            return None
        magic, head_size, arrays_size = PREFIX.unpack_from(held)
        if magic != MAGIC or head_size > MAX_HEAD or arrays_size > MAX_ARRAYS:
            raise BadFrame("a frame does not begin as frames do.")
        self._needed = PREFIX.size + head_size + arrays_size
        if len(held) < self._needed:
            return None
        if len(held) > self._needed:
            raise BadFrame("bytes follow a frame that nobody asked for.")
        try:
            head = self._decode(memoryview(held)[PREFIX.size : PREFIX.size + head_size])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadFrame("a frame's head cannot be read.") from error
        self._bytes, self._needed = bytearray(), PREFIX.size
        return head, held[PREFIX.size + head_size :]

    @property
    def missing(self) -> int:
        """How many bytes are known to be missing."""
        return self._needed - len(self._bytes)


class Contract:
    """What one version takes and gives, as both ends of a socket know it from its manifest."""

    def __init__(self, signature: Signature, packs: Sequence[Pack]) -> None:
        self.inputs: dict[str, tuple[str, tuple[int, ...]]] = graph_inputs(signature, packs)
        self.outputs = {output.name: (output.datatype, output.shape) for output in signature.outputs}
        self.has_rows = signature.has_rows
        self.splits = self.has_rows and all(shape[:1] == (-1,) for _, shape in self.outputs.values())

    def encode_inputs(self, arrays: Mapping[str, np.ndarray]) -> tuple[list[Part], list[bytes]]:
        """Return the arrays of a request as parts and bytes."""
        return _encode_arrays((name, self.inputs[name][0], array) for name, array in arrays.items())

    def encode_outputs(self, names: Sequence[str], arrays: Sequence[np.ndarray]) -> tuple[list[Part], list[bytes]]:
        """Return the arrays of an answer as parts and bytes."""
        return _encode_arrays((name, self.outputs[name][0], array) for name, array in zip(names, arrays, strict=True))

    def decode_inputs(self, parts: Sequence[Part], data: bytearray) -> tuple[dict[str, np.ndarray], int]:
        """Return a request's arrays, writable, and its rows. Raises `BadFrame`."""
        if len(parts) != len(self.inputs) or {part.name for part in parts} != self.inputs.keys():
            raise BadFrame("the inputs are not the model's.")
        arrays = _decode_arrays(parts, [self.inputs[part.name] for part in parts], data)
        rows = {len(array) for array in arrays} if self.has_rows else {1}
        if len(rows) != 1:
            raise BadFrame("the inputs differ in rows.")
        return {part.name: array for part, array in zip(parts, arrays, strict=True)}, rows.pop()

    def decode_outputs(
        self, wanted: Sequence[str], parts: Sequence[Part], data: bytearray, rows: int, max_bytes: int
    ) -> list[np.ndarray]:
        """Return an answer's arrays in the order of `wanted`. Raises `BadFrame` unless it is exactly what was asked."""
        if [part.name for part in parts] != list(wanted):
            raise BadFrame("the outputs are not the ones asked for.")
        if len(data) > max_bytes:
            raise BadFrame("the answer is larger than an answer may be.")
        arrays = _decode_arrays(parts, [self.outputs[name] for name in wanted], data)
        if self.has_rows:
            for name, array in zip(wanted, arrays, strict=True):
                if self.outputs[name][1][:1] == (-1,) and len(array) != rows:
                    raise BadFrame(f"the output {name} has {len(array)} rows, the request {rows}.")
        return arrays

    def check_output(self, name: str, array: np.ndarray, rows: int) -> None:
        """Raise `BadFrame` unless `array` has the datatype and the shape of the output `name`, and as many rows."""
        datatype, declared = self.outputs[name]
        if not isinstance(array, np.ndarray) or array.dtype != NUMPY_DTYPES[datatype]:
            raise BadFrame(f"the output {name} is not {datatype}.")
        _check_shape(name, array.shape, declared)
        if self.has_rows and declared[:1] == (-1,) and len(array) != rows:
            raise BadFrame(f"the output {name} has {len(array)} rows, the request {rows}.")


def _check_shape(name: str, shape: Sequence[int], declared: Sequence[int]) -> None:
    """Raise `BadFrame` unless `shape` is `declared`, whose -1 are any number of at least 0. Plain loops: this is hot."""
    if len(shape) == len(declared):
        for want, got in zip(declared, shape, strict=True):
            if got < 0 or want not in (-1, got):
                break
        else:
            return
    raise BadFrame(f"{name} has another shape than its signature.")


def _encode_arrays(named: Any) -> tuple[list[Part], list[bytes]]:  # Any: an iterable of name, datatype, array
    parts: list[Part] = []
    encoded: list[bytes] = []
    for name, datatype, array in named:
        data = _encode_texts(array) if datatype == "BYTES" else array.tobytes()
        parts.append(Part(name, datatype, array.shape, len(data)))
        encoded.append(data)
    return parts, encoded


def _encode_texts(array: np.ndarray) -> bytes:
    try:
        texts = [text.encode("utf-8", "surrogatepass") for text in array.ravel().tolist()]
    except AttributeError:
        raise BadFrame("a text output holds something else than texts.") from None
    return b"".join((struct.pack(f"<{len(texts)}I", *map(len, texts)), *texts))


def _decode_arrays(
    parts: Sequence[Part], declared: Sequence[tuple[str, tuple[int, ...]]], data: bytearray
) -> list[np.ndarray]:
    arrays: list[np.ndarray] = []
    begin = 0
    for part, (datatype, shape) in zip(parts, declared, strict=True):
        if part.datatype != datatype:
            raise BadFrame(f"{part.name} is {part.datatype[:8]}, not {datatype}.")
        if part.size < 0 or begin + part.size > len(data):
            raise BadFrame(f"{part.name} lies about its size.")
        _check_shape(part.name, part.shape, shape)
        count = math.prod(part.shape)
        if datatype == "BYTES":
            arrays.append(_decode_texts(part, data, begin, count))
        else:
            dtype = NUMPY_DTYPES[datatype]
            if count * dtype.itemsize != part.size:
                raise BadFrame(f"{part.name} lies about its size.")
            if begin % dtype.itemsize:  # a runtime may want its numbers aligned
                array = np.frombuffer(data[begin : begin + part.size], dtype, count)
            else:
                array = np.frombuffer(data, dtype, count, begin)
            arrays.append(array.reshape(part.shape))
        begin += part.size
    if begin != len(data):
        raise BadFrame("bytes are left over.")
    return arrays


def _decode_texts(part: Part, data: bytearray, begin: int, count: int) -> np.ndarray:
    at = begin + count * _LENGTH_BYTES
    end = begin + part.size
    if at > end:
        raise BadFrame(f"{part.name} lies about its size.")
    texts: list[str] = []
    try:
        for length in struct.unpack_from(f"<{count}I", data, begin):
            texts.append(data[at : at + length].decode("utf-8", "surrogatepass"))
            at += length
    except UnicodeDecodeError:
        raise BadFrame(f"{part.name} is not UTF-8.") from None
    if at != end:
        raise BadFrame(f"{part.name} lies about its size.")
    array = np.empty(count, dtype=object)
    array[:] = texts
    return array.reshape(part.shape)
