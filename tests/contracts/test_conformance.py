"""The protocol's conformance list: each item has a test that carries its number, each error code one that names it."""

from __future__ import annotations

import re
from pathlib import Path

from trivet.dataplane.protocol.catalogue import HTTP_STATUS

TESTS = Path(__file__).parents[1]
ITEMS = set(range(1, 64))
ELSEWHERE = {
    39: "tests/unit/dataplane/refusals.py looks at every refusal of the worlds",
    40: "tests/unit/dataplane/refusals.py looks at every refusal of the worlds",
    60: "tests/acceptance/test_kserve.py is of nothing else",
}
PLANNED = {47, 48}  # explanations and feedback have no path yet
PLANNED_CODES = {"NOT_EXPLAINABLE", "EXPLANATION_FAILED", "RATE"}  # and no caller is limited in how often they ask


def test_every_item_of_the_list_has_a_test_with_its_number():
    numbered: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        for numbers in re.findall(r"^def test_((?:\d\d_)+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            numbered |= {int(number) for number in numbers.split("_") if number}
    assert numbered | ELSEWHERE.keys() == ITEMS - PLANNED


def test_every_code_of_the_catalogue_is_what_some_test_expects():
    written = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py") if path != Path(__file__))
    assert {code for code in HTTP_STATUS if f'"{code}"' not in written} == PLANNED_CODES
