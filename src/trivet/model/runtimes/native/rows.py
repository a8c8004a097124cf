"""Tensors become the table, the matrix or the texts that a trained object takes, as its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from trivet.core.datatypes import MISSING_TEXT
from trivet.model.bundle.native import Column, Native

_DTYPES: dict[str, Any] = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_}
_GAPS: dict[str, Any] = {"nan": np.nan, "none": None}


def rows_of(native: Native, tensors: Mapping[str, np.ndarray]) -> Any:
    """Return a DataFrame of `native.columns`, in their order, or without any the one matrix or texts. Nothing is copied."""
    if not native.columns:
        (alone,) = tensors.values()
        return alone
    return pd.DataFrame({column.name: _values(column, tensors[column.name]) for column in native.columns}, copy=False)


def categorised(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` with each column of words as pandas' categories: LightGBM takes words no other way, and knows its own."""
    words = [name for name, dtype in rows.dtypes.items() if dtype.kind == "O"]
    return rows.astype(dict.fromkeys(words, "category")) if words else rows


def _values(column: Column, tensor: np.ndarray) -> pd.Series:
    if column.datatype != "BYTES":
        return pd.Series(tensor[:, 0].astype(_DTYPES[column.datatype], copy=False))
    gap = _GAPS[column.gap]
    words = [gap if word == MISSING_TEXT else word for word in tensor[:, 0].tolist()]
    return pd.Series(np.array([*words, None], dtype=object)[:-1], dtype=object)
