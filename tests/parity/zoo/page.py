"""`docs/reference/models.md`: every case of the zoo with its state, largest difference and speed, from a run."""

import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from tests.parity.zoo.cases import COMPILED, STATES, Case
from tests.parity.zoo.running import REPOSITORY, Outcome

from trivet.model.compile.converters.stock import OF_A_LIBRARY, OF_ONES_OWN

PAGE = REPOSITORY / "docs" / "reference" / "models.md"
HEAD = """# Models

<!-- Made by scripts/make_models_page.py from a run of tests/parity/zoo; changes belong there. -->

What becomes of a trained model. **compiled**: an ONNX graph, proved to answer as the original does. **native**: the original
itself, unchanged, in an isolated model worker, because a graph would be wrong, slower, or is not known. **refused**: not
served. Whatever the kind, the parity gate decides for each model anew: a model of a kind that is listed as compiled may come
out native, with the reason.

Each row was trained on a few hundred rows, pushed with half of them as the sample, and then asked about rows that the gate
never saw: rows held back, missing values, unseen words, large numbers, and rows on thresholds and beside them. The answers
were judged by the original in a process of its own. *Difference* is the largest of a probability, score or prediction; an
allowed one is at most 0.00001 of 1 + the value, for predictions of their standard deviation + the value. *Speed* is the
original's time for one row over ours, on the machine that made this page, both for all that a version answers (of a classifier
its decision and its probabilities); it depends on the machine, and grows with the number of trees.

"""


BOOSTED = ("gradient boosting", "XGBoost, LightGBM and CatBoost")
TARGETS: dict[str, tuple[float, Callable[[Case], bool]]] = {  # of the median speed: how many times, and of which cases
    "linear models": (8, lambda case: case.family == "linear models"),
    "boosting": (15, lambda case: case.family in BOOSTED),
    "forests of 100 trees": (200, lambda case: "100 trees" in case.name),
    "one-hot encoded DataFrames": (100, lambda case: case.family == "DataFrame pipelines" and "one-hot" in case.name),
}


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the page for `outcomes`."""
    counts = Counter(outcome.state for outcome in outcomes)
    share = counts[COMPILED] / len(outcomes)
    numbers = ", ".join(f"{counts[state]} {state}" for state in STATES)
    text = HEAD + f"{len(outcomes)} models: {numbers}. {share:.0%} are compiled (target: 85%).\n\n" + _targets(outcomes)
    for family, rows in groupby(outcomes, key=lambda outcome: outcome.case.family):
        text += f"\n## {family[0].upper()}{family[1:]}\n\n| model | state | difference | speed |\n|---|---|---|---|\n"
        text += "".join(_row(outcome) for outcome in rows)
    reasons = [outcome for outcome in outcomes if outcome.state != COMPILED]
    text += "\n## Why not compiled\n\n| model | reason |\n|---|---|\n"
    return text + "".join(f"| {o.case.name} | {_reason(o.reason)} |\n" for o in reasons)


def _targets(outcomes: Sequence[Outcome]) -> str:
    """Return how the speeds of what was compiled stand to their targets, by kind."""
    text = "| speed, one row | target | median | slowest | |\n|---|---|---|---|---|\n"
    for kind, (target, is_of_it) in TARGETS.items():
        found = [o.ratio for o in outcomes if o.ratio and o.state == COMPILED and is_of_it(o.case)]
        middle = statistics.median(found)
        said = "met" if middle >= target else "**missed**"
        text += f"| {kind} ({len(found)}) | {target} × | {_times(middle)} | {_times(min(found))} | {said} |\n"
    return text


def states_on_page(path: Path = PAGE) -> dict[str, str]:
    """Return the state of each model as the page says it."""
    found = re.findall(r"^\| (.+?) \| (compiled|native|refused) \|", path.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(found)


def _row(outcome: Outcome) -> str:
    difference = f"{outcome.verdict.largest:.0e}".replace("e-0", "e-") if outcome.verdict.largest else "0"
    if outcome.ratio is None:
        return f"| {outcome.case.name} | {outcome.state} |  |  |\n"
    return f"| {outcome.case.name} | {outcome.state} | {difference} | {_times(outcome.ratio)} |\n"


def _times(ratio: float) -> str:
    return f"{ratio:.1f} ×" if ratio < 10 else f"{float(f'{ratio:.1e}'):.0f} ×"


def _reason(reason: str) -> str:
    return " ".join(reason.replace(OF_A_LIBRARY, "").replace(OF_ONES_OWN, "").replace("|", "\\|").split())
