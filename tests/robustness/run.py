"""The run of the table, a pytest plugin: only tests that are named by a row, a line for each row, and the score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.robustness.rows import ELSEWHERE, ROWS, ids_in
from tests.robustness.score import FIGURES, OF, PROPERTY, TRIED
from tests.scale import SCALE

PARTLY = "partly"  # passed, but for cases that were not run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `--rows F` or `--rows F13,H75` choose among the rows."""
    parser.addoption("--rows", default="", help="first letters of ids, with commas: F, or F13,H75; all where not given")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that a row names."""
    wanted = tuple(part for part in config.getoption("--rows").split(",") if part)
    kept = [item for item in items if any(name.startswith(wanted or "") for name in ids_of(item))]
    left = [item for item in items if item not in set(kept)]
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def ids_of(item: pytest.Item) -> list[str]:
    """Return the ids that a test's name begins with; what its parameters are called names none."""
    function = getattr(item, "originalname", None) or item.name
    return list(ids_in(function)) if function.startswith("test_") else []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what became of each test, by the ids it is named by."""
    name = report.location[2].partition("[")[0]
    reached = _reports[report.nodeid]
    reached.seconds += report.duration
    if report.failed or report.skipped or report.when == "call":
        reached.outcome = "failed" if "failed" in (report.outcome, reached.outcome) else report.outcome
        reached.reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if report.when == "teardown":
        reached.figures = [value for key, value in report.user_properties if key == PROPERTY]
        reached.tried = [value for key, value in report.user_properties if key == TRIED]
    reached.ids = list(ids_in(name))


class Reached:
    """What became of one test."""

    def __init__(self) -> None:
        self.outcome, self.reason, self.seconds = "", "", 0.0
        self.ids: list[str] = []
        self.figures: list[tuple[str, int, int]] = []
        self.tried: list[tuple[int, int]] = []


_reports: dict[str, Reached] = defaultdict(Reached)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table and the score."""
    wanted = tuple(part for part in config.getoption("--rows").split(",") if part)
    by_id: dict[str, list[Reached]] = defaultdict(list)
    for reached in _reports.values():
        for name in reached.ids:
            by_id[name].append(reached)
    terminalreporter.section(f"robustness, SCALE={SCALE}")
    verdicts: dict[str, int] = defaultdict(int)
    for row, words in ROWS.items():
        ids = [name for name in ids_in(row) if name.startswith(wanted or "")]
        if ids:
            verdict, note = judged(ids, by_id)
            verdicts[verdict] += 1
            terminalreporter.write_line(f"{row:8} {verdict:8} {words}{note}")
    terminalreporter.write_line(f"score: {', '.join(score_of(verdicts))}")


def judged(ids: list[str], by_id: dict[str, list[Reached]]) -> tuple[str, str]:
    """Return the verdict on a row, and what to say of it: cases and seconds, and why something was not run.

    A row passed when each of its ids has a case that passed, and none that failed or was skipped. With one that was
    skipped it passed partly, and says how many were not run.
    """
    cases = list({id(reached): reached for name in ids for reached in by_id[name]}.values())
    ran = [reached for reached in cases if reached.outcome != "skipped"]
    told = f" ({len(ran)} cases, {sum(reached.seconds for reached in ran):.0f} s)" if ran else ""
    tried = [counts for reached in ran for counts in reached.tried]
    if tried:
        told += f", {sum(count for count, _ in tried):,} of {sum(of for _, of in tried):,} faults"
    if any(reached.outcome == "failed" for reached in ran):
        return "FAILED", told
    missing = [name for name in ids if not any(reached.outcome == "passed" for reached in by_id[name])]
    if missing:
        return "not run", f"{told}: {'; '.join(why(missing, by_id))}"
    skipped = [reached.reason.removeprefix("Skipped: ") for reached in cases if reached.outcome == "skipped"]
    if skipped:
        return PARTLY, f"{told}, passed but for {len(skipped)} not run: {'; '.join(dict.fromkeys(skipped))}"
    return "passed", told


def why(missing: list[str], by_id: dict[str, list[Reached]]) -> Iterator[str]:
    """Yield why ids were not run, each reason once."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for name in missing:
        skipped = next((reached.reason for reached in by_id[name] if reached.reason), "")
        reasons[skipped.removeprefix("Skipped: ") or ELSEWHERE.get(name, "no test yet")].append(name)
    for reason, names in reasons.items():
        yield f"{' '.join(names)} {reason}"


def score_of(verdicts: dict[str, int]) -> Iterator[str]:
    """Yield the parts of the line that others may quote."""
    yield f"{sum(verdicts.values())} rows"
    yield f"{verdicts['passed']} passed"
    yield f"{verdicts[PARTLY]} partly"
    yield f"{verdicts['FAILED']} failed"
    yield f"{verdicts['not run']} not run"
    for figure, words in FIGURES.items():
        counts = [count for reached in _reports.values() for count in reached.figures if count[0] == figure]
        if counts:
            found, of = sum(count[1] for count in counts), sum(count[2] for count in counts)
            yield f"{found} {words} (of {of:,} {OF[figure]})"
