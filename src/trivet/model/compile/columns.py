"""What flows between the steps of a pipeline while it is compiled: blocks of columns that know where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from trivet.core.errors import CompileError

if TYPE_CHECKING:  # it imports onnx, which what runs unchanged does not need
    from trivet.model.compile.graph import Graph


@dataclass(frozen=True)
class Origin:
    """A column as an affine function of one value of the caller's row: `scale * value + offset`."""

    field: str
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Block:
    """One tensor of shape `(rows, len(names))`; `origins` has one entry a column, None where the way back is lost."""

    tensor: str
    datatype: str  # FP64, FP32, INT64, BOOL or BYTES
    names: tuple[str, ...]
    origins: tuple[Origin | None, ...]

    @property
    def width(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Table:
    """Blocks side by side. `is_sparse` says that the original holds a sparse matrix here: its zeros may mean missing."""

    blocks: tuple[Block, ...]
    is_sparse: bool = False

    @property
    def width(self) -> int:
        return sum(block.width for block in self.blocks)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for block in self.blocks for name in block.names)

    @property
    def origins(self) -> tuple[Origin | None, ...]:
        return tuple(origin for block in self.blocks for origin in block.origins)

    def renamed(self, names: Sequence[str]) -> Table:
        """Return this table with other column names."""
        left = list(names)
        blocks = []
        for block in self.blocks:
            blocks.append(replace(block, names=tuple(left[: block.width])))
            del left[: block.width]
        return replace(self, blocks=tuple(blocks))


def is_missing(value: Any) -> bool:
    """True for None and NaN: what stands for a missing value in a DataFrame."""
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def side_by_side(tables: Sequence[Table], *, is_sparse: bool = False) -> Table:
    """Return the columns of `tables`, in order."""
    return Table(tuple(block for table in tables for block in table.blocks), is_sparse)


def select(graph: Graph, table: Table, places: Sequence[int]) -> Table:
    """Return the columns at `places` of `table`, in that order; neighbours from one block stay together."""
    owners = [(block, i) for block in table.blocks for i in range(block.width)]
    blocks: list[Block] = []
    run: list[int] = []
    for number, place in enumerate(places):
        block, column = owners[place]
        run.append(column)
        following = owners[places[number + 1]][0] if number + 1 < len(places) else None
        if following is not block:
            blocks.append(_columns(graph, block, run))
            run = []
    return Table(tuple(blocks), table.is_sparse)


def single_columns(graph: Graph, table: Table) -> list[Block]:
    """Return one block per column of `table`."""
    return [_columns(graph, block, [i]) for block in table.blocks for i in range(block.width)]


def matrix(graph: Graph, table: Table, datatype: str = "FP64") -> Block:
    """Return `table` as one numeric block of `datatype`. Raises `CompileError` for strings."""
    if not table.blocks:
        raise CompileError("a step receives no columns at all.")
    tensors: list[str] = []
    for given, neighbours in groupby(table.blocks, key=lambda block: block.datatype):
        blocks = list(neighbours)
        if given == datatype:
            tensors += [block.tensor for block in blocks]
        else:  # joined first, cast once: each node costs a small graph as much as its arithmetic
            together = replace(blocks[0], tensor=_joined(graph, [block.tensor for block in blocks]))
            tensors.append(as_datatype(graph, together, datatype).tensor)
    return Block(_joined(graph, tensors), datatype, table.names, table.origins)


def _joined(graph: Graph, tensors: list[str]) -> str:
    return tensors[0] if len(tensors) == 1 else graph.add("Concat", *tensors, axis=1)


def as_datatype(graph: Graph, block: Block, datatype: str) -> Block:
    """Return `block` cast to `datatype`, or itself when it has it. Raises `CompileError` for strings."""
    if block.datatype == datatype:
        return block
    if "BYTES" in (block.datatype, datatype):
        raise CompileError(f"column {block.names[0]!r} holds words where a step expects numbers; encode it first.")
    return replace(block, tensor=graph.cast(block.tensor, datatype), datatype=datatype)


def table_of(block: Block, *, is_sparse: bool = False) -> Table:
    """Return `block` as a table."""
    return Table((block,), is_sparse)


def derived(tensor: str, datatype: str, width: int, names: Sequence[str] | None = None) -> Block:
    """Return a block of columns from which no way leads back to a value of the caller."""
    return Block(tensor, datatype, tuple(names or (f"x{i}" for i in range(width))), (None,) * width)


def _columns(graph: Graph, block: Block, places: list[int]) -> Block:
    if places == list(range(block.width)):
        return block
    tensor = graph.add("Gather", block.tensor, graph.constant(np.array(places, np.int64)), axis=1)
    return Block(tensor, block.datatype, tuple(block.names[i] for i in places), tuple(block.origins[i] for i in places))
