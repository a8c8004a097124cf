"""A request that cannot be answered in its time is told so: it leaves no record, and no model runs for it in vain."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.core.errors import DeadlineExceeded
from trivet.dataplane.engines.base import Made
from trivet.dataplane.frontends.rest import Exchange
from trivet.dataplane.infer import enter, infer
from trivet.dataplane.plane import Limits
from trivet.dataplane.protocol.decode import decode_infer

AN_INSTANT = {"timeout": 1}  # a microsecond: no model is that fast


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("path", "body"), [("infer", infer_body()), ("predict", {"rows": [GOOD_ROW]})], ids=["tensors", "rows"]
)
def test_34_a_request_whose_timeout_is_over_is_a_504_and_leaves_no_record(world: World, path: str, body: dict):
    status, answer, headers = world.ask(path=f"/v2/models/churn/{path}", body=body | {"parameters": AN_INSTANT})
    assert (status, headers["trivet-error"]) == (504, "DEADLINE")
    assert "churn" in answer["error"]
    assert not world.records()


def test_a_timeout_that_suffices_changes_nothing(world: World):
    status, _, _ = world.ask(body=infer_body() | {"parameters": {"timeout": 30_000_000}})
    assert status == 200


@pytest.mark.parametrize("nothing", [0, None])
def test_a_timeout_of_nothing_is_no_timeout(world: World, nothing: int | None):
    assert world.ask(body=infer_body() | {"parameters": {"timeout": nothing}})[0] == 200


@pytest.mark.parametrize("timeout", [-1, 1.5, "1000", True])
def test_a_timeout_that_is_no_count_of_microseconds_is_refused(world: World, timeout: object):
    status, answer, headers = world.ask(body=infer_body() | {"parameters": {"timeout": timeout}})
    assert (status, headers["trivet-error"]) == (400, "BAD_PARAMETER")
    assert "microseconds" in answer["error"]
    assert not world.records()


def test_a_request_may_ask_for_less_time_than_the_server_allows_and_not_for_more(tmp_path: Path):
    hurried = World(tmp_path, limits=Limits(deadline_seconds=1e-6))
    assert hurried.ask(body=infer_body())[0] == 504
    assert hurried.ask(body=infer_body() | {"parameters": {"timeout": 30_000_000}})[0] == 504


def test_who_is_late_learns_how_long_it_had_and_who_said_so(world: World):
    def told(**parameters: int) -> str:
        return str(world.ask(body=infer_body() | {"parameters": parameters})[1]["error"])

    assert "churn: no answer within 1e-06 s, the request's own timeout." in told(timeout=1)

    def run_too_long(*_: object) -> None:
        raise DeadlineExceeded("no answer before the deadline.")

    world.engine.loaded[0].run = run_too_long  # type: ignore[method-assign]
    for parameters in ({}, {"timeout": 0}, {"timeout": 60_000_000}):
        assert "churn: no answer within the 10 s of TRIVET_DEADLINE_SECONDS." in told(**parameters)
    assert "churn: no answer within 5 s, the request's own timeout." in told(timeout=5_000_000)


def test_a_deadline_that_passed_while_the_request_waited_spares_the_model_the_work(world: World):
    entrance = enter(world.plane, world.key, "churn", "predict")
    request = decode_infer(json.dumps(infer_body()).encode(), "churn")
    with pytest.raises(DeadlineExceeded):
        infer(world.plane, entrance, request, door="rest", deadline=time.monotonic() - 1)
    assert [version.runs for version in world.engine.loaded] == [0, 0]


def test_the_wait_for_a_thread_counts(world: World):
    body = json.dumps(infer_body() | {"parameters": AN_INSTANT}).encode()
    headers = {b"host": b"localhost", b"x-api-key": world.key.encode()}
    exchange = Exchange(world.plane, "POST", "/v2/models/churn/infer", headers)
    assert exchange.begin() is exchange.receive(body) is exchange.start_clock() is None
    assert exchange.run().status == 504
    assert [version.runs for version in world.engine.loaded] == [0, 0]


def test_a_run_that_was_made_is_counted_though_its_answer_is_too_late(world: World, monkeypatch: pytest.MonkeyPatch):
    version, counted = world.engine.loaded[0], []
    run = version.run

    def run_until_it_is_late(inputs: dict, outputs: list[str], deadline: float) -> Made:
        while time.monotonic() <= deadline:
            pass
        return Made(run(inputs, outputs), queued_ns=0, run_ns=1000, run_rows=2)

    monkeypatch.setattr(version, "run", run_until_it_is_late)
    monkeypatch.setattr(world.plane.meter, "called", lambda *call: counted.append(call))
    assert world.ask(body=infer_body() | {"parameters": {"timeout": 20_000}})[0] == 504
    assert counted == [("churn", 1, 2, 1000)]
