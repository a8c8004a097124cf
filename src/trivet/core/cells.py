"""Texts as cells of a table that a person may open in a spreadsheet, which takes some of them for formulas."""

from __future__ import annotations

import re
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


QUOTE = "'"


def inert(cell: Any) -> Any:  # Any: whatever a cell holds
    """Return `cell`; a text that would begin a formula gets a quotation mark before it, numbers stay as they are.

    >>> inert("=1+1"), inert("-1"), inert(-1.5)
    ("'=1+1", '-1', -1.5)
    """
    if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def restorable(cell: str) -> str:
    """Return `cell` made inert so that `restored` gives it back, whatever it is.

    >>> restorable("=1+1"), restorable("'=1+1"), restored(restorable("'=1+1"))
    ("'=1+1", "''=1+1", "'=1+1")
    """
    return f"'{cell}" if _is_quoted(cell) else str(inert(cell))


def restored(cell: str) -> str:
    """Return what `restorable` was given.

    >>> restored("'=1+1"), restored("'tis"), restored("-1")
    ('=1+1', "'tis", '-1')
    """
    return cell[1:] if _is_quoted(cell) else cell


def _is_quoted(cell: str) -> bool:
    return cell.startswith(QUOTE) and cell.lstrip(QUOTE).startswith(FORMULA_STARTS)
