"""Model workers that fail in every way: what harms only its own requests, and for how long. Real processes."""

from __future__ import annotations

import os
import resource
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.acceptance.by_wish import (
    ALLOCATE,
    CRASH,
    HANG,
    LEAK,
    RAISE,
    WRONG_DATATYPE,
    WRONG_SHAPE,
)
from tests.acceptance.workshop import Workshop, ask, process_of, rows, wait_until, workshop
from trivet.core.errors import BundleError, DeadlineExceeded, TrivetError, Unavailable

BACK_SECONDS = 2.0  # a model that crashes or hangs harms for less than this


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(tmp_path_factory.mktemp("workshop"), deadline_seconds=5.0) as opened:
        yield opened


def outcome(call: Callable[[], Any]) -> Any:
    """Return what `call` returns, or the code of the error it raises."""
    try:
        return call()
    except TrivetError as error:
        return error.code


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Return the outcomes of `calls`, all made at the same moment."""
    begin = threading.Barrier(len(calls))

    def wait_and(call: Callable[[], Any]) -> Any:
        begin.wait(10)
        return outcome(call)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(wait_and, calls))


def test_an_answer_has_the_outputs_asked_for_in_their_order_and_every_text_as_it_was(place: Workshop):
    version = place.load()
    text, doubled = ask(version, 1.5, -0.5, outputs=("text", "doubled"))
    assert text.tolist() == ["1.5\ud800ü", "-0.5\ud800ü"]
    assert doubled.tolist() == [[3.0], [-1.0]]
    version.unload()


def test_a_model_worker_has_nothing_of_its_owners_environment_but_where_the_code_is(place: Workshop):
    version = place.load()
    environment = Path(f"/proc/{process_of(version)}/environ").read_bytes()
    assert b"SECRET" not in environment
    loaded = Path(f"/proc/{process_of(version)}/maps").read_text()
    assert "onnxruntime" not in loaded  # nor what its bundle does not need
    version.unload()


def put(version: Any, *values: float, outputs: tuple[str, ...] = ("doubled",), seconds: float = 10.0) -> Any:
    """Ask without waiting, over a connection that is open because somebody has asked before."""
    ask(version, 1.0)
    question = version.put(rows(*values), list(outputs), time.monotonic() + seconds)
    assert question is not None
    return question


def is_over(question: Any, seconds: float = 5.0) -> bool:
    """Look whenever there is something to look at; return whether there is nothing more to wait for within `seconds`."""
    deadline = time.monotonic() + seconds
    readable = select.poll()
    readable.register(question, select.POLLIN)
    while readable.poll(max(deadline - time.monotonic(), 0) * 1000):
        if question.look():
            return True
    return False


def test_a_question_is_put_and_its_answer_taken_without_waiting_in_between(place: Workshop):
    version = place.load(seconds=0.05, name="put")
    question = put(version, 1.5, outputs=("doubled", "text"))
    assert version.standing.waiting == 1
    assert not question.look(), "it runs for 50 ms"
    assert is_over(question)
    assert question.is_answered
    doubled, text = question.answer()
    assert (doubled.tolist(), text.tolist()) == ([[3.0]], ["1.5\ud800ü"])
    assert version.standing.waiting == 0
    again = put(version, 2.5)
    assert is_over(again)
    assert again.answer()[0].tolist() == [[5.0]]
    version.unload()


def test_nothing_is_put_where_it_would_take_waiting(place: Workshop):
    version = place.load(name="unasked")
    in_time = time.monotonic() + 10
    assert not version.takes_questions
    assert version.put(rows(1.0), ["doubled"], in_time) is None, "there is no connection yet"
    ask(version, 1.0)
    assert version.takes_questions
    assert version.put(rows(*[1.0] * 10_000), ["doubled"], in_time) is None, "80 kB may not be taken at once"
    assert version.standing.waiting == 0
    version.unload()


def test_a_question_that_is_not_answered_in_time_is_too_late(place: Workshop):
    version = place.load()
    question = put(version, HANG, seconds=0.2)
    assert not is_over(question, 0.2)
    assert outcome(question.answer) == "DEADLINE"
    assert version.standing.waiting == 0
    wait_until(lambda: outcome(lambda: ask(version, 1.0)) != "MODEL_FAILED")
    version.unload()


def test_a_question_to_a_model_that_fails_fails(place: Workshop):
    version = place.load()
    question = put(version, RAISE)
    assert is_over(question)
    assert not question.is_answered
    assert outcome(question.answer) == "MODEL_FAILED"
    version.unload()


def test_a_question_to_an_instance_that_is_killed_is_asked_again(place: Workshop):
    version = place.load(seconds=0.3, name="asked again")
    process = process_of(version)
    question = put(version, 4.0)
    os.kill(process, signal.SIGKILL)
    assert is_over(question)
    assert not question.is_answered
    assert question.answer()[0].tolist() == [[8.0]]
    version.unload()


def test_one_poisoned_request_of_32_fails_alone(place: Workshop):
    version = place.load(seconds=0.02, name="poison")
    requests = [float(n) for n in range(31)] + [RAISE]
    answers = at_once([lambda x=x: ask(version, x, outputs=("doubled", "run")) for x in requests])
    assert answers[31] == "MODEL_FAILED"
    assert [doubled[0, 0] for doubled, _ in answers[:31]] == [2.0 * n for n in range(31)]
    good = at_once([lambda x=x: ask(version, x, outputs=("run",)) for x in requests[:31]])
    assert max(run[0][0, 1] for run in good) > 4, "nothing was batched"
    version.unload()


def test_requests_for_different_outputs_never_share_a_run(place: Workshop):
    version = place.load(seconds=0.02, name="mixed")
    wanted = [("doubled",), ("text",), ("run", "doubled"), ("doubled", "run")] * 6
    answers = at_once(
        [lambda n=n, names=names: ask(version, n, n + 0.5, outputs=names) for n, names in enumerate(wanted)]
    )
    for n, (names, arrays) in enumerate(zip(wanted, answers, strict=True)):
        found = dict(zip(names, arrays, strict=True))
        assert "doubled" not in found or found["doubled"].tolist() == [[2.0 * n], [2.0 * n + 1]]
        assert "text" not in found or found["text"].tolist() == [f"{n:g}\ud800ü", f"{n + 0.5:g}\ud800ü"]
    version.unload()


@pytest.mark.parametrize("wish", [WRONG_SHAPE, WRONG_DATATYPE])
def test_an_answer_against_the_signature_is_a_failure_and_never_an_answer(place: Workshop, wish: float):
    version = place.load()
    assert outcome(lambda: ask(version, wish)) == "MODEL_FAILED"
    assert ask(version, 2.0)[0].tolist() == [[4.0]]
    version.unload()


def test_F08_a_crash_harms_the_request_that_causes_it_and_nobody_else(place: Workshop):
    version = place.load(seconds=0.02, name="crash")
    before = process_of(version)
    started = time.monotonic()
    answers = at_once([lambda x=x: ask(version, x) for x in [*map(float, range(15)), CRASH]])
    assert answers[15] == "MODEL_FAILED"
    assert [answer[0][0, 0] for answer in answers[:15]] == [2.0 * n for n in range(15)]
    assert process_of(version) != before
    assert time.monotonic() - started < 2 * BACK_SECONDS  # its retry alone ends a second process
    assert version.restarts["crash"] == 2
    version.unload()


def test_F09_a_hang_is_ended_at_the_deadline_and_its_neighbours_are_answered_afterwards(place: Workshop):
    version = place.load(name="hang")
    before = process_of(version)
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(lambda: outcome(lambda: ask(version, HANG, seconds=0.5)))
        time.sleep(0.1)
        neighbour = pool.submit(lambda: outcome(lambda: ask(version, 2.0)))
        assert hanging.result(5) == "DEADLINE"
        assert time.monotonic() - started < 0.7
        answered = neighbour.result(5)
    assert not isinstance(answered, str)
    assert answered[0].tolist() == [[4.0]]
    assert time.monotonic() - started < 1.0 + BACK_SECONDS  # a run nobody waits for is given a second
    assert process_of(version) != before
    assert version.restarts == {"hang": 1}
    version.unload()


def test_impatient_callers_end_no_run_that_others_wait_for(place: Workshop):
    version = place.load(seconds=0.3, name="impatient")
    process = process_of(version)
    patient, *impatient = at_once([lambda: ask(version, 1.0), *[lambda: ask(version, 1.0, seconds=0.05)] * 5])
    assert impatient == ["DEADLINE"] * 5
    assert not isinstance(patient, str)
    assert process_of(version) == process
    version.ensure_ready()
    version.unload()


def test_a_caller_in_a_hurry_ends_no_run_that_takes_no_longer_than_its_rows_do(place: Workshop):
    version = place.load(seconds_a_row=0.002, name="row by row")
    process = process_of(version)
    many = rows(*[1.0] * 700)
    assert outcome(lambda: version.run(many, ["doubled"], time.monotonic() + 0.1)) == "DEADLINE"
    assert process_of(version) == process  # once the run is over, 1.4 s after it began
    assert not version.restarts
    version.unload()


def runs_now(version: Any) -> bool:
    """Tell whether the request of the first connection to a version's instance is running."""
    return version._balancer._backends[0]._runs.includes(1)


def test_whoever_comes_while_a_long_run_is_under_way_is_answered_after_it_within_the_deadline(
    place: Workshop, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("trivet.dataplane.engines.worker.connection.CONNECT_SECONDS", 0.1)  # the run takes longer
    version = place.load(seconds=0.5, name="long")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(lambda: ask(version, 1.0))
        wait_until(lambda: runs_now(version))
        others = [pool.submit(lambda: outcome(lambda: ask(version, 1.0))) for _ in range(2)]
        assert not [answer for one in (first, *others) if isinstance(answer := one.result(15), str)]
    version.unload()


def test_who_is_not_even_heard_before_the_deadline_tells_nothing_of_a_busy_instance(
    place: Workshop, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("trivet.dataplane.engines.worker.version.PATIENCE_SECONDS", 0.1)
    version = place.load(seconds=0.8, name="busy")
    with ThreadPoolExecutor() as pool:
        patient = pool.submit(lambda: ask(version, 1.0))
        wait_until(lambda: runs_now(version))
        late = [pool.submit(lambda: outcome(lambda: ask(version, 1.0, seconds=0.2))) for _ in range(4)]
        assert [one.result(5) for one in late] == ["DEADLINE"] * 4
        assert not version.standing.is_breaker_open
        assert patient.result(5)[0].tolist() == [[2.0]]
    version.unload()


def test_F09_a_stopped_model_worker_is_replaced(place: Workshop):
    version = place.load(name="stopped")
    before = process_of(version)
    os.kill(before, signal.SIGSTOP)
    assert outcome(lambda: ask(version, 1.0, seconds=0.3)) == "DEADLINE"
    assert wait_until(lambda: outcome(lambda: process_of(version)) not in (before, "DEADLINE", "MODEL_FAILED"), 5)
    version.unload()


def test_F11_a_model_that_asks_for_too_much_memory_fails_that_request(place: Workshop):
    version = place.load(name="allocate")
    process = process_of(version)
    assert outcome(lambda: ask(version, ALLOCATE)) == "MODEL_FAILED"
    assert process_of(version) == process
    version.unload()


def test_41_F10_a_model_worker_that_grows_is_replaced_without_a_failed_request(tmp_path: Path):
    with workshop(tmp_path, memory_bytes=512 * 1024 * 1024) as place:
        version = place.load(name="leak")
        before = process_of(version)
        for _ in range(23):
            ask(version, LEAK)
        wait_until(lambda: process_of(version) != before)
        for _ in range(20):
            ask(version, 1.0)
        wait_until(lambda: version.restarts == {"memory": 1})


def test_F12_a_version_that_cannot_be_loaded_says_why(place: Workshop):
    with pytest.raises(BundleError, match="does not wish to be loaded"):
        place.load(at_load="raise")
    with pytest.raises(BundleError, match="SIGSEGV while loading"):
        place.load(at_load="crash")


def test_two_processes_share_the_instances(place: Workshop):
    version = place.load(name="shared")
    other = place.another_engine().load(next(b for b in place.bundles.values() if b.digest == version.digest))
    assert process_of(other) == process_of(version)
    version.unload()
    time.sleep(0.1)
    assert ask(other, 3.0)[0].tolist() == [[6.0]]
    other.unload()


def test_41_a_full_queue_says_so_at_once(tmp_path: Path):
    with workshop(tmp_path, queue_length=4) as place:
        version = place.load(seconds=0.3)
        started = time.monotonic()
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(lambda: outcome(lambda: ask(version, 1.0))) for _ in range(4)]
            wait_until(lambda: version.standing.waiting == 4)
            assert outcome(lambda: ask(version, 1.0)) == "QUEUE_FULL"
            assert time.monotonic() - started < 0.25
            assert not [answer for one in waiting if isinstance(answer := one.result(5), str)]


def test_killing_an_instance_under_load_fails_no_request(tmp_path: Path):
    with workshop(tmp_path, instances=2) as place:
        version = place.load(seconds=0.002)
        stop = threading.Event()
        failures: list[str] = []
        slowest = 0.0
        seen: set[int] = set()

        def client() -> None:
            nonlocal slowest
            while not stop.is_set():
                started = time.monotonic()
                answer = outcome(lambda: ask(version, 1.0, outputs=("run",)))
                slowest = max(slowest, time.monotonic() - started)
                failures.append(answer) if isinstance(answer, str) else seen.add(int(answer[0][0, 2]))

        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(client)
            wait_until(lambda: len(seen) == 2)
            for _ in range(3):
                count = len(seen)
                os.kill(process_of(version), signal.SIGKILL)
                wait_until(lambda count=count: len(seen) > count)
            stop.set()
    assert not failures
    assert slowest < BACK_SECONDS


def test_F08_a_place_that_crashes_again_and_again_is_left_alone_and_then_tried_by_one(tmp_path: Path):
    with workshop(tmp_path, deadline_seconds=3.0) as place:
        version = place.load()
        for _ in range(2):
            assert outcome(lambda: ask(version, CRASH)) == "MODEL_FAILED"
        with pytest.raises(Unavailable, match="Ask again"):
            version.ensure_ready()
        assert version.standing.is_breaker_open
        assert wait_until(lambda: outcome(lambda: ask(version, 2.0)) != "MODEL_FAILED", 10)
        version.ensure_ready()


def test_an_owner_that_is_killed_is_replaced_with_all_it_owned(place: Workshop):
    version = place.load(name="owner")
    before = process_of(version)
    assert place.process is not None
    place.process.kill()
    place.process.wait()
    wait_until(lambda: not Path(f"/proc/{before}").exists())
    with pytest.raises(Unavailable):
        version.ensure_ready()
    place.start_owner()
    assert wait_until(lambda: outcome(lambda: process_of(version)) not in (before, "MODEL_FAILED"))
    version.unload()


def test_a_process_that_has_no_descriptor_left_fails_its_own_request_and_the_instance_stays(place: Workshop):
    version = place.load(name="descriptors")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(Unavailable, match="Too many open files"):
            ask(version, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ask(version, 1.0, seconds=1.0)[0].tolist() == [[2.0]]
    assert not version.restarts
    version.unload()


@pytest.mark.parametrize("error", [BundleError("it is gone from the storage."), RuntimeError("not an error of ours")])
def test_a_bundle_that_cannot_be_fetched_again_is_one_versions_failure_and_no_others(
    place: Workshop, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    monkeypatch.setattr("trivet.dataplane.engines.worker.link.FETCH_AGAIN_SECONDS", 0.1)
    name = type(error).__name__
    lost, kept = place.load(name=f"lost {name}"), place.load(name=f"kept {name}")
    bundle, failures = place.bundles.pop(lost.digest), []

    def fetch(digest: str) -> Any:
        if digest in place.bundles:
            return place.bundles[digest]
        failures.append(digest)
        raise error

    monkeypatch.setattr(place.engine._link, "_fetch", fetch)
    assert place.process is not None
    place.process.kill()
    place.process.wait()
    place.start_owner()
    wait_until(lambda: len(failures) > 1)
    wait_until(lambda: outcome(lambda: ask(kept, 1.0)) != "MODEL_FAILED")
    with pytest.raises(Unavailable, match="could not be given to the model workers"):
        ask(lost, 1.0)
    assert ask(kept, 2.0)[0].tolist() == [[4.0]]
    place.bundles[bundle.digest] = bundle  # the storage is there again
    wait_until(lambda: outcome(lambda: ask(lost, 1.0)) != "MODEL_FAILED")
    for version in (lost, kept):
        version.unload()


def test_without_an_owner_nothing_loads_and_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trivet.dataplane.engines.worker.link.GRACE_SECONDS", 0.0)
    with workshop(tmp_path) as place:
        place.folder.joinpath("control.sock").unlink()
        with pytest.raises(BundleError, match="trivet model-workers"):
            place.load()


def test_a_slow_model_does_not_move_a_fast_ones_p99(place: Workshop):
    fast, slow = place.load(name="fast"), place.load(seconds=0.2, name="slow")

    def p99(count: int = 300) -> float:
        times = []
        for _ in range(count):
            started = time.perf_counter()
            ask(fast, 1.0)
            times.append(time.perf_counter() - started)
        return float(np.percentile(times, 99))

    alone = p99()
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(lambda: outcome(lambda: ask(slow, 1.0))) for _ in range(32)]
        beside = p99()
        assert not [answer for one in running if (answer := one.result(20)) == "MODEL_FAILED"]
    assert beside < max(3 * alone, 0.02)
    for version in (fast, slow):
        version.unload()


def test_a_late_answer_is_no_answer(place: Workshop):
    version = place.load(seconds=0.2, name="late")
    with pytest.raises(DeadlineExceeded):
        ask(version, 1.0, seconds=0.05)
    version.unload()
