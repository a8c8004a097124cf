"""The hostile set: each row of the table has a test that carries its number, or a place where something else holds it."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROWS = {f"A{number:02d}" for number in (*range(5, 18), *range(35, 43))} | {f"C{number}" for number in range(1, 11)}
ELSEWHERE = {  # by the test that holds the row, of all that it has
    "C1": ("parity/test_flights_parity.py", "test_"),
    "C2": ("parity/test_stock_errors.py", "test_gate_rejects_the_stock_tokeniser_on_words_beyond_ascii"),
    "C3": ("parity/test_stock_errors.py", "test_an_isotonic_curve_is_interpolated_not_stepped"),
    "C4": ("parity/test_stock_errors.py", "test_rows_on_a_threshold_stay_on_their_side"),
    "C5": ("parity/test_stock_errors.py", "test_histogram_boosting_compiles_under_the_protobuf_that_is_installed"),
    "C9": ("parity/test_zoo.py", "test_every_case_ends_in_the_state_written_for_it_and_says_why"),
}


def numbered():
    """Return the rows that tests carry in their names: `test_A07_C6_...`."""
    found = set()
    for path in TESTS.rglob("test_*.py"):
        for numbers in re.findall(r"^def test_((?:[A-Z]\d+_)+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found |= set(numbers.strip("_").split("_"))
    return found


def test_every_row_of_the_hostile_set_has_a_test_with_its_number():
    assert sorted(ROWS - numbered() - ELSEWHERE.keys()) == []
    assert sorted(ELSEWHERE.keys() & numbered()) == [], "these have tests of their own by now"


def test_what_holds_the_other_rows_is_there():
    for row, (file, test) in ELSEWHERE.items():
        assert f"def {test}" in (TESTS / file).read_text(encoding="utf-8"), row
