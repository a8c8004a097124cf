"""The car-loan data set: 50,000 reference rows, then ten chunks of 5,000, of which the last five drifted.

It is made data, inside the `nannyml` 0.13.1 wheel (Apache-2.0), which `make figures` puts under `var/`. The wheel is read as an
archive and never imported or installed. Each file must be the one that the figures were taken from. Columns are arrays
of shape (rows,), in the order of the file: numbers as float64 with NaN where missing, words and flags as `str`, "" where missing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

WHEEL = Path(__file__).parents[2] / "var" / "nannyml-0.13.1-py3-none-any.whl"
FOLDER = "nannyml/datasets/data"
CHUNKS, CHUNK_ROWS = 10, 5_000

SHA256_BEGINS = {
    "synthetic_car_loan_reference.csv": "e6d2e70d8bac3e89",
    "synthetic_car_loan_analysis.csv": "1ecfee47fbce587b",
    "synthetic_car_loan_analysis_target.csv": "017d51c34548b57e",
    "synthetic_car_loan_dq_reference.csv": "8bce925e596ea202",
    "synthetic_car_loan_dq_analysis.csv": "4dfa2f4a5ee14e8f",
}
WORDS = {"salary_range", "repaid_loan_on_prev_car", "size_of_downpayment", "timestamp"}

Columns = dict[str, np.ndarray]


def reference() -> Columns:
    """Return the 50,000 reference rows: seven features, `timestamp`, `y_pred_proba`, `y_pred`, and the truth as `repaid`."""
    return _columns("synthetic_car_loan_reference.csv")


def analysis() -> Columns:
    """Return the 50,000 rows after them, ten chunks of 5,000 in time order, without the truth."""
    return _columns("synthetic_car_loan_analysis.csv")


def analysis_targets() -> Columns:
    """Return the truth of the analysis rows, `id` and `repaid`, in the same order."""
    return _columns("synthetic_car_loan_analysis_target.csv")


def dq_reference() -> Columns:
    """Return the reference rows with values taken out and words misspelt, as data is."""
    return _columns("synthetic_car_loan_dq_reference.csv")


def dq_analysis() -> Columns:
    """Return the analysis rows, spoilt likewise and more so from the sixth chunk on."""
    return _columns("synthetic_car_loan_dq_analysis.csv")


def chunk(columns: Columns, number: int) -> Columns:
    """Return the rows of chunk `number`, 0 to 9, of 50,000."""
    rows = slice(number * CHUNK_ROWS, (number + 1) * CHUNK_ROWS)
    return {name: values[rows] for name, values in columns.items()}


@cache
def _columns(name: str) -> Columns:
    if not WHEEL.exists():
        pytest.skip("the car-loan data is not here: `make figures` fetches the nannyml 0.13.1 wheel that holds it")
    with zipfile.ZipFile(WHEEL) as wheel:
        content = wheel.read(f"{FOLDER}/{name}")
    assert hashlib.sha256(content).hexdigest().startswith(SHA256_BEGINS[name]), f"{name} is not what was looked at"
    header, *rows = csv.reader(io.StringIO(content.decode()))
    return {title: _array(title, column) for title, column in zip(header, zip(*rows, strict=True), strict=True)}


def _array(title: str, column: tuple[str, ...]) -> np.ndarray:
    if title in WORDS:
        values = np.array(column)
    else:
        values = np.fromiter((float(text or "nan") for text in column), np.float64, len(column))
    values.flags.writeable = False  # it is shared by every test of a process
    return values
