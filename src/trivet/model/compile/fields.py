"""The fields of a row: their datatypes as the sample shows them, and the same rows as a frame and as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from trivet.core.datatypes import MISSING_TEXT
from trivet.core.errors import CompileError, quoted
from trivet.model.bundle.packing import PACKED_DATATYPES, Pack, pack_columns
from trivet.model.compile.columns import Block, Origin, Table
from trivet.model.compile.lowering import takes_texts

MATRIX = "X"
TEXT = "text"  # what a row that is a text is called where the sample has no name for it
MOST_INPUTS = 4096
WORDS = "BYTES"
_INVENTED = {"lightgbm": "Column_{}", "catboost": "{}"}  # names that a library gives to the columns of a matrix
_DTYPES: dict[str, Any] = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_}


@dataclass(frozen=True)
class Field:
    """One value of a row. `gap` is how the sample writes a missing word: None or NaN."""

    name: str
    datatype: str  # FP64, INT64, BOOL or BYTES
    nullable: bool = False
    gap: Any = np.nan  # None or NaN
    categories: tuple[str, ...] | None = None
    rejects_unknown: bool = False
    low: float | None = None  # numbers outside these are refused, since the original refuses them
    high: float | None = None

    def takes(self, value: float) -> bool:
        """Tell whether a number is within what the original takes."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Layout:
    """All fields in the model's order, and whether they travel as one matrix `X`, as a tensor each, or as one text a row."""

    fields: tuple[Field, ...]
    is_matrix: bool
    has_names: bool = True
    is_text: bool = False

    @property
    def names(self) -> list[str]:
        return [field.name for field in self.fields]

    def graph_inputs(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return datatype and shape of every input tensor, by name."""
        if self.is_text:
            return {self.fields[0].name: (WORDS, (-1,))}
        if self.is_matrix:
            return {MATRIX: ("FP64", (-1, len(self.fields)))}
        packed = {name for pack in self.packs() for name in pack.columns}
        datatypes = {field.name: field.datatype for field in self.fields}
        inputs: dict[str, tuple[str, tuple[int, ...]]] = {
            name: (datatype, (-1, 1)) for name, datatype in datatypes.items() if name not in packed
        }
        return inputs | {p.name: (datatypes[p.columns[0]], (-1, len(p.columns))) for p in self.packs()}

    def packs(self) -> tuple[Pack, ...]:
        """Return which neighbours of one datatype enter the graph together."""
        if self.is_matrix:
            return ()
        runs = [[f.name for f in run] for kind, run in groupby(self.fields, key=_packed_kind) if kind]
        taken = set(self.names)
        return tuple(Pack(_pack_name(run, taken), tuple(run)) for run in runs if len(run) > 1)

    def table(self) -> Table:
        """Return the columns that enter the graph."""
        if self.is_matrix:
            names = tuple(self.names)
            return Table((Block(MATRIX, "FP64", names, tuple(Origin(name) for name in names)),))
        entering = {pack.columns[0]: pack for pack in self.packs()}
        inside = {name for pack in entering.values() for name in pack.columns[1:]}
        blocks = []
        for field in self.fields:
            if field.name in inside:
                continue
            pack = entering.get(field.name) or Pack(field.name, (field.name,))
            blocks.append(Block(pack.name, field.datatype, pack.columns, tuple(Origin(name) for name in pack.columns)))
        return Table(tuple(blocks))

    def frame(self, columns: dict[str, Any]) -> pd.DataFrame:
        """Return `columns`, by name, as the frame the original is asked with."""
        return pd.DataFrame({f.name: _series(f, columns[f.name]) for f in self.fields}, copy=False)

    def tensors(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the rows of `frame` as the tensors of the signature; `feed` makes them the graph's."""
        if self.is_matrix:
            return {MATRIX: np.ascontiguousarray(frame.to_numpy(np.float64))}
        tensors = {f.name: _tensor(f, frame[f.name]) for f in self.fields}
        return {name: tensor.reshape(-1) for name, tensor in tensors.items()} if self.is_text else tensors

    def feed(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the rows of `frame` as the graph takes them."""
        return pack_columns(self.packs(), self.tensors(frame))

    def with_fields(self, fields: Sequence[Field]) -> Layout:
        """Return this layout with other fields."""
        return replace(self, fields=tuple(fields))


def _packed_kind(field: Field) -> str:
    return field.datatype if field.datatype in PACKED_DATATYPES else ""


def _pack_name(run: list[str], taken: set[str]) -> str:
    name = f"{run[0]}..{run[-1]}"
    while name in taken:
        name += "."
    return name


def layout_of(model: Any, sample: Any) -> tuple[Layout, pd.DataFrame]:
    """Return the layout that `model` takes, with datatypes from `sample`, and the sample in that layout.

    `sample` is a DataFrame, an array (rows, features), or, for a model of texts, texts: a list, an array or a Series.
    Raises `CompileError` when the sample lacks a column, is too narrow, or holds what cannot travel.
    """
    names = fitted_names(model)
    width = fitted_width(model)
    if len(sample) == 0:
        raise CompileError("the sample has no rows.")
    if takes_texts(model):
        frame = _text_frame(sample)
        layout = Layout((Field(str(frame.columns[0]), WORDS),), is_matrix=False, is_text=True)
    elif names is None:
        frame = _matrix_frame(sample, width)
        layout = Layout(tuple(Field(str(c), "FP64") for c in frame.columns), True, isinstance(sample, pd.DataFrame))
    else:
        if not isinstance(sample, pd.DataFrame):
            raise CompileError("the model was trained on named columns: give the sample as a DataFrame with them.")
        if missing := [name for name in names if name not in sample.columns]:
            raise CompileError(f"the sample lacks the column {quoted(missing[0])}, which the model was trained on.")
        frame = sample[names]
        layout = Layout(tuple(_field(name, frame[name]) for name in names), False)
    if not layout.fields or len(layout.fields) > MOST_INPUTS:
        raise CompileError(f"{len(layout.fields)} inputs; a version takes 1 to {MOST_INPUTS}.")
    return layout, layout.frame({name: frame[name] for name in layout.names}).reset_index(drop=True)


def fitted_names(model: Any) -> list[str] | None:
    """Return the names of the columns that `model` was fitted on, or None when it was fitted on a bare matrix."""
    library = type(model).__module__.partition(".")[0]
    try:
        names = getattr(model, "feature_names_" if library == "catboost" else "feature_names_in_", None)
    except AttributeError:
        return None
    if names is None:
        return None
    listed = [str(name) for name in np.asarray(names).tolist()]
    invented = _INVENTED.get(library)
    return None if invented and listed == [invented.format(place) for place in range(len(listed))] else listed


def fitted_width(model: Any) -> int | None:
    """Return how many columns `model` was fitted on, or None when it does not say."""
    try:
        return int(model.n_features_in_)
    except (AttributeError, TypeError):
        return None


def _matrix_frame(sample: pd.DataFrame | np.ndarray, width: int | None) -> pd.DataFrame:
    if isinstance(sample, pd.DataFrame):
        frame = sample.copy()
        frame.columns = [str(column) for column in frame.columns]
    else:
        array = np.asarray(sample)
        if array.ndim != 2:
            raise CompileError(f"the sample has {array.ndim} dimensions; give rows and columns.")
        frame = pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])
    if width is not None and frame.shape[1] != width:
        raise CompileError(f"the model takes {width} columns, the sample has {frame.shape[1]}.")
    try:
        return frame.astype(np.float64)
    except (TypeError, ValueError):
        raise CompileError("the model was trained on a matrix, but the sample holds more than numbers.") from None


def _text_frame(sample: Any) -> pd.DataFrame:
    """Return a sample of texts as a table of one column, with the name it came with."""
    if isinstance(sample, pd.DataFrame):
        if sample.shape[1] != 1:
            raise CompileError(f"the model takes one text a row, the sample has {sample.shape[1]} columns.")
        name, values = str(sample.columns[0]), sample.iloc[:, 0].tolist()
    else:
        name, values = str(getattr(sample, "name", None) or TEXT), np.asarray(sample, object).tolist()
    strange = [value for value in values if not isinstance(value, str)]
    if strange:
        raise CompileError(f"the model takes one text a row, the sample holds {quoted(str(strange[0]))}.")
    return pd.DataFrame({name: np.array([*values, None], dtype=object)[:-1]}, dtype=object)


def _field(name: str, series: pd.Series) -> Field:
    dtype = series.dtype
    present = series.dropna()
    if isinstance(dtype, pd.CategoricalDtype) or dtype.kind == "O" or pd.api.types.is_string_dtype(dtype):
        kinds = {type(value) for value in present.tolist()}
        if all(issubclass(kind, str) for kind in kinds):
            gap = None if any(value is None for value in series.tolist()) else np.nan
            return Field(name, WORDS, gap=gap)
        if all(issubclass(kind, bool | np.bool_) for kind in kinds) and len(present) == len(series):
            return Field(name, "BOOL")
        raise CompileError(
            f"the column {quoted(name)} mixes {' and '.join(sorted(kind.__name__ for kind in kinds))}: "
            "make it words or numbers, or turn it into a number before training."
        )
    if pd.api.types.is_bool_dtype(dtype) and len(present) == len(series):
        return Field(name, "BOOL")
    if pd.api.types.is_integer_dtype(dtype) and len(present) == len(series):
        return Field(name, "INT64")
    if pd.api.types.is_numeric_dtype(dtype):
        return Field(name, "FP64")
    raise CompileError(f"the column {quoted(name)} holds {dtype}: turn it into a number before training.")


def _series(field: Field, values: Any) -> pd.Series:
    if field.datatype == WORDS:
        words = [field.gap if pd.isna(value) else str(value) for value in list(values)]
        return pd.Series(np.array([*words, None], dtype=object)[:-1], dtype=object)
    if isinstance(values, pd.Series):
        values = values.reset_index(drop=True)
    return pd.Series(values).astype(_DTYPES[field.datatype])


def _tensor(field: Field, series: pd.Series) -> np.ndarray:
    if field.datatype != WORDS:
        numbers: np.ndarray = series.to_numpy(_DTYPES[field.datatype]).reshape(-1, 1)
        return numbers
    words = [MISSING_TEXT if pd.isna(value) else value for value in series.tolist()]
    tensor: np.ndarray = np.array([*words, None], dtype=object)[:-1].reshape(-1, 1)
    return tensor
