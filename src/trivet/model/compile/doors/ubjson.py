"""Universal Binary JSON: where a value ends. XGBoost's own reader does not say, and passes over what comes after."""

from __future__ import annotations

import struct

from trivet.core.errors import CompileError

MOST_DEPTH = 200
_SIZES = {"Z": 0, "N": 0, "T": 0, "F": 0, "i": 1, "U": 1, "C": 1, "I": 2, "l": 4, "d": 4, "L": 8, "D": 8}
_LENGTHS = {"i": ">b", "U": ">B", "I": ">h", "l": ">i", "L": ">q"}


def end_of(data: bytes) -> int | None:
    """Return the place behind the first value in `data`, or None where it is damaged or cut short."""
    try:
        return _Walk(data).value(0, None, 0)
    except (struct.error, IndexError, KeyError, ValueError):
        return None


class _Walk:
    """Goes over values without building them. Raises where there is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def value(self, place: int, kind: str | None, depth: int) -> int:
        if depth > MOST_DEPTH:
            raise CompileError(f"this binary JSON nests deeper than {MOST_DEPTH}.")
        if kind is None:
            kind, place = chr(self._data[place]), place + 1
        if kind in ("S", "H"):
            length, place = self._length(place)
            return self._within(place + length)
        if kind in ("[", "{"):
            return self._container(place, kind, depth)
        return self._within(place + _SIZES[kind])

    def _container(self, place: int, opening: str, depth: int) -> int:
        kind, count = None, None
        if self._data[place : place + 1] == b"$":
            kind, place = chr(self._data[place + 1]), place + 2
        if self._data[place : place + 1] == b"#":
            count, place = self._length(place + 1)
        if count is not None and kind in _SIZES and opening == "[":
            return self._within(place + count * _SIZES[kind])
        closing = ord("]" if opening == "[" else "}")
        done = 0
        while done != count:
            if count is None and self._data[place] == closing:
                return place + 1
            if opening == "{":
                length, place = self._length(place)
                place = self._within(place + length)
            place = self.value(place, kind, depth + 1)
            done += 1
        return place

    def _length(self, place: int) -> tuple[int, int]:
        form = _LENGTHS[chr(self._data[place])]
        (length,) = struct.unpack_from(form, self._data, place + 1)
        if length < 0:
            raise ValueError("a negative length")
        return length, place + 1 + struct.calcsize(form)

    def _within(self, place: int) -> int:
        if place > len(self._data):
            raise ValueError("cut short")
        return place
