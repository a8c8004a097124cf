"""F27: five times what a model can answer: as much is answered as before, the rest is told so at once, and it passes.

The model's capacity is that of one model worker, which waits rather than computes, so that those who offer the load do not
take the processors from the server: on two cores nobody could say else whose fault it was.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.by_wish import ByWish
from tests.acceptance.conftest import Churn
from tests.acceptance.faults.bounds import slowness
from tests.acceptance.faults.client import Line
from tests.acceptance.faults.invariants import Afresh, Leftovers, assert_allowed, settle
from tests.acceptance.faults.ledger import bodies_of
from tests.acceptance.faults.offered import Became, offered
from tests.acceptance.servers import Server, serving, trivet
from tests.acceptance.workshop import install_by_wish, register
from tests.robustness.score import Score
from tests.scale import scaled

TIMES = 5
ROW_SECONDS = 0.005  # of the model worker: 200 answers a second at most
PEAK_SECONDS = scaled(test=1, ci=4, full=10)
OVER_SECONDS = scaled(test=3, ci=10, full=30)
CALM_SECONDS = 2.5
GOODPUT = scaled(test=40, ci=60, full=80) / 100  # of the peak
PROMPT_SHARE = scaled(test=50, ci=90, full=99) / 100  # of the refusals
PROMPT_SECONDS = 0.05
BACK_SECONDS = 2.0
ASKING = 32  # connections of a closed loop that keeps the model worker busy
MOST = 600  # connections of those who offer
QUEUE = 64
KNOWN, NEW = 128, 128  # connections that are always answered and asked again, and that come to it
BUSY_SECONDS, THEN_SECONDS = 2.5, 0.7
ROWS = [{"x": float(number)} for number in range(20)]
PATH = "/v2/models/waiting/infer"


@pytest.fixture
def waiting(churn: Churn, tmp_path: Path) -> tuple[Churn, dict[str, str]]:
    """A project with the model `waiting`, whose model worker waits for each row, and the environment that has its runtime."""
    environment = {
        "PYTHONPATH": install_by_wish(tmp_path / "installed"),
        "TRIVET_QUEUE_LENGTH": str(QUEUE),
        "TRIVET_CACHE": "off",
    }
    register(churn.project, f"register('waiting', by_wish_bundle(seconds_a_row={ROW_SECONDS}))", **environment)
    words = ("keys", "create", "all", "--model=waiting", "--verb=predict", "--json")
    key = json.loads(trivet(*words, project=churn.project).stdout)["key"]
    return Churn(churn.project, key, body_of(ROWS[0]).encode(), ROWS), environment


@pytest.mark.slow
def test_F27_five_times_the_capacity_is_refused_at_once_and_what_can_be_answered_is(
    waiting: tuple[Churn, dict[str, str]], tmp_path: Path, score: Score
):
    churn, environment = waiting
    leftovers = Leftovers(churn.project)
    with serving(churn.project, **environment) as server:
        wish = wish_of(server, churn)
        with (
            offered(wish, tmp_path / "peak") as closed,
            offered(wish, tmp_path / "over", processes=2, client=1) as many,
            offered(wish, tmp_path / "calm", client=3) as few,
        ):
            closed.begin(PEAK_SECONDS, connections=ASKING)
            peak = closed.became()
            ends = many.begin(OVER_SECONDS, connections=MOST, rate=TIMES * peak.good)
            few.begin(CALM_SECONDS, connections=MOST, rate=peak.good / 4, at=ends)
            over, calm, slow = many.became(), few.became(), slowness()
        assert server.stop() == 0
    lines = [*peak.lines, *over.lines, *calm.lines]
    tell(peak, over, calm)
    assert len(over.refused) > 2 * OVER_SECONDS * over.good, "what was offered was hardly too much, or hardly refused"
    assert_refused_well(over.refused)
    assert over.good > GOODPUT * peak.good
    assert share_within(over.refused, PROMPT_SECONDS * slow) >= PROMPT_SHARE
    assert recovery_seconds(calm, usual=max(seconds_of(peak.lines))) < BACK_SECONDS * slow
    assert {line.status for line in peak.lines} == {200}
    assert {line.status for line in over.refused} == {503}
    assert_allowed(lines, [])
    settle(churn, lines, score, afresh=Afresh(churn, ByWish.load, ["doubled"]))
    leftovers.assert_none()


@pytest.mark.slow
def test_F27_new_clients_are_answered_while_others_leave_a_worker_no_pause(churn: Churn, tmp_path: Path):
    with serving(churn.project, workers=1) as server:
        wish = {"port": server.port, "path": "/v2/models/churn/infer", "key": churn.key, "bodies": bodies_of(churn)}
        with offered(wish, tmp_path / "old") as old, offered(wish, tmp_path / "new", client=1) as new:
            began = old.begin(BUSY_SECONDS, connections=KNOWN) - BUSY_SECONDS
            new.begin(BUSY_SECONDS - THEN_SECONDS, connections=NEW, at=began + THEN_SECONDS)
            known, came = old.became(), new.became()
        assert server.stop() == 0
    lines = [*known.lines, *came.lines]
    turn = statistics.median(seconds_of([line for line in known.lines if line.started < came.began]))
    first = {line.port: line.ended - came.began for line in reversed(came.lines)}
    print(
        f"{known.good:.0f}/s; a turn takes {turn:.3f} s, {len(first)} new clients were answered in {max(first.values()):.3f} s"
    )
    assert {line.status for line in lines} == {200}
    assert len(first) == NEW
    assert max(first.values()) < NEW / 4 * turn, "they were let in one a turn"
    settle(churn, lines)


def wish_of(server: Server, churn: Churn) -> dict[str, Any]:
    return {"port": server.port, "path": PATH, "key": churn.key, "bodies": [body_of(row) for row in churn.rows]}


def body_of(row: dict[str, float]) -> str:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [row["x"]]}
    return json.dumps({"inputs": [tensor], "outputs": [{"name": "doubled"}]})


def assert_refused_well(refused: Sequence[Line]) -> None:
    """Each refusal says why, and when to ask again."""
    for line in refused:
        head = f"{line.problem}\r\n".lower()
        assert "\r\ntrivet-error: queue_full\r\n" in head, line
        assert "\r\nretry-after: 1\r\n" in head, line


def seconds_of(lines: Sequence[Line]) -> list[float]:
    return [line.ended - line.started for line in lines]


def share_within(lines: Sequence[Line], seconds: float) -> float:
    return sum(took < seconds for took in seconds_of(lines)) / len(lines)


def recovery_seconds(calm: Became, *, usual: float) -> float:
    """Return how long after the overload's end the last request began that was refused, or answered later than is usual."""
    late = [line.started for line in calm.lines if line.status != 200 or line.ended - line.started > usual]
    return max(late, default=calm.began) - calm.began


def tell(peak: Became, over: Became, calm: Became) -> None:
    took = sorted(seconds_of(over.refused)) or [0.0]
    p99 = took[int(len(took) * 0.99)]
    print(
        f"peak {peak.good:.0f}/s; {over.due} due and {len(over.lines)} sent in {over.ended - over.began:.0f} s: "
        f"{over.good:.0f}/s answered ({over.good / peak.good:.0%}), {len(over.refused)} refused within "
        f"{statistics.median(took) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms; as usual again after "
        f"{recovery_seconds(calm, usual=max(seconds_of(peak.lines))):.2f} s"
    )
