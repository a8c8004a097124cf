"""Packing: neighbouring columns of one datatype enter the graph as one tensor.

Callers send a tensor per column, and the signature says so; a graph pays for each of its inputs, for a table of twenty
columns as much as for its arithmetic. So the compiler lets neighbours in together, and the manifest says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from trivet.core.errors import BundleError
from trivet.core.signature import Signature

PACKED_DATATYPES = frozenset({"FP64", "INT64"})


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the graph, of shape `(-1, len(columns))`: these columns of the signature, side by side."""

    name: str
    columns: tuple[str, ...]


def graph_inputs(signature: Signature, packs: Sequence[Pack]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return datatype and shape of each input of the graph, by name. Raises `BundleError` for packs that do not fit."""
    specs = {spec.name: spec for spec in signature.inputs}
    inputs = {spec.name: (spec.datatype, spec.shape) for spec in signature.inputs}
    for pack in packs:
        found = [specs[name] for name in pack.columns if name in specs and _is_taken(inputs, name)]
        datatypes = {spec.datatype for spec in found}
        is_whole = len(found) == len(pack.columns) and all(spec.is_column for spec in found)
        if not is_whole or len(datatypes) != 1 or not datatypes <= PACKED_DATATYPES or pack.name in inputs:
            raise BundleError(f"the pack {pack.name!r} is not of columns of one datatype, each packed once.")
        inputs[pack.name] = (datatypes.pop(), (-1, len(pack.columns)))
    return inputs


def _is_taken(inputs: dict[str, tuple[str, tuple[int, ...]]], name: str) -> bool:
    """Take `name` out of `inputs`; True where it was still there."""
    return inputs.pop(name, None) is not None


def pack_columns(packs: Sequence[Pack], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return `tensors`, by the signature's names, as the graph takes them: `(rows, 1)` columns joined to `(rows, n)`."""
    feed = dict(tensors)
    for pack in packs:
        feed[pack.name] = np.concatenate([feed.pop(name) for name in pack.columns], axis=1)
    return feed
