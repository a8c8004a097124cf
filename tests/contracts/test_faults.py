"""The faults of the data plane: each has a test with its number in front of four workers, and `make faults` the full counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = {13, 14, 15, 16, 17, 19, 20, 21, 22, 23}
A_ROW = re.compile(r"^def test_F(\d\d)_", re.MULTILINE)
COUNT = re.compile(r'^[A-Z]+ = int\(os\.environ\.get\("([A-Z]+)", "\d+"\)\)(?:  # F\d\d asks for (\d+))?', re.MULTILINE)


def with_four_workers() -> Iterator[str]:
    """Yield the text of each module that puts what it asks to four workers."""
    for path in (ROOT / "tests/acceptance").glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^WORKERS = 4\b", text, re.MULTILINE) and "workers=WORKERS" in text:
            yield text


def test_each_fault_of_the_data_plane_has_a_test_in_front_of_four_workers():
    assert {int(row) for text in with_four_workers() for row in A_ROW.findall(text)} >= ROWS


def test_make_faults_asks_for_the_full_count_of_each_row():
    recipe = re.search(r"^faults:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    given = dict(re.findall(r"\b([A-Z]+)=(\d+)", recipe[1]))
    asked = {name: count for text in with_four_workers() if A_ROW.search(text) for name, count in COUNT.findall(text)}
    assert asked == given
