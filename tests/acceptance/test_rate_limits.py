"""Limits of callers over real servers: several web workers, many clients, workers that die, counters that are away."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.flooder import flooding
from tests.acceptance.servers import DEADLINE_SECONDS, Server, copy_project, serving, trivet, wait_for
from tests.scale import scaled

PATH = "/v2/models/churn/infer"
WORKERS = 3
LIMIT = 40  # a second
CLIENTS = 32
SECONDS = scaled(test=3, ci=6, full=60)
ROUNDS = scaled(test=5, ci=5, full=20)  # with a flood, and without
ASKED = scaled(test=60, ci=200, full=1_000)  # in each
OTHERS = 4
FORGED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP")


class Told(NamedTuple):
    """What one request was told, and when it began and ended, of `time.monotonic()`."""

    began: float
    ended: float
    status: int
    retry_after: str | None


class Caller:
    """One kept-alive connection; each request says that it comes from somewhere else."""

    def __init__(self, port: int, key: str, body: bytes) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
        self._key, self._body = key, body
        self._random = random.Random(port)

    def ask(self) -> Told:
        """Ask once."""
        address = ".".join(str(self._random.randrange(1, 255)) for _ in range(4))
        headers = {"Authorization": f"Bearer {self._key}", **dict.fromkeys(FORGED, address)}
        began = time.monotonic()
        self._connection.request("POST", PATH, self._body, headers)
        response = self._connection.getresponse()
        response.read()
        return Told(began, time.monotonic(), response.status, response.getheader("Retry-After"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def server(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The project of `churn`, served by three web workers."""
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("limits") / "project")
    with serving(project, workers=WORKERS) as server:
        yield server


def key_with(project: Path, limit: str) -> str:
    """Return a new key that may ask `churn` as often as `limit` says."""
    made = trivet(
        "keys", "create", "x", "--model=churn", "--verb=predict", "--json", f"--limit={limit}", project=project
    )
    return str(json.loads(made.stdout)["key"])


def hammer(port: int, key: str, body: bytes, clients: int, *, goes_on: Callable[[list[Told]], bool]) -> list[Told]:
    """Let clients ask as fast as they are answered, each for as long as it `goes_on` after what it was told."""
    told: list[list[Told]] = [[] for _ in range(clients)]

    def run(mine: list[Told]) -> None:
        with Caller(port, key, body) as caller:
            while goes_on(mine):
                mine.append(caller.ask())

    threads = [threading.Thread(target=run, args=(mine,)) for mine in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for mine in told for one in mine]


def not_refused_yet(told: list[Told]) -> bool:
    """True before a client was refused ten times: by then, new connections of others are with every worker."""
    return sum(one.status == 429 for one in told) < 10


def most_within(told: list[Told], seconds: float) -> int:
    """Return how many were let in, at most, in any stretch: those that began and ended in it certainly were."""
    let_in = sorted((one.began, one.ended) for one in told if one.status == 200)
    ends = sorted(ended for _, ended in let_in)
    return (
        max(sum(1 for other, ended in let_in[at:] if ended < began + seconds) for at, (began, _) in enumerate(let_in))
        if ends
        else 0
    )


def test_D19_D20_no_second_sees_more_than_the_limit_whoever_asks_from_wherever_and_less_is_not_given(
    server: Server, churn_template: Churn
):
    key = key_with(server.project, f"{LIMIT}/s")
    began = time.monotonic()
    told = hammer(server.port, key, churn_template.body, CLIENTS, goes_on=lambda _: time.monotonic() < began + SECONDS)
    let_in = [one for one in told if one.status == 200]
    assert {one.status for one in told} == {200, 429}
    assert {one.retry_after for one in told if one.status == 429} == {"1"}
    assert most_within(told, 1.0) <= LIMIT + WORKERS
    assert len(let_in) <= (LIMIT + WORKERS) * (max(one.ended for one in told) - began + 1)
    assert len(let_in) >= 0.8 * LIMIT * (SECONDS - 1)
    assert len(told) > 3 * len(let_in), "the limit was never reached"
    refused = max((one for one in told if one.status == 429), key=lambda one: one.ended)
    wait_for(lambda: time.monotonic() >= refused.ended + int(refused.retry_after or 0))
    with Caller(server.port, key, churn_template.body) as caller:
        assert caller.ask().status == 200


def test_D19_a_worker_that_is_killed_takes_nothing_along_that_it_had_counted(server: Server, churn_template: Churn):
    key, body = key_with(server.project, "50/h"), churn_template.body
    told = []
    for _ in range(3):
        with Caller(server.port, key, body) as caller:
            told += [caller.ask() for _ in range(10)]
    before = server.web_workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(set(server.web_workers()) - set(before)) == WORKERS)
    told += hammer(server.port, key, body, 8, goes_on=not_refused_yet)
    assert {one.status for one in told} == {200, 429}
    assert 50 <= sum(one.status == 200 for one in told) <= 50 + WORKERS
    assert all(3500 < int(one.retry_after) <= 3600 for one in told if one.retry_after)


def test_D22_without_the_shared_counters_the_workers_share_the_limit_out_until_they_are_back(churn: Churn):
    key = key_with(churn.project, "40/h")
    store = churn.project / ".trivet" / "limits"
    store.write_text("no folder")
    with serving(churn.project, workers=WORKERS) as server:
        told = hammer(server.port, key, churn.body, 12, goes_on=not_refused_yet)
        assert {one.status for one in told} == {200, 429}
        assert 40 // WORKERS <= sum(one.status == 200 for one in told) <= 40
        lines = [line for line in server.lines if "event=rate_counters_away" in line]
        assert 1 <= len(lines) <= WORKERS
        assert all("each process allows one of 3 shares" in line for line in lines)
        store.unlink()

        def are_back() -> bool:
            with Caller(
                server.port, key, churn.body
            ) as caller:  # anew: a worker says so that had noticed they were away
                caller.ask()
            return any("event=rate_counters_back" in line for line in server.lines)

        wait_for(are_back)


def test_D23_a_flood_without_keys_holds_up_who_has_one_no_more_than_as_many_good_callers_would(
    server: Server, churn_template: Churn
):
    def p99(caller: Caller) -> float:
        told = [caller.ask() for _ in range(ASKED)]
        assert {one.status for one in told} == {200}
        return sorted(one.ended - one.began for one in told)[int(ASKED * 0.99) - 1]

    key, body = churn_template.key, churn_template.body
    figures: dict[str, list[float]] = {"crowd": [], "flood": []}
    for _ in range(ROUNDS):
        for kind, good in (("crowd", (key, body.decode())), ("flood", ())):
            with Caller(server.port, key, body) as caller, flooding(server.port, OTHERS, *good) as told:
                figures[kind].append(p99(caller))
            assert told.keys() == {"200" if good else "401"}
            assert told.total() > ASKED
    crowd, flood = (statistics.median(seconds) for seconds in figures.values())
    assert flood < 2 * crowd, figures
