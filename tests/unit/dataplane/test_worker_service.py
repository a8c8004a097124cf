"""What a model worker tells those who ask it, in a thread of this process."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.acceptance.workshop import by_wish_bundle, rows, wait_until
from tests.unit.dataplane.scarce import Scarce
from trivet.dataplane.engines.worker.connection import Connection
from trivet.dataplane.engines.worker.control import Options
from trivet.dataplane.engines.worker.frames import Ask, Contract, encode_frame
from trivet.dataplane.engines.worker.instance import ACCEPT_AGAIN_SECONDS, IDLE_SECONDS, OVERDUE_SECONDS, Service
from trivet.dataplane.engines.worker.runs import RunsRead, RunsWritten
from trivet.dataplane.engines.worker.sockets import listen_on

SECONDS = 10.0


class Doubling:
    """A runtime that doubles, and lets the test do something during each run."""

    supports_batching = True

    def __init__(self, *during: Callable[[], object]) -> None:
        self._during = iter(during)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        next(self._during, lambda: None)()
        return [inputs["x"] * 2 for _ in outputs]


@contextmanager
def answering(folder: Path, runtime: Doubling) -> Iterator[Callable[[], Connection]]:
    """Have `runtime` answer for as long as the block runs; yield what connects to it."""
    bundle, path = by_wish_bundle(), folder / "1.sock"
    listening = listen_on(path)
    service = Service(
        runtime,
        bundle,
        listening,
        RunsWritten(folder / "1.runs"),
        Options(deadline_seconds=SECONDS),
        cost_us_per_row=1.0,
    )
    thread = threading.Thread(target=service.serve)
    thread.start()
    try:
        yield lambda: Connection(path, bundle.digest, time.monotonic() + SECONDS)
    finally:
        service.leave()
        thread.join(SECONDS)
        listening.close()


def question() -> bytes:
    bundle = by_wish_bundle()
    parts, encoded = Contract(bundle.signature, bundle.manifest.packs).encode_inputs(rows(1.0))
    return encode_frame(Ask(time.monotonic() + SECONDS, ["doubled"], parts), encoded)


def test_a_run_is_told_to_the_first_of_those_who_shared_it_that_is_still_there(tmp_path: Path):
    runs_now, go_on = threading.Event(), threading.Event()
    callers: list[Connection] = []

    def wait_for_company() -> None:
        runs_now.set()
        go_on.wait(SECONDS)

    def leave() -> None:
        callers[0].close()

    runtime = Doubling(wait_for_company, leave)
    with answering(tmp_path, runtime) as connect:
        first, *callers[:] = [connect() for _ in range(4)]
        first.put(question())
        assert runs_now.wait(SECONDS)
        for caller in callers:
            caller.put(question())  # while the first runs: they share the next run
        go_on.set()
        told = [connection.receive(time.monotonic() + SECONDS)[0] for connection in (first, *callers[1:])]
        assert [one.run_rows for one in told] == [1, 3, 0]
        for connection in (first, *callers[1:]):
            connection.close()


def promised(runs: RunsRead) -> float:
    """Return how far ahead the next sign of life was promised, in seconds; infinite where none was."""
    later = time.monotonic() + 1000
    silent = runs.silent_seconds(later)
    return later - silent - time.monotonic() if silent else math.inf


def test_an_idle_model_worker_gives_signs_of_life_and_one_in_a_run_promises_one_once_that_should_be_over(
    tmp_path: Path,
):
    runs_now, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        runs_now.set()
        go_on.wait(SECONDS)

    with answering(tmp_path, Doubling(hang)) as connect:
        runs = RunsRead(tmp_path / "1.runs")
        for _ in range(2):
            wait_until(lambda: promised(runs) < IDLE_SECONDS / 2)
            wait_until(lambda: IDLE_SECONDS / 2 < promised(runs) <= IDLE_SECONDS)
        assert not runs.is_running
        caller = connect()
        caller.put(question())
        assert runs_now.wait(SECONDS)
        assert runs.is_running
        assert promised(runs) <= OVERDUE_SECONDS, "its caller would wait longer, but no such run takes so long"
        wait_until(lambda: runs.silent_seconds(time.monotonic()) > 0)
        go_on.set()
        caller.receive(time.monotonic() + SECONDS)
        wait_until(lambda: not runs.silent_seconds(time.monotonic()) and not runs.is_running)
        runs.close()
        caller.close()


def test_F28_without_a_descriptor_for_a_caller_a_model_worker_waits_and_answers_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with answering(tmp_path, Doubling()) as connect:
        known = connect()
        scarce = Scarce(monkeypatch)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(connect)
            scarce.assert_waits(ACCEPT_AGAIN_SECONDS)
            known.close()
            other.result().close()
