"""F16, F17 in front of four workers under load: who promotes at the same time as another, and what may not be promoted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.databases import OF_A_ROW, PostgresCopies, parsed, rows_of
from tests.acceptance.mover import PATH, Asking, Move, assert_linearizable
from tests.acceptance.promoter import Promoter, promoter
from tests.acceptance.servers import Load, Server, clean_environment, copy_project, drained, serving, wait_for
from tests.scale import scaled

WORKERS = 4
RACES = {False: scaled(test=10, ci=20, full=100), True: scaled(test=5, ci=10, full=100)}  # by whether on PostgreSQL
SOON_SECONDS = 0.02  # both promoters have read their line by then
BROKEN = 4
REGISTER = """
import msgspec
from trivet.control.registry import actions, pushing
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import Refused
from trivet.model.bundle.bundle import make_bundle

first = fetch_bundle(ModelVersion.objects.get(model__name="churn", number=1).digest)
another = msgspec.structs.replace(first.manifest, source={"of": "a test"})
pushing.register_and_probe(make_bundle(another, first.files), name="churn", actor="test")
try:
    pushing.register_and_probe(make_bundle(another, {**first.files, "model.onnx": b"no graph"}), name="churn", actor="test")
except Refused:
    pass
"""


@pytest.fixture(scope="module", params=OF_A_ROW)
def four(
    request: pytest.FixtureRequest, churn_template: Churn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Churn]]:
    """Four workers in front of `churn`: versions 1, 2 and 3 that answer, and a 4 that its probe rejected."""
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("promoters") / "project")
    if request.param == "postgresql":
        copies: PostgresCopies = request.getfixturevalue("churn_databases")
        copies.take(project)
    command = [sys.executable, "manage.py", "shell", "-c", REGISTER]
    subprocess.run(command, cwd=project, env=clean_environment(), check=True, timeout=120)
    with serving(project, workers=WORKERS) as server:
        yield server, Churn(project, churn_template.key, churn_template.body, churn_template.rows)


@pytest.fixture(scope="module")
def rivals(four: tuple[Server, Churn]) -> Iterator[list[Promoter]]:
    with ExitStack() as stack:
        yield [stack.enter_context(promoter(four[1].project, name)) for name in ("ana", "bo")]


@pytest.fixture
def asking(four: tuple[Server, Churn]) -> Iterator[Asking]:
    server, churn = four
    with closing(Asking(server.port, churn.body.decode(), churn.key, server.web_workers())) as asking:
        yield asking


def champion_of(churn: Churn) -> tuple[int, int]:
    """Return the champion, and the generation of the last change."""
    query = """
        select v.number, (select max(generation) from trivet_event)
        from trivet_alias a join trivet_modelversion v on v.id = a.version_id where a.name = 'champion'
    """
    [(version, generation)] = rows_of(churn.project, query)
    return version, generation


def events_after(churn: Churn, generation: int) -> list[tuple[str, str, int, Any, Any]]:
    """Return action, actor, version, and the routes before and after, of each change since `generation`."""
    query = "select action, actor, version, before, after from trivet_event where generation > ? order by generation"
    rows = rows_of(churn.project, query, [generation])
    return [(action, actor, version, parsed(before), parsed(after)) for action, actor, version, before, after in rows]


def test_F16_of_two_who_promote_at_once_one_wins_and_every_worker_answers_with_that_version(
    four: tuple[Server, Churn], rivals: list[Promoter], asking: Asking
):
    server, churn = four
    races = RACES[churn.is_on_postgres]
    champion, began = champion_of(churn)
    generation = began
    moves: list[Move] = []
    overlapping = 0
    with Load(server, churn.body, churn.key, path=PATH, clients=4) as load:
        for _ in range(races):
            goal = load.answers.qsize() + 8
            wait_for(lambda goal=goal: load.answers.qsize() >= goal)
            at = time.monotonic() + SOON_SECONDS
            for rival, version in zip(rivals, {1, 2, 3} - {champion}, strict=True):
                rival.tell(version, seen=generation, at=at)
            outcomes = [rival.outcome() for rival in rivals]
            overlapping += max(one.started for one in outcomes) < min(one.returned for one in outcomes)
            (won,) = [outcome for outcome in outcomes if outcome.generation]
            (lost,) = [outcome for outcome in outcomes if not outcome.generation]
            assert lost.told.startswith("Conflict: churn changed while you decided")
            assert f"version {won.version} promoted by" in lost.told
            assert (won.live, won.behind) == (WORKERS, [])
            met = asking.versions()
            assert set(met.values()) == {str(won.version)}
            moves.append(Move(won.version, won.started, won.returned, won.live, won.behind, met))
            assert champion_of(churn) == (won.version, won.generation)
            champion, generation = won.version, won.generation
    assert overlapping > races / 2, "they did not promote at once"
    assert not drained(load.failures)
    assert not drained(load.resets)
    answers = drained(load.answers)
    assert_linearizable([(started, ended, int(answer["model_version"])) for started, ended, answer in answers], moves)
    events = events_after(churn, began)
    assert [(action, version) for action, _, version, _, _ in events] == [("promote", move.version) for move in moves]
    told = [(before, after) for *_, before, after in events]
    assert [before for before, _ in told[1:]] == [
        after for _, after in told[:-1]
    ]  # each found it as the last had left it


def test_F17_a_version_whose_probe_failed_is_refused_and_recorded_and_no_worker_answers_with_it(
    four: tuple[Server, Churn], rivals: list[Promoter], asking: Asking
):
    server, churn = four
    bo = rivals[1]
    champion, generation = champion_of(churn)
    with Load(server, churn.body, churn.key, path=PATH, clients=4) as load:
        bo.tell(BROKEN, seen=generation, at=0.0)
        outcome = bo.outcome()
        assert outcome.told.startswith("Refused: churn 4 is not ready: probe rejected it")
        assert set(asking.versions().values()) == {str(champion)}
        wait_for(load.answers.qsize)
    assert not drained(load.failures)
    assert {answer["model_version"] for _, _, answer in drained(load.answers)} == {str(champion)}
    assert champion_of(churn)[0] == champion
    assert [event[:3] for event in events_after(churn, generation)] == [("refuse_promotion", "user:bo", BROKEN)]
