"""The rows of the sandbox, S01 to S24: each has a test that carries its number, in its name or as the id of a case."""

from __future__ import annotations

import re
from pathlib import Path

from tests.contracts.rooms import PACKAGE, imported_names

TESTS = Path(__file__).parents[1]
ROWS = {f"S{number:02}" for number in range(1, 25)}
NUMBERED = re.compile(r"""^def test_(\w*)|\bid="(S\d\d)\b""", re.MULTILINE)
FAULTS_OF_MODELS = {f"F{number:02}" for number in range(8, 13)}
SCANNERS = {"fickling", "guardian", "modelscan", "picklescan"}


def numbers_in(paths: list[Path]) -> set[str]:
    """Return the rows that tests of `paths` carry the numbers of."""
    written = "".join(path.read_text(encoding="utf-8") for path in paths)
    names = (name or case for name, case in NUMBERED.findall(written))
    return {number for name in names for number in re.findall(r"(?:^|_)([A-Z]\d\d)(?=_|$)", name)}


def test_every_row_of_the_sandbox_has_a_test_with_its_number():
    found = numbers_in([*TESTS.rglob("test_*.py")])
    assert {number for number in found if number.startswith("S")} == ROWS


def test_each_fault_of_a_model_is_tried_on_one_of_any_runtime_and_on_one_that_runs_unchanged():
    for name in ("test_model_workers.py", "test_native_workers.py"):
        assert numbers_in([TESTS / "acceptance" / name]) >= FAULTS_OF_MODELS, name


def test_no_scanner_stands_between_a_file_and_the_sandbox():
    imported = {name.partition(".")[0] for path in PACKAGE.rglob("*.py") for name in imported_names(path)}
    assert not imported & SCANNERS
