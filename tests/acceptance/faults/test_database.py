"""F04, F06, F31 (promise 8): a database that fails, or is cut off: predictions go on, the rest says so, and all heals."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.bounds import slowness
from tests.acceptance.faults.invariants import Leftovers, assert_allowed, compare
from tests.acceptance.faults.ledger import clients
from tests.acceptance.faults.proxy import State, proxy_to
from tests.acceptance.postgres_server import PostgresServer
from tests.acceptance.servers import Server, serving, trivet, wait_for
from tests.scale import scaled

ROUNDS = scaled(test=1, ci=2, full=10)
ANSWERS = 60
LEASE_SECONDS = 3
MANAGEMENT_SECONDS = 15.0  # within which it says that the registry is away: connecting is given 5
AWAY = (503, {"error": "the registry is away; ask again."})


@contextmanager
def restarted(postgres: PostgresServer) -> Iterator[None]:
    postgres.stop()
    yield
    postgres.start()


@contextmanager
def cut_off(postgres: PostgresServer) -> Iterator[None]:
    """Cut every connection, once and again."""
    for _ in range(2):
        run(postgres, "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")
    yield
    run(postgres, "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")


@contextmanager
def read_only(postgres: PostgresServer) -> Iterator[None]:
    run(postgres, "alter system set default_transaction_read_only = on", "select pg_reload_conf()")
    yield
    run(
        postgres,
        "set default_transaction_read_only = off",
        "alter system reset default_transaction_read_only",
        "select pg_reload_conf()",
    )


def run(postgres: PostgresServer, *statements: str) -> None:
    with closing(psycopg.connect(postgres.url, autocommit=True, connect_timeout=5)) as connection:
        for statement in statements:
            connection.execute(statement)


FAULTS = [restarted, cut_off, read_only][: scaled(test=1, ci=3, full=3)]
CUTS = ["cut", "held"][: scaled(test=1, ci=2, full=2)]


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_F06_a_database_that_fails_and_comes_back_fails_no_prediction_and_gives_no_500(
    churn_on_postgres: Churn, postgres: PostgresServer, tmp_path: Path, fault: Callable
):
    churn, leftovers = churn_on_postgres, Leftovers(churn_on_postgres.project)
    key = promoting_key(churn)
    managed: list[tuple[int, dict]] = []
    with (
        serving(churn.project, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS)) as server,
        clients(churn, server.port, tmp_path / "ledger", count=3) as asking,
    ):
        asking.wait_for_answers(ANSWERS)
        for _ in range(ROUNDS):
            with fault(postgres):
                asking.wait_for_answers(ANSWERS)
                for _ in range(3):
                    managed.append(manage(server, key))
                if fault is not cut_off:
                    assert managed[-1] == AWAY
                done = trivet("promote", "churn@1", project=churn.project, check=False)
                assert done.returncode == (0 if fault is cut_off else 5), done.stderr
                asking.wait_for_answers(ANSWERS)
            wait_for(lambda: managed.append(manage(server, key)) or managed[-1][0] == 200)
        asking.stop()
        assert server.stop() == 0
        said = "\n".join(server.lines)
    assert {status for status, _ in managed} <= {200, 503}
    assert {line.status for line in asking.lines} == {200}
    assert_allowed(asking.lines, [])
    assert "Traceback" not in said, said
    trivet("keeper", "--once", project=churn.project)
    compare(churn, asking.lines).assert_none()
    leftovers.assert_none()


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("state", CUTS)
def test_F31_a_network_cut_between_server_and_database_fails_no_prediction_and_heals(
    churn_on_postgres: Churn, postgres: PostgresServer, tmp_path: Path, state: State
):
    churn = churn_on_postgres
    key = promoting_key(churn)
    with proxy_to(postgres.port) as proxy:
        environment = {
            "DATABASE_URL": postgres.url.replace(f":{postgres.port}/", f":{proxy.port}/"),
            "TRIVET_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        with (
            serving(churn.project, **environment) as server,
            clients(churn, server.port, tmp_path / "ledger", count=3) as asking,
        ):
            asking.wait_for_answers(ANSWERS)
            for _ in range(ROUNDS):
                proxy.set(state)
                began = time.monotonic()
                assert manage(server, key) == AWAY
                assert time.monotonic() - began < MANAGEMENT_SECONDS * slowness()
                asking.wait_for_answers(ANSWERS)
                proxy.set("open")
                wait_for(lambda: manage(server, key)[0] == 200)
            asking.stop()
            assert server.stop() == 0
    assert {line.status for line in asking.lines} == {200}
    assert_allowed(asking.lines, [])
    trivet("keeper", "--once", project=churn.project)
    compare(churn, asking.lines).assert_none()


def test_F31_a_network_cut_between_server_and_ray():
    pytest.skip("Trivet does not run on Ray yet")


@pytest.mark.slow
def test_F04_a_sqlite_file_that_is_moved_and_comes_back_fails_no_prediction_and_gets_every_record_once(
    churn: Churn, tmp_path: Path
):
    database, elsewhere = churn.project / "db.sqlite3", churn.project / "elsewhere.sqlite3"
    with (
        serving(churn.project, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS)) as server,
        clients(churn, server.port, tmp_path / "ledger", count=3) as asking,
    ):
        asking.wait_for_answers(ANSWERS)
        database.rename(elsewhere)
        asking.wait_for_answers(3 * ANSWERS)
        elsewhere.rename(database)
        asking.wait_for_answers(ANSWERS)
        asking.stop()
        assert server.stop() == 0
    assert {line.status for line in asking.lines} == {200}
    trivet("keeper", "--once", project=churn.project)
    compare(churn, asking.lines).assert_none()


def promoting_key(churn: Churn) -> str:
    """Return a key that may promote."""
    words = ("keys", "create", "ops", "--model=churn", "--verb=promote", "--json")
    return str(json.loads(trivet(*words, project=churn.project).stdout)["key"])


def manage(server: Server, key: str) -> tuple[int, dict]:
    """Ask for what changes the registry, as the stock clients do; return status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(
        "POST",
        "/v2/repository/models/churn/load",
        "{}",
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content) if content else {}
