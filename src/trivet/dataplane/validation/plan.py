"""The plan: how requests for one signature are checked, worked out once per loaded version."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from trivet.core.datatypes import ACCEPTED, FLOATS, FP32_MAX, INTEGER_BOUNDS, NO_JSON, NUMPY_DTYPES, WIRE_DTYPES
from trivet.core.errors import InvalidRequest
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.engines.base import Made
from trivet.dataplane.validation.usual import UsualRow, usual_row
from trivet.model.bundle.packing import Pack

_FP64_MAX = sys.float_info.max
_ELEMENTS: dict[str, type] = {
    "BOOL": bool,
    "BYTES": str,
    **dict.fromkeys(INTEGER_BOUNDS, int),
    **dict.fromkeys(FLOATS, float),
}
PYTHON_TYPES: dict[str, frozenset[type]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str}),
    **{name: frozenset({int}) for name in INTEGER_BOUNDS},
    **{name: frozenset({float, int}) for name in FLOATS},
}
_REPRESENTABLE: dict[str, tuple[float, float]] = {
    **INTEGER_BOUNDS,
    "FP32": (-FP32_MAX, FP32_MAX),
    "FP64": (-_FP64_MAX, _FP64_MAX),
}

Flags = dict[int, dict[str, str]]


@dataclass(slots=True)
class Validated:
    """What the engine takes and the record keeps: arrays by name, rows, flat lists in signature order, flags."""

    feed: dict[str, np.ndarray]
    rows: int
    columns: list[list[Any]]
    flags: Flags | None = None
    at_ns: int = 0  # when that was known, of `time.monotonic_ns()`
    entity_keys: list[str] | None = None  # one per row
    places: list[int] | None = None  # of these rows among those asked, where not all of them fitted
    problems: dict[int, InvalidRequest] | None = None  # of the others, by their places
    made: Made | None = None  # of a model worker, once it ran


class Check:
    """One input's rules, worked out once: what the hot path would otherwise look up for every request."""

    __slots__ = (
        "accepted",
        "datatype",
        "dtype",
        "high",
        "is_column",
        "is_plain",
        "kinds",
        "known",
        "low",
        "missing",
        "name",
        "spec",
    )

    def __init__(self, spec: Input) -> None:
        self.spec = spec
        self.name = spec.name
        self.datatype = spec.datatype
        self.dtype = NUMPY_DTYPES[spec.datatype]
        self.is_column = spec.is_column
        self.accepted = ACCEPTED[spec.datatype]
        self.kinds = PYTHON_TYPES[spec.datatype] | ({type(None)} if spec.nullable else frozenset())
        if spec.datatype in NO_JSON:
            self.kinds = frozenset()  # no element of JSON is one
        self.known = frozenset(spec.categories) | {None} if spec.categories is not None else None
        self.low = -math.inf if spec.low is None else _as_held(spec.low, self.dtype)
        self.high = math.inf if spec.high is None else _as_held(spec.high, self.dtype)
        self.missing = spec.missing if spec.datatype == "BYTES" else math.nan
        self.is_plain = spec.is_column and spec.datatype not in NO_JSON

    def bounds_as(self, dtype: np.dtype) -> list[tuple[float, float]]:
        """Return each bound that a narrower float cannot hold: the nearest number it has, and the bound.

        Who sends the bound as such a float sends that number, and means the bound.
        """
        if self.dtype.kind != "f" or dtype.kind != "f":
            return []
        held = [(_as_held(bound, dtype), bound) for bound in (self.low, self.high)]
        return [(number, bound) for number, bound in held if number != bound]

    @property
    def is_bounded(self) -> bool:
        """True where the signature knows a smallest or a largest value."""
        return self.spec.low is not None or self.spec.high is not None

    @property
    def unremarkable(self) -> tuple[float | None, float | None]:
        """The range whose numbers need no closer look: neither NaN, nor infinite, nor too large, nor out of bounds."""
        if self.datatype not in _REPRESENTABLE:
            return None, None
        low, high = _REPRESENTABLE[self.datatype]
        return max(low, self.low), min(high, self.high)


def _as_held(bound: float, dtype: np.dtype) -> float:
    """Return `bound` as an array of `dtype` holds the same number: what was sent is compared after it was rounded."""
    if dtype.kind != "f":
        return bound
    with np.errstate(over="ignore"):  # beyond the datatype's largest there is no bound
        return float(dtype.type(bound))


class Group(NamedTuple):
    """Columns of one datatype; with a `pack` they enter the graph as one tensor of that name."""

    dtype: np.dtype
    places: list[int]
    names: list[str]
    pack: str
    is_nullable: bool
    lows: np.ndarray | None  # of shape (columns, 1); None where no column has bounds
    highs: np.ndarray | None


@dataclass(frozen=True)
class Plan:
    """How requests for one signature are checked, made once per loaded version."""

    signature: Signature
    max_rows: int
    packs: tuple[Pack, ...] = ()
    names: list[str] = field(init=False)
    checks: list[Check] = field(init=False)
    groups: list[Group] = field(init=False)  # columns that become one array together
    others: list[int] = field(init=False)  # places of inputs that are not columns
    field_names: tuple[str, ...] = field(init=False)  # what a row may name
    is_plain: bool = field(init=False)  # a table whose usual rows need no closer look
    usual: type[msgspec.Struct] | None = field(init=False)  # a list per input, of elements as JSON has them
    quick: list[tuple[Any, ...]] = field(init=False)  # of each check, what such a row is held against
    usual_row: UsualRow | None = field(init=False)  # how such a row is decoded, and held against that in the same pass
    bytes_per_row: dict[str, int | None] = field(init=False)  # of each output; None where the signature does not tell
    answer_row_bytes: int = field(init=False)  # of all whose size is known
    knows_answer_size: bool = field(init=False)
    is_binary_only: bool = field(init=False)  # an output cannot be given as JSON
    lenient: Plan = field(init=False, repr=False, compare=False)  # for what leaves optional inputs out

    def __post_init__(self) -> None:
        checks = [Check(spec) for spec in self.signature.inputs]
        packed_in = {name: pack.name for pack in self.packs for name in pack.columns}
        groups: dict[tuple[str, str], list[int]] = {}
        for place, check in enumerate(checks):
            if check.is_column:
                groups.setdefault((check.datatype, packed_in.get(check.name, "")), []).append(place)
        set_once = object.__setattr__
        set_once(self, "checks", checks)
        set_once(self, "names", [check.name for check in checks])
        set_once(self, "groups", [_group([checks[i] for i in p], p, pack) for (_, pack), p in groups.items()])
        quick = [(c.name, c.datatype, c.kinds, *c.unremarkable, c.known, c.missing) for c in checks]
        set_once(self, "quick", quick)
        set_once(self, "usual", _usual(checks))
        set_once(self, "is_plain", all(check.is_plain for check in checks))
        set_once(self, "usual_row", usual_row(quick) if self.is_plain else None)
        sizes = {output.name: _bytes_per_row(output) for output in self.signature.outputs}
        set_once(self, "bytes_per_row", sizes)
        set_once(self, "answer_row_bytes", sum(size or 0 for size in sizes.values()))
        set_once(self, "knows_answer_size", None not in sizes.values())
        set_once(self, "is_binary_only", any(output.datatype in NO_JSON for output in self.signature.outputs))
        set_once(self, "field_names", self.signature.field_names)
        set_once(self, "others", [place for place, check in enumerate(checks) if not check.is_column])
        lenient = self.signature.lenient
        is_so = lenient == self.signature
        set_once(self, "lenient", self if is_so else Plan(lenient, self.max_rows, self.packs))


def _usual(checks: list[Check]) -> type[msgspec.Struct] | None:
    """Return the type of a request's values, to be converted in one go: a quarter of what looking at each type costs."""
    if any(check.datatype in NO_JSON for check in checks):
        return None
    lists = [(f"input_{place}", _list_of(check.spec)) for place, check in enumerate(checks)]
    return msgspec.defstruct("Values", lists, array_like=True)


def _list_of(spec: Input) -> Any:  # a type made from the signature
    element = _ELEMENTS[spec.datatype]
    return list[element | None] if spec.nullable else list[element]  # type: ignore[valid-type]


def _bytes_per_row(output: Output) -> int | None:
    """Return the size of a row of `output`, of a label that of its longest class; None where it may be any."""
    if -1 in output.shape[1:] or output.shape[:1] != (-1,):
        return None
    elements = math.prod(output.shape[1:])
    if output.datatype != "BYTES":
        return elements * WIRE_DTYPES[output.datatype].itemsize
    return elements * max(map(len, output.classes)) if output.classes else None


def _group(checks: list[Check], places: list[int], pack: str) -> Group:
    lows = highs = None
    if any(check.is_bounded for check in checks):
        lows = np.array([[check.low] for check in checks])
        highs = np.array([[check.high] for check in checks])
    is_nullable = any(check.spec.nullable for check in checks)
    return Group(checks[0].dtype, places, [check.name for check in checks], pack, is_nullable, lows, highs)
