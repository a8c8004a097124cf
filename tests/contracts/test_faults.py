"""The faults of the data plane: each has a test with its number in front of four workers, and `make faults` the full counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
COUNTS = {13: 20, 14: 200, 16: 100, 22: 200}  # rolls, moves, races, moves
ROWS = {13, 14, 15, 16, 17, 19, 20, 21, 22, 23}
A_ROW = re.compile(r"^def test_F(\d\d)_", re.MULTILINE)
FULL = re.compile(r"[=:] scaled\(test=\d+, ci=\d+, full=(\d+)")


def with_four_workers() -> Iterator[str]:
    """Yield the text of each module that puts what it asks to four workers."""
    for path in (ROOT / "tests/acceptance").glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^WORKERS = 4\b", text, re.MULTILINE) and "workers=WORKERS" in text:
            yield text


def test_each_fault_of_the_data_plane_has_a_test_in_front_of_four_workers():
    assert {int(row) for text in with_four_workers() for row in A_ROW.findall(text)} >= ROWS


def test_the_rows_that_have_a_count_reach_it_in_full():
    texts = list(with_four_workers())
    for row, count in COUNTS.items():
        assert any(
            int(full) == count for text in texts if f"def test_F{row}_" in text for full in FULL.findall(text)
        ), row


def test_all_that_kills_cuts_and_fills_is_in_a_row_so_that_the_table_runs_it_where_make_test_leaves_it_out():
    for path in (ROOT / "tests/acceptance/faults").glob("test_*.py"):
        assert not re.findall(r"^def (test_(?!F\d\d_)\w+)", path.read_text(encoding="utf-8"), re.MULTILINE), path.name
