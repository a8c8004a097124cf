"""Texts as cells of a table that a person may open in a spreadsheet, which takes some of them for formulas."""

from __future__ import annotations

import re
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def inert(cell: Any) -> Any:  # Any: whatever a cell holds
    """Return `cell`; a text that would begin a formula gets a quotation mark before it, numbers stay as they are.

    >>> inert("=1+1"), inert("-1"), inert(-1.5)
    ("'=1+1", '-1', -1.5)
    """
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
