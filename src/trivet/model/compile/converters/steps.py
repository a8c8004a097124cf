"""Imputers, scalers, encoders and selectors, in double and from what was fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import feature_selection, impute, preprocessing

from trivet.core.datatypes import MISSING_TEXT
from trivet.core.errors import CompileError
from trivet.model.compile.columns import (
    Block,
    Origin,
    Table,
    as_datatype,
    derived,
    is_missing,
    matrix,
    select,
    side_by_side,
    single_columns,
    table_of,
)
from trivet.model.compile.converters.stock import transform_stock, unsupported
from trivet.model.compile.graph import ML, Graph

ABSENT = -1  # the place of a category that lights no column


def simple_imputer(graph: Graph, step: Any, table: Table) -> Table:
    """Replace missing values by the fitted statistics; with `add_indicator`, append which were missing."""
    missing = step.missing_values
    kept = [i for i, value in enumerate(step.statistics_) if not (is_missing(value) and not step.keep_empty_features)]
    holds_words = any(block.datatype == "BYTES" for block in table.blocks)
    if holds_words:
        filled, mask = _fill_words(graph, step, table, kept)
    else:
        filled, mask = _fill_numbers(graph, step, table, kept, missing)
    if not step.add_indicator:
        return filled
    lit = np.asarray(step.indicator_.features_, np.int64)
    indicator = graph.cast(graph.add("Gather", mask, graph.constant(lit), axis=1), "FP64")
    return side_by_side([filled, table_of(derived(indicator, "FP64", len(lit)))])


def _fill_numbers(graph: Graph, step: Any, table: Table, kept: list[int], missing: Any) -> tuple[Table, str]:
    block = matrix(graph, table)
    if is_missing(missing):
        mask = graph.add("IsNaN", block.tensor)
    else:
        mask = graph.add("Equal", block.tensor, graph.constant(missing, np.float64))
    statistics = np.asarray(step.statistics_, np.float64)
    statistics = np.where(np.isnan(statistics), 0.0, statistics).reshape(1, -1)
    filled = graph.add("Where", mask, graph.constant(statistics), block.tensor)
    return select(graph, table_of(replace(block, tensor=filled)), kept), mask


def _fill_words(graph: Graph, step: Any, table: Table, kept: list[int]) -> tuple[Table, str]:
    blocks, masks = [], []
    for i, column in enumerate(single_columns(graph, table)):
        if column.datatype != "BYTES":
            raise CompileError(f"{type(step).__name__} receives words and numbers together; give each its own.")
        wanted = step.missing_values
        mark = MISSING_TEXT if is_missing(wanted) or wanted != wanted else str(wanted)  # noqa: PLR0124  (NaN)
        mask = graph.add("Equal", column.tensor, graph.constant([[mark]], object))
        masks.append(mask)
        if i in kept:
            fill = graph.constant([[str(step.statistics_[i])]], object)
            blocks.append(replace(column, tensor=graph.add("Where", mask, fill, column.tensor)))
    joined = masks[0] if len(masks) == 1 else graph.add("Concat", *masks, axis=1)
    return Table(tuple(blocks)), joined


def affine(graph: Graph, table: Table, *, subtract: Any = None, divide: Any = None, multiply: Any = None) -> Table:
    """Return `(x - subtract) / divide * multiply`, column by column, in the order the original computes it."""
    block = matrix(graph, table)
    tensor = block.tensor
    scale, offset = np.ones(block.width), np.zeros(block.width)
    if subtract is not None:
        values = np.asarray(subtract, np.float64)
        tensor = graph.add("Sub", tensor, graph.constant(values.reshape(1, -1)))
        offset = offset - values
    if divide is not None:
        values = np.asarray(divide, np.float64)
        tensor = graph.add("Div", tensor, graph.constant(values.reshape(1, -1)))
        scale, offset = scale / values, offset / values
    if multiply is not None:
        values = np.asarray(multiply, np.float64)
        tensor = graph.add("Mul", tensor, graph.constant(values.reshape(1, -1)))
        scale, offset = scale * values, offset * values
    origins = tuple(
        Origin(o.field, o.scale * s, o.offset * s + b) if o is not None and s != 0 else None
        for o, s, b in zip(block.origins, scale.tolist(), offset.tolist(), strict=True)
    )
    return Table((Block(tensor, "FP64", block.names, origins),), table.is_sparse)


def standard_scaler(graph: Graph, step: Any, table: Table) -> Table:
    """(x - mean) / scale."""
    return affine(
        graph,
        table,
        subtract=step.mean_ if step.with_mean else None,
        divide=step.scale_ if step.with_std else None,
    )


def robust_scaler(graph: Graph, step: Any, table: Table) -> Table:
    """(x - median) / interquartile range."""
    return affine(
        graph,
        table,
        subtract=step.center_ if step.with_centering else None,
        divide=step.scale_ if step.with_scaling else None,
    )


def max_abs_scaler(graph: Graph, step: Any, table: Table) -> Table:
    """x / largest absolute value."""
    return affine(graph, table, divide=step.scale_)


def min_max_scaler(graph: Graph, step: Any, table: Table) -> Table:
    """x * scale + min, clipped when the original clips."""
    scaled = affine(graph, affine(graph, table, multiply=step.scale_), subtract=-np.asarray(step.min_))
    if not step.clip:
        return scaled
    low, high = (graph.constant(bound, np.float64) for bound in step.feature_range)
    block = scaled.blocks[0]
    return table_of(derived(graph.add("Clip", block.tensor, low, high), "FP64", block.width, block.names))


def one_hot_encoder(graph: Graph, step: Any, table: Table) -> Table:
    """Light the column that the fitted encoder lights, for every category, for an unseen one and for a missing one."""
    blocks = []
    for column, places in zip(single_columns(graph, table), _places_of(step), strict=True):
        width, lookup, unseen, missing = places
        _remember(graph, column, lookup)
        if width == 0:
            continue
        place = _look_up(graph, column, lookup, default=unseen, missing=missing)
        lit = graph.add("Equal", place, graph.constant(np.arange(width, dtype=np.int64).reshape(1, -1)))
        blocks.append(derived(graph.cast(lit, "FP64"), "FP64", width))
    return Table(tuple(blocks), is_sparse=bool(step.sparse_output))


def _remember(graph: Graph, column: Block, lookup: Mapping[Any, int]) -> None:
    """Note the words a column may hold, for its field's categories."""
    origin = column.origins[0]
    if column.datatype == "BYTES" and origin is not None:
        graph.categories.setdefault(origin.field, tuple(str(word) for word in lookup))


def _places_of(step: Any) -> list[tuple[int, dict[Any, int], int, int]]:
    """Ask the fitted encoder, for each of its columns: width, place of each category, of an unseen and a missing value."""
    answers = []
    first = 0
    usual = [categories[0] for categories in step.categories_]
    for i, categories in enumerate(step.categories_):
        width = int(step._n_features_outs[i])
        columns = slice(first, first + width)
        first += width
        known = [value for value in categories.tolist() if not is_missing(value)]
        lit = _lit_columns(step, usual, i, known, columns) if known else []
        lookup = {value: place for value, place in zip(known, lit, strict=True) if place is not None}
        gap = next((value for value in categories.tolist() if is_missing(value)), np.nan)
        unseen = _ask(step, usual, i, _unseen(categories), columns)
        missing = _ask(step, usual, i, gap, columns)
        answers.append((width, lookup, unseen, missing))
    return answers


def _lit_columns(step: Any, usual: list[Any], i: int, values: list[Any], columns: slice) -> list[int]:
    import warnings

    cells: list[Any] = [np.repeat(np.array([value], object), len(values)) for value in usual]
    cells[i] = np.array(values, object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "found unknown categories": that is the question
        answer = step.transform(_input_like_fit(step, cells))
    shown = np.asarray(answer.todense() if hasattr(answer, "todense") else answer)[:, columns]
    return [int(row.argmax()) if row.any() else ABSENT for row in shown]


def _ask(step: Any, usual: list[Any], i: int, value: Any, columns: slice) -> int:
    try:
        return _lit_columns(step, usual, i, [value], columns)[0]
    except (ValueError, TypeError):
        return ABSENT  # the original refuses it; the signature will, too


def _input_like_fit(step: Any, cells: list[Any]) -> Any:
    """Return `cells`, one array a column, in the container the encoder was fitted on."""
    import pandas as pd

    names = getattr(step, "feature_names_in_", None)
    frame = pd.DataFrame({i: pd.Series(column, dtype=object) for i, column in enumerate(cells)})
    for i, categories in enumerate(step.categories_):
        if categories.dtype.kind in "iufb" and not frame[i].isna().any():
            frame[i] = frame[i].astype(categories.dtype if categories.dtype.kind != "O" else float)
        elif categories.dtype.kind == "f":
            frame[i] = frame[i].astype(float)
    if names is not None:
        frame.columns = list(names)
        return frame
    return frame.to_numpy()


def _unseen(categories: np.ndarray) -> Any:
    if categories.dtype.kind in "iuf":
        numbers = categories[~np.isnan(categories)] if categories.dtype.kind == "f" else categories
        return (numbers.max() if len(numbers) else 0) + 1
    if categories.dtype.kind == "b":
        return np.nan
    return "\ue001 unseen"


def _look_up(graph: Graph, column: Block, lookup: dict[Any, int], *, default: int, missing: int) -> str:
    """Return the place of each value of `column`, INT64 of shape (rows, 1)."""
    if column.datatype == "BYTES":
        keys = {str(key): place for key, place in lookup.items()} | {MISSING_TEXT: missing}
        return graph.add(
            "LabelEncoder",
            column.tensor,
            domain=ML,
            keys_strings=list(keys),
            values_int64s=list(keys.values()),
            default_int64=default,
        )
    column = as_datatype(graph, column, "FP64")
    known = np.array([[float(key) for key in lookup]], np.float64)
    hit = graph.add("Equal", column.tensor, graph.constant(known))
    places = np.array([[place - default for place in lookup.values()]], np.float64).reshape(-1, 1)
    found = graph.add("MatMul", graph.cast(hit, "FP64"), graph.constant(places))
    place = graph.add("Add", graph.cast(found, "INT64"), graph.constant(default, np.int64))
    return graph.add("Where", graph.add("IsNaN", column.tensor), graph.constant(missing, np.int64), place)


def ordinal_encoder(graph: Graph, step: Any, table: Table) -> Table:
    """The code that the fitted encoder gives, for every category, for an unseen one and for a missing one."""
    return _encoded(graph, step, table, 1)


def target_encoder(graph: Graph, step: Any, table: Table) -> Table:
    """The mean of the target that the fitted encoder gives: one column, or one for each class of several."""
    return _encoded(graph, step, table, len(step.classes_) if step.target_type_ == "multiclass" else 1)


def _encoded(graph: Graph, step: Any, table: Table, width: int) -> Table:
    """Look up what the fitted encoder gives for each category: `width` numbers for each of its columns."""
    blocks = []
    usual = [categories[0] for categories in step.categories_]
    for i, column in enumerate(single_columns(graph, table)):
        categories = step.categories_[i]
        known = [value for value in categories.tolist() if not is_missing(value)]
        gap = next((value for value in categories.tolist() if is_missing(value)), np.nan)
        rows = [_codes(step, usual, i, known, width)] if known else []
        rows += [_code(step, usual, i, value, width) for value in (_unseen(categories), gap)]
        lookup = {value: place for place, value in enumerate(known)}
        _remember(graph, column, lookup)
        place = _look_up(graph, column, lookup, default=len(known), missing=len(known) + 1)
        flat = graph.add("Reshape", place, graph.constant([-1], np.int64))
        found = graph.add("Gather", graph.constant(np.concatenate(rows)), flat, axis=0)
        blocks.append(derived(found, "FP64", width, column.names if width == 1 else None))
    return Table(tuple(blocks))


def _codes(step: Any, usual: list[Any], i: int, values: Sequence[Any], width: int) -> np.ndarray:
    cells: list[Any] = [np.repeat(np.array([value], object), len(values)) for value in usual]
    cells[i] = np.array(values, object)
    answer = np.asarray(step.transform(_input_like_fit(step, cells)), np.float64)
    return answer[:, i * width : (i + 1) * width]


def _code(step: Any, usual: list[Any], i: int, value: Any, width: int) -> np.ndarray:
    try:
        return _codes(step, usual, i, [value], width)
    except (ValueError, TypeError):
        return np.full((1, width), np.nan)  # the original refuses it; the signature will, too


def selector(graph: Graph, step: Any, table: Table) -> Table:
    """Keep the columns that were selected."""
    return select(graph, table, np.flatnonzero(step.get_support()).tolist())


_UFUNCS = {
    np.log1p: None,
    np.log: "Log",
    np.exp: "Exp",
    np.expm1: None,
    np.sqrt: "Sqrt",
    np.square: None,
    np.abs: "Abs",
}


def function_transformer(graph: Graph, step: Any, table: Table) -> Table:
    """A NumPy function from a short list, or nothing at all. Raises `CompileError` for any other function."""
    function = step.func
    if function is None:
        return table
    if step.kw_args or function not in _UFUNCS:
        raise CompileError(
            f"FunctionTransformer({getattr(function, '__name__', function)}) cannot be compiled: only NumPy's abs, exp, "
            "expm1, log, log1p, sqrt and square can. Do the calculation before the model is asked."
        )
    block = matrix(graph, table)
    one = graph.constant(1.0, np.float64)
    if function is np.log1p:
        tensor = graph.add("Log", graph.add("Add", block.tensor, one))
    elif function is np.expm1:
        tensor = graph.add("Sub", graph.add("Exp", block.tensor), one)
    elif function is np.square:
        tensor = graph.add("Mul", block.tensor, block.tensor)
    else:
        tensor = graph.add(str(_UFUNCS[function]), block.tensor)
    return table_of(derived(tensor, "FP64", block.width, block.names))


def polynomial_features(graph: Graph, step: Any, table: Table) -> Table:
    """Products of columns: each factor is gathered from the columns and a one, then multiplied."""
    block = matrix(graph, table)
    one = graph.add("Gather", block.tensor, graph.constant([0], np.int64), axis=1)
    one = graph.add("Where", graph.add("IsNaN", one), one, graph.constant(1.0, np.float64))
    with_one = graph.add("Concat", block.tensor, one, axis=1)
    factors = [np.repeat(np.arange(block.width), powers).tolist() for powers in step.powers_]
    degree = max(len(row) for row in factors)
    padded = np.array([row + [block.width] * (degree - len(row)) for row in factors], np.int64).reshape(-1, degree)
    product = graph.add("Gather", with_one, graph.constant(padded[:, 0]), axis=1)
    for place in range(1, degree):
        product = graph.add("Mul", product, graph.add("Gather", with_one, graph.constant(padded[:, place]), axis=1))
    return table_of(derived(product, "FP64", len(padded)))


def numbers_by_stock(graph: Graph, step: Any, table: Table) -> Table:
    """Any other transformer, by its stock converter."""
    if not hasattr(step, "transform") or any(block.datatype == "BYTES" for block in table.blocks):
        raise unsupported(step)
    return transform_stock(graph, step, table)


TRANSFORMERS = {
    impute.SimpleImputer: simple_imputer,
    preprocessing.StandardScaler: standard_scaler,
    preprocessing.RobustScaler: robust_scaler,
    preprocessing.MaxAbsScaler: max_abs_scaler,
    preprocessing.MinMaxScaler: min_max_scaler,
    preprocessing.OneHotEncoder: one_hot_encoder,
    preprocessing.OrdinalEncoder: ordinal_encoder,
    preprocessing.TargetEncoder: target_encoder,
    preprocessing.FunctionTransformer: function_transformer,
    preprocessing.PolynomialFeatures: polynomial_features,
    feature_selection.SelectKBest: selector,
    feature_selection.SelectPercentile: selector,
    feature_selection.SelectFromModel: selector,
    feature_selection.VarianceThreshold: selector,
    feature_selection.RFE: selector,
    feature_selection.RFECV: selector,
    feature_selection.SequentialFeatureSelector: selector,
    feature_selection.SelectFdr: selector,
    feature_selection.SelectFpr: selector,
    feature_selection.SelectFwe: selector,
    feature_selection.GenericUnivariateSelect: selector,
}
