"""The files an export becomes, written page by page: CSV that a spreadsheet takes for nothing but texts, and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any, BinaryIO

from trivet.control.predictions.exporting import Column, Export, Kind
from trivet.core.cells import inert
from trivet.core.errors import Refused

NO_PYARROW = "Parquet takes pyarrow, which is not installed here: `pip install pyarrow`, or --format csv."
_NUMBERS = (int, float)


def write_csv(export: Export, file: BinaryIO) -> int:
    """Write `export` as CSV in UTF-8 with a header; return how many rows.

    A text that would begin a formula gets a quotation mark before it, what is missing is empty, moments are ISO 8601 in UTC.
    """
    rows = 0
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([inert(column.name) for column in export.columns])
        for page in export.pages():
            writer.writerows([[_csv_cell(cell) for cell in row] for row in page])
            rows += len(page)
    finally:
        text.detach()  # the file stays open: it is the caller's
    return rows


def write_parquet(export: Export, file: BinaryIO) -> int:
    """Write `export` as Parquet, a row group each thousand rows; return how many rows.

    In a column of numbers or of truths, a cell that is neither is null. Raises `Refused` where pyarrow is not installed.
    """
    check_parquet()
    import pyarrow
    from pyarrow import parquet

    types = {
        Kind.TEXT: pyarrow.string(),
        Kind.JSON: pyarrow.string(),
        Kind.WORDS: pyarrow.string(),
        Kind.INTEGER: pyarrow.int64(),
        Kind.NUMBER: pyarrow.float64(),
        Kind.TRUTH: pyarrow.bool_(),
        Kind.MOMENT: pyarrow.timestamp("us", tz="UTC"),
    }
    schema = pyarrow.schema([(column.name, types[column.kind]) for column in export.columns])
    rows = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for page in export.pages():
            columns = zip(export.columns, zip(*page, strict=True), strict=True)
            arrays = [pyarrow.array(_fitting(column, cells), types[column.kind]) for column, cells in columns]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            rows += len(page)
    return rows


def check_parquet() -> None:
    """Raise `Refused`, which says what to install, where Parquet cannot be written."""
    if find_spec("pyarrow") is None:
        raise Refused(NO_PYARROW)


def _csv_cell(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, datetime) else inert(cell)


def _fitting(column: Column, cells: Sequence[Any]) -> Sequence[Any]:
    """Return `cells` with what is not of the column's kind as None: a digest, where a sensitive input was a number before."""
    match column.kind:
        case Kind.NUMBER:
            return [float(cell) if _is_number(cell) else None for cell in cells]
        case Kind.INTEGER:
            return [int(cell) if _is_number(cell) and float(cell).is_integer() else None for cell in cells]
        case Kind.TRUTH:
            return [cell if isinstance(cell, bool) else None for cell in cells]
        case _:
            return cells


def _is_number(cell: Any) -> bool:
    return isinstance(cell, _NUMBERS) and not isinstance(cell, bool)
