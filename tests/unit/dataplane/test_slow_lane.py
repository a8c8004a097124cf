"""The slow lane: who waits for another process holds no thread, and a thread sees to whatever went wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.unit.dataplane.remembering import a_cache
from tests.unit.dataplane.world import SIGNATURE, World, infer_body
from trivet.core.signature import Output, Signature
from trivet.dataplane import infer as corridor
from trivet.dataplane.engines.base import LoadedVersion
from trivet.dataplane.frontends.rest import Exchange, Response
from trivet.dataplane.frontends.slow_lane import Lane, LaneFull, SlowLane
from trivet.dataplane.validation.tensors import validate

LANE = Lane("churn", 2)


class Question:
    """A question whose answer is a byte on a socket: `!` is an answer, anything else a failure."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.here, self.there = socket.socketpair()
        self.deadline = time.monotonic() + seconds
        self.is_answered = False

    def fileno(self) -> int:
        return self.here.fileno()

    def look(self) -> bool:
        self.is_answered = self.here.recv(1) == b"!"
        return True

    def close(self) -> None:
        self.here.close()
        self.there.close()


@pytest.fixture
def question() -> Iterator[Question]:
    question = Question()
    yield question
    question.close()


def waited_for(question: Question, *, sent: bytes = b"", ends_quickly: bool = True) -> tuple[str, list[str]]:
    """Return in which thread the work was done, and in which the result arrived."""

    async def run() -> tuple[str, list[str]]:
        lane, done, others = SlowLane(), asyncio.get_running_loop().create_future(), set(threading.enumerate())
        lane.submit(
            lambda: threading.current_thread().name, LANE, done.set_result, lambda: question, lambda: ends_quickly
        )
        started = set(threading.enumerate()) - others
        before = [thread.name for thread in started if thread.name.startswith("trivet-slow")]
        question.there.send(sent)
        return await asyncio.wait_for(done, 10), before

    return asyncio.run(run())


def test_an_answer_is_taken_on_the_loop_and_no_thread_waits_for_it(question: Question):
    assert waited_for(question, sent=b"!") == (threading.main_thread().name, [])


def test_what_is_long_to_write_is_written_in_a_thread_which_waits_for_nothing(question: Question):
    where, before = waited_for(question, sent=b"!", ends_quickly=False)
    assert (where.startswith("trivet-slow"), before) == (True, [])


def test_a_failure_is_seen_to_in_a_thread(question: Question):
    where, before = waited_for(question, sent=b"?")
    assert (where.startswith("trivet-slow"), before) == (True, [])


def test_an_answer_that_is_late_is_seen_to_in_a_thread(question: Question):
    question.deadline = time.monotonic() + 0.01
    assert waited_for(question)[0].startswith("trivet-slow")


def test_what_is_put_counts_among_those_who_wait(question: Question):
    async def run() -> None:
        lane, done = SlowLane(), asyncio.get_running_loop().create_future()
        for _ in range(LANE.threads):
            lane.submit(lambda: 1, LANE, lambda _: done.done() or done.set_result(1), lambda: question)
        with pytest.raises(LaneFull):
            lane.submit(lambda: 1, LANE, lambda _: None, lambda: pytest.fail("it was put"))
        question.there.send(b"!!")
        await asyncio.wait_for(done, 10)

    asyncio.run(run())


def test_the_threads_of_models_that_have_left_end_once_nobody_waits_there(question: Question):
    in_use = {"first", "second"}

    async def run() -> None:
        lane, done = SlowLane(is_in_use=in_use.__contains__), asyncio.get_running_loop().create_future()
        before = set(threading.enumerate())
        await lane.run(lambda: 1, Lane("first", 1))
        lane.submit(lambda: 1, Lane("second", 1), done.set_result, lambda: question)
        in_use.clear()
        await lane.run(lambda: 1, Lane("third", 1))
        assert set(lane._own) == {"second", "third"}, "one is asked still"
        until = time.monotonic() + 10
        while len(set(threading.enumerate()) - before) > 1:
            assert time.monotonic() < until, "the thread of the first goes on"
            await asyncio.sleep(0)
        question.there.send(b"!")
        assert await asyncio.wait_for(done, 10) == 1
        await lane.run(lambda: 1, Lane("fourth", 1))
        assert set(lane._own) == {"fourth"}

    asyncio.run(run())


class Asked:
    """What the model of the world makes of a question, kept until somebody wants it."""

    deadline = float("inf")
    is_answered = True

    def __init__(self, version: LoadedVersion, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> None:
        self.answer = lambda: version.run(inputs, outputs)

    def fileno(self) -> int:
        raise NotImplementedError

    def look(self) -> bool:
        return True


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    make_puttable(world)
    return world


def make_puttable(world: World) -> None:
    for version in world.engine.loaded:
        version.put = lambda inputs, outputs, deadline, version=version: Asked(version, inputs, outputs)


def exchange_of(world: World, body: dict) -> Exchange:
    """Return an exchange that is to be run."""
    headers = {b"host": b"localhost", b"authorization": f"Bearer {world.key}".encode()}
    exchange = Exchange(world.plane, "POST", "/v2/models/churn/infer", headers)
    assert exchange.begin() is None
    assert exchange.receive(json.dumps(body).encode()) is None
    assert exchange.start_clock() is None
    return exchange


def outputs_of(response: Response) -> object:
    assert response.status == 200, response.body
    return json.loads(response.body)["outputs"]


def test_what_was_put_is_answered_and_recorded_like_anything_else(world: World):
    usual = exchange_of(world, infer_body()).run()
    exchange = exchange_of(world, infer_body())
    assert exchange.put() is not None
    assert outputs_of(exchange.run()) == outputs_of(usual)
    first, second = world.records()
    assert (first.inputs, first.outputs, first.route, first.version) == (
        second.inputs,
        second.outputs,
        second.route,
        second.version,
    )
    assert world.engine.loaded[0].runs == 2


def test_what_does_not_fit_is_not_put_and_refused_as_ever(world: World):
    body = infer_body()
    body["inputs"][0]["data"] = ["old"]
    exchange = exchange_of(world, body)
    assert exchange.put() is None
    assert exchange.run().status == 400
    assert not world.records()


def test_the_values_are_checked_once_where_nobody_takes_a_question_now(world: World, monkeypatch: pytest.MonkeyPatch):
    checked = []
    monkeypatch.setattr(corridor, "validate", lambda *values: checked.append(1) or validate(*values))
    world.engine.loaded[0].takes_questions = False
    exchange = exchange_of(world, infer_body())
    assert exchange.put() is None
    assert not checked
    assert exchange.run().status == 200
    assert len(checked) == 1


def test_a_mistake_of_ours_while_putting_is_logged_and_the_request_answered_all_the_same(
    world: World, caplog: pytest.LogCaptureFixture
):
    def mistaken(*_: object) -> None:
        raise TypeError("a mistake of ours")

    world.engine.loaded[0].put = mistaken
    exchange = exchange_of(world, infer_body())
    assert exchange.put() is None
    assert "a mistake of ours" in caplog.text
    assert exchange.run().status == 200


def test_where_what_was_put_fails_the_chain_is_asked(world: World):
    world.route({2: 100}, fallback=(1,))
    make_puttable(world)
    world.engine.loaded[1].broken = True
    exchange = exchange_of(world, infer_body())
    assert exchange.put() is not None
    assert json.loads(exchange.run().body)["parameters"]["fallback_from"] == "2"


def test_a_model_whose_stand_in_would_have_to_be_waited_for_is_not_put(world: World):
    world.route({2: 100}, fallback=(1,))
    make_puttable(world)
    world.engine.loaded[0].runs_inline = False
    assert exchange_of(world, infer_body()).put() is None
    world.engine.loaded[0].runs_inline = True
    assert exchange_of(world, infer_body()).put() is not None
    world.engine.loaded[0].cost_us_per_row = 1e9
    assert exchange_of(world, infer_body()).put() is None


def test_what_is_too_late_is_not_put_for_nobody_would_take_its_answer(world: World):
    put: list[object] = []
    for version in world.engine.loaded:
        version.put = lambda *asked: put.append(asked)
    exchange = exchange_of(world, infer_body() | {"parameters": {"timeout": 1}})
    until = time.monotonic() + 5
    while time.monotonic() < until and time.monotonic_ns() - exchange._waits_since <= 1000:
        pass  # the microsecond it was given
    assert exchange.put() is None
    assert exchange.run().status == 504
    assert not put


def test_nothing_is_put_while_the_cache_looks(tmp_path: Path):
    world = World(tmp_path, cache=a_cache())
    make_puttable(world)
    assert exchange_of(world, infer_body()).put() is None


def of_size(shape: tuple[int, ...]) -> Signature:
    return Signature(inputs=SIGNATURE.inputs, outputs=(Output(name="y", datatype="FP32", shape=shape),))


@pytest.mark.parametrize(
    ("shape", "is_quick"),
    [((-1, 16), True), ((-1, 8000), True), ((-1, 9000), False), ((-1, -1), False)],
    ids=["small", "just within 2 ms", "beyond", "of no known size"],
)
def test_a_large_answer_or_one_of_no_known_size_does_not_end_quickly(
    tmp_path: Path, shape: tuple[int, ...], is_quick: bool
):
    world = World(tmp_path, signature=of_size(shape))
    make_puttable(world)
    exchange = exchange_of(world, infer_body())
    assert not exchange.ends_quickly()
    for version in world.engine.loaded:
        version.run = lambda inputs, outputs: [np.zeros((1, max(shape[1], 1)), np.float32)]
    assert exchange.put() is not None
    assert exchange.ends_quickly() is is_quick
    assert exchange.run().status == 200


@pytest.mark.parametrize(("shape", "is_slow"), [((-1, 8000), False), ((-1, 9000), True)])
def test_what_an_answer_costs_to_write_counts_where_it_runs_on_the_loop(
    tmp_path: Path, shape: tuple[int, ...], is_slow: bool
):
    world = World(tmp_path, signature=of_size(shape))
    assert exchange_of(world, infer_body()).is_slow is is_slow


# --- no room ----------------------------------------------------------------------------------------------------------

FULL = LaneFull("too many slow predictions are waiting; ask again.", code="QUEUE_FULL")


def test_where_there_is_no_room_to_wait_the_chain_answers(world: World):
    world.route({2: 100}, fallback=(1,))
    response = exchange_of(world, infer_body()).stand_in(FULL)
    assert json.loads(response.body)["parameters"]["fallback_from"] == "2"
    (record,) = world.records()
    assert (record.version, record.route, record.fallback_from) == (1, "fallback", 2)
    assert world.engine.loaded[1].runs == 0


def test_a_stand_in_that_takes_long_or_waits_is_not_asked_on_the_loop(world: World):
    world.route({2: 100}, fallback=(1,))
    stands_in = world.engine.loaded[0]
    stands_in.runs_inline = False
    assert exchange_of(world, infer_body()).stand_in(FULL).status == 503
    stands_in.runs_inline, stands_in.cost_us_per_row = True, 5_000.0
    assert exchange_of(world, infer_body()).stand_in(FULL).status == 503
    assert stands_in.runs == 0


def test_without_a_chain_no_room_is_a_503_that_says_when_to_come_back(world: World):
    response = exchange_of(world, infer_body()).stand_in(FULL)
    headers = dict(response.headers)
    assert (response.status, headers[b"trivet-error"], headers[b"retry-after"]) == (503, b"QUEUE_FULL", b"1")
    assert not world.records()


def test_F28_without_a_thread_slow_work_is_refused_not_lost_and_its_place_is_free(monkeypatch: pytest.MonkeyPatch):
    started: list[str] = []

    async def run() -> list[str]:
        lane, done = SlowLane(threads=1, waiting=0), asyncio.get_running_loop().create_future()
        with monkeypatch.context() as scarce:
            scarce.setattr(threading.Thread, "start", no_thread)
            for _ in range(3):
                with pytest.raises(LaneFull):
                    lane.submit(lambda: started.append("for nobody"), Lane(), lambda _: None)
            with pytest.raises(LaneFull):
                await lane.run(lambda: started.append("for nobody"))
        lane.submit(lambda: started.append("asked"), Lane(), done.set_result)
        await asyncio.wait_for(done, 10)
        return started

    assert asyncio.run(run()) == ["asked"]


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
