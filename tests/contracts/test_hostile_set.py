"""The hostile set: each row of the table, files A05 to A17 and graphs A35 to A42, has a test that carries its number."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROWS = {f"A{number:02d}" for number in (*range(5, 18), *range(35, 43))}


def numbered() -> set[str]:
    """Return the rows that tests carry in their names: `test_A07_C6_...`."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for numbers in re.findall(r"^def test_((?:[A-Z]\d+_)+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found |= set(numbers.strip("_").split("_"))
    return found


def test_every_row_of_the_hostile_set_has_a_test_with_its_number():
    assert sorted(ROWS - numbered()) == []
