"""The table of what must never happen: its ids, the tests that carry them, and the verdict of a row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.robustness.rows import ELSEWHERE, IDS, ROWS, ids_in
from tests.robustness.run import Reached, judged, score_of

TESTS = Path(__file__).parents[1]
GROUPS = {"A": 42, "H": 75, "D": 48, "M": 6, "F": 34, "S": 24, "R": 8}
A_TEST = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)


def test_the_table_has_every_id_once_and_in_order():
    assert [f"{group}{number:02d}" for group, count in GROUPS.items() for number in range(1, count + 1)] == IDS


def test_a_test_is_named_by_ids_that_the_table_has():
    names = [name for path in TESTS.rglob("test_*.py") for name in A_TEST.findall(path.read_text(encoding="utf-8"))]
    carried = {found for name in names for found in ids_in(name)}
    assert carried <= set(IDS)
    assert not carried & ELSEWHERE.keys()


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_F13_a_server_that_ends", ["F13"]),
        ("test_A09_A10_an_endless_file", ["A09", "A10"]),
        ("test_S01_to_S03_and_S22_what_a_file_tries", ["S01", "S02", "S03", "S22"]),
        ("test_a_utf16_body_is_refused", []),
    ],
)
def test_the_ids_of_a_test_are_read_from_its_name(name: str, ids: list[str]):
    assert list(ids_in(name)) == ids


def test_a_row_passes_when_each_of_its_ids_has_a_case_that_passed_and_none_failed():
    passed, failed, skipped = (reached(outcome) for outcome in ("passed", "failed", "skipped"))
    assert judged(["H01", "H02"], {"H01": [passed], "H02": [passed]})[0] == "passed"
    assert judged(["H01", "H02"], {"H01": [passed], "H02": [passed, failed]})[0] == "FAILED"
    verdict, note = judged(["H01", "H02"], {"H01": [passed], "H02": []})
    assert verdict == "not run"
    assert note.endswith("H02 no test yet")
    assert judged(["H01"], {"H01": [skipped]}) == ("not run", ": H01 no browser here")


def test_a_row_with_a_case_that_was_skipped_passed_partly_and_the_score_tells():
    passed, skipped = (reached(outcome) for outcome in ("passed", "skipped"))
    verdict, note = judged(["F31"], {"F31": [passed, skipped]})
    assert verdict == "partly"
    assert note == " (1 cases, 0 s), passed but for 1 not run: no browser here"
    told = list(score_of({"passed": 2, "partly": 1, "FAILED": 0, "not run": 3}))
    assert told[:5] == ["6 rows", "2 passed", "1 partly", "0 failed", "3 not run"]


def test_a_row_says_how_many_of_its_faults_were_tried():
    some, others = reached("passed"), reached("passed")
    some.tried, others.tried = [(6, 1_200)], [(1, 34)]
    assert judged(["F30"], {"F30": [some, others]}) == ("passed", " (2 cases, 0 s), 7 of 1,234 faults")


def test_every_row_is_said_in_words():
    assert all(words for words in ROWS.values())


def reached(outcome: str) -> Reached:
    found = Reached()
    found.outcome, found.reason = outcome, "Skipped: no browser here" if outcome == "skipped" else ""
    return found
