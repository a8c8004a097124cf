"""The usual request: one row as a client sends it most, which its decoder checks on the way.

Names, datatypes, shapes, bounds and known values of a version become the types that msgspec decodes into, so that one
pass in C does what two in Python did: half the time. It refuses nothing. A body that it does not take is decoded and
judged by the general rules, which would give the same for all that it takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from trivet.core.datatypes import INTEGER_BOUNDS
from trivet.dataplane.protocol.messages import InferBody, Tensor

MOST_INPUTS = 256
MOST_CATEGORIES = 1000  # of one input: each is a constant of its decoder
MOST_INTEGER = INTEGER_BOUNDS["INT64"][1]  # of a bound that msgspec knows


class UsualRow(NamedTuple):
    """How the usual rows of one version are decoded, and the type by which they are known afterwards."""

    decoder: msgspec.json.Decoder[InferBody]
    first: type[Tensor]  # of its first input: no other version makes such a one


def usual_row(columns: Sequence[tuple[Any, ...]]) -> UsualRow | None:
    """Return how rows of `columns`, as `Plan.quick` has them, are decoded; None where one of them has no type here."""
    elements = [_element(column) for column in columns]
    if not 0 < len(columns) <= MOST_INPUTS or None in elements:
        return None
    tensors = [
        _tensor(name, datatype, element) for (name, datatype, *_), element in zip(columns, elements, strict=True)
    ]
    inputs = ("inputs", tuple[tuple(tensors)])  # type: ignore[misc]  # types made from the signature
    body = msgspec.defstruct("UsualBody", [inputs], bases=(InferBody,), forbid_unknown_fields=True)
    return UsualRow(msgspec.json.Decoder(body), tensors[0])


def _tensor(name: str, datatype: str, element: Any) -> type[Tensor]:
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("name", Literal[name]),
        ("shape", tuple[Literal[1], Literal[1]]),
        ("datatype", Literal[datatype]),
        ("data", Annotated[list[element], msgspec.Meta(min_length=1, max_length=1)]),
        ("parameters", None, None),
    ]
    return msgspec.defstruct("UsualTensor", fields, bases=(Tensor,), forbid_unknown_fields=True, gc=False)  # type: ignore[return-value]  # of that base


def _element(column: tuple[Any, ...]) -> Any:
    """Return the type of a column's unremarkable values, None for one that has none here."""
    _, datatype, kinds, low, high, known, _ = column
    element: Any
    if datatype == "BYTES":
        words = sorted(word for word in known or () if word is not None)
        if not 0 < len(words) <= MOST_CATEGORIES:
            return None
        element = Literal[tuple(words)]
    elif low is None or high is None:
        element = bool
    elif float in kinds:
        element = Annotated[float, msgspec.Meta(ge=float(low), le=float(high))]
    elif high > MOST_INTEGER:
        return None
    else:
        element = Annotated[int, msgspec.Meta(ge=math.ceil(low), le=math.floor(high))]
    return element | None if type(None) in kinds else element
