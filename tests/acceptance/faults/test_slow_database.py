"""F05 (promise 8): a database that is slow, or locked for longer than a lease: answers take as long as before it, and no
worker gathers threads, descriptors or connections while it waits."""

from __future__ import annotations

import http.client
import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.databases import VARIABLE, url_of
from tests.acceptance.faults.proxy import proxy_to
from tests.acceptance.logged import assert_every_answer_is_logged_once
from tests.acceptance.servers import Server, serving
from tests.scale import scaled

LEASE_SECONDS = 3
LOCKED_SECONDS = scaled(test=8, ci=10, full=30)  # longer than two leases and the workers' own wait
SLOW_SECONDS = scaled(test=4, ci=10, full=30)
QUIET_SECONDS = scaled(test=1, ci=2, full=5)
ROUND = 100  # requests whose p99 is taken
BUSY_SECONDS = 0.02  # what a machine that others use too may add to one answer in a hundred
PAUSE_SECONDS = 0.005  # between a client's requests
WORKERS = 2
FEW = 2  # files that are open for a moment: a new segment, a connection that is made again
Fault = Callable[[Churn], AbstractContextManager[None]]


@contextmanager
def locked_file(churn: Churn) -> Iterator[None]:
    with closing(sqlite3.connect(churn.project / "db.sqlite3", isolation_level=None)) as database:
        database.execute("begin immediate")
        yield
        database.execute("rollback")


@contextmanager
def locked_tables(churn: Churn) -> Iterator[None]:
    """Lock every table of ours, so that nobody even reads."""
    with closing(psycopg.connect(url_of(churn.project), connect_timeout=5)) as connection:
        found = connection.execute("select tablename from pg_tables where tablename like 'trivet_%'").fetchall()
        connection.execute(f"lock table {', '.join(name for (name,) in found)} in access exclusive mode".encode())
        yield
        connection.rollback()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("churn", "fault"), [("sqlite", locked_file), ("postgresql", locked_tables)], indirect=["churn"]
)
def test_F05_a_database_locked_for_longer_than_a_lease_slows_no_answer_and_gathers_nothing(churn: Churn, fault: Fault):
    with serving(churn.project, workers=WORKERS, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS)) as server:
        asked = ask_before_during_and_after(server, churn, lambda: fault(churn), seconds=LOCKED_SECONDS)
        assert server.stop() == 0
    assert_every_answer_is_logged_once(churn, asked)


@pytest.mark.slow
@pytest.mark.parametrize("churn", ["postgresql"], indirect=True)
def test_F05_a_database_that_answers_slowly_slows_no_answer_and_gathers_nothing(churn: Churn):
    url = url_of(churn.project)
    port = url.rpartition("/")[0].rpartition(":")[2]
    with proxy_to(int(port)) as proxy:

        @contextmanager
        def slow() -> Iterator[None]:
            proxy.set("slow")
            yield
            proxy.set("open")

        environment = {
            VARIABLE: url.replace(f":{port}/", f":{proxy.port}/"),
            "TRIVET_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        with serving(churn.project, workers=WORKERS, **environment) as server:
            asked = ask_before_during_and_after(server, churn, slow, seconds=SLOW_SECONDS)
            assert server.stop() == 0
    assert_every_answer_is_logged_once(churn, asked)


def ask_before_during_and_after(
    server: Server, churn: Churn, fault: Callable[[], AbstractContextManager[None]], *, seconds: float
) -> list[str]:
    """Compare what answers take, and what workers hold, while the fault lasts with before and after; return all ids."""
    client = Client(server, churn)
    client.ask_for(QUIET_SECONDS)  # pools and caches fill
    before, held = client.ask_for(QUIET_SECONDS), client.most_held
    with fault():
        began = client.ask_for(seconds / 2)
        half_way, client.most_held = client.most_held, {}
        during = began + client.ask_for(seconds / 2)
    at_the_end = client.most_held
    after = client.ask_for(QUIET_SECONDS)
    client.close()
    print(
        f"p99 before {p99(before):.4f}, during {p99(during):.4f}, after {p99(after):.4f}; held {held} {half_way} {at_the_end}"
    )
    for kind, most in half_way.items():
        assert most <= held[kind] + FEW, "it gathers something at once"
        assert at_the_end[kind] <= most, "it gathers more and more"
    assert p99(during) < 2 * max(p99(before), p99(after)) + BUSY_SECONDS
    return client.ids


def p99(took: list[float]) -> float:
    """Return the middle one of the p99 of rounds, in seconds: one round may meet what else the machine does."""
    rounds = [sorted(took[start : start + ROUND]) for start in range(0, len(took) - ROUND + 1, ROUND)]
    return statistics.median(one[int(ROUND * 0.99) - 1] for one in rounds)


class Client:
    """One caller that asks again and again, and looks at what the workers hold meanwhile."""

    def __init__(self, server: Server, churn: Churn) -> None:
        self.ids: list[str] = []
        self.most_held: dict[str, int] = {}
        self._server = server
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self._body, self._headers = churn.body, {"Authorization": f"Bearer {churn.key}"}

    def ask_for(self, seconds: float) -> list[float]:
        """Ask for so long, and for a round at least; return how long each answer took, in seconds."""
        took: list[float] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(took) < ROUND:
            began = time.perf_counter()
            self._connection.request("POST", "/v2/models/churn/infer", self._body, self._headers)
            response = self._connection.getresponse()
            content = response.read()
            took.append(time.perf_counter() - began)
            assert response.status == 200, content
            self.ids.append(json.loads(content)["parameters"]["prediction_id"])
            if len(took) % 20 == 0:
                self._look()
            time.sleep(PAUSE_SECONDS)
        return took

    def close(self) -> None:
        self._connection.close()

    def _look(self) -> None:
        for pid in self._server.web_workers():
            for kind in ("task", "fd"):
                held = len(list(Path(f"/proc/{pid}/{kind}").iterdir()))
                self.most_held[f"{kind} {pid}"] = max(held, self.most_held.get(f"{kind} {pid}", 0))
