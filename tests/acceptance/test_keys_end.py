"""D15, D16, D18: a key ends in every worker within a second, whoever it is used by meanwhile; its last use is told rarely."""

from __future__ import annotations

import http.client
import itertools
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.connections import connection_to
from tests.acceptance.keymaster import keymaster
from tests.acceptance.servers import Load, Server, copy_project, drained, serving, trivet, wait_for
from tests.scale import scaled

pytestmark = pytest.mark.slow
WORKERS = 3
PROMISED_SECONDS = 1.0  # after it was revoked, or its owner disabled
UNHEARD_SECONDS = 2.5  # where no signal tells: a beat of some worker, and then the promise
PATH = "/v2/models/churn/infer"


@pytest.fixture(scope="module")
def served(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("keys") / "project")
    with serving(project, workers=WORKERS) as server:
        yield server


@pytest.fixture(scope="module")
def do(served: Server) -> Iterator[Callable[..., dict]]:
    with keymaster(served.project) as one:
        yield one


def status(connection: http.client.HTTPConnection, body: bytes, key: str) -> int:
    connection.request("POST", PATH, body, {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    response.read()
    return response.status


def assert_it_ends(server: Server, body: bytes, key: str, end: Callable[[], dict], within: float) -> float:
    """Use the key from many connections, end it, and return how long after that the last one was let in, in seconds."""
    mine = [connection_to(server.port, worker) for worker in server.web_workers()]
    with Load(server, body, key, path=PATH, clients=2 * WORKERS) as load:
        wait_for(lambda: load.answers.qsize() > 20 * WORKERS)
        returned = end()["returned"]
        wait_for(lambda: time.monotonic() > returned + within)
        after = [status(connection, body, key) for connection in mine]
        refused = load.failures.qsize()
        wait_for(lambda: load.failures.qsize() > refused + 2 * WORKERS)
    for connection in mine:
        connection.close()
    assert after == [401] * WORKERS, "each worker, asked by itself"
    last = max(started for started, _ended, _answer in drained(load.answers))
    assert all(failure.startswith("401") for failure in drained(load.failures))
    assert last - returned < within
    return last - returned


def test_D16_a_revoked_key_is_refused_by_every_worker_while_it_is_used(served, churn_template, do):
    late = []
    for _ in range(scaled(test=2, ci=6, full=30)):
        made = do("issue")
        assert made["behind"] == []
        late.append(
            assert_it_ends(
                served, churn_template.body, made["key"], lambda key=made["id"]: do("revoke", key), PROMISED_SECONDS
            )
        )
    print(f"last success after revoke returned: {max(late):.3f} s at most, over {len(late)}")
    assert max(late) < 0.1, "it returned when every live worker had followed"


@pytest.mark.parametrize("is_chunked", [False, True])  # the direct road, and that of ASGI
def test_D16_a_key_revoked_while_the_body_is_on_its_way_is_refused(served, churn_template, do, is_chunked):
    made, body = do("issue"), churn_template.body
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("Authorization", f"Bearer {made['key']}")
        connection.putheader(*(("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(len(body)))))
        connection.endheaders()
        half, rest = body[: len(body) // 2], body[len(body) // 2 :]
        if is_chunked:
            half, rest = b"%x\r\n%b\r\n" % (len(half), half), b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)
        connection.send(half)
        assert do("revoke", made["id"])["behind"] == []
        connection.send(rest)
        assert connection.getresponse().status == 401


@pytest.mark.parametrize(
    ("deed", "within"),
    [("disable", PROMISED_SECONDS), ("delete", PROMISED_SECONDS), ("disable_unheard", UNHEARD_SECONDS)],
)
def test_D15_a_key_ends_with_its_owner_in_every_worker(served, churn_template, do, deed, within):
    owner = f"ben-{deed}"
    made = do("issue", owner)
    late = assert_it_ends(served, churn_template.body, made["key"], lambda: do(deed, owner), within)
    print(f"last success after {deed}: {late:.3f} s")


def test_D18_a_rotated_key_has_two_secrets_and_never_three(served, churn_template, do):
    made = do("issue")
    second = do("rotate", made["id"])
    (worker, *_others) = served.web_workers()
    with closing(connection_to(served.port, worker)) as mine:
        assert [status(mine, churn_template.body, one["key"]) for one in (made, second)] == [200, 200]
        third = do("rotate", made["id"], "at once")
        assert [status(mine, churn_template.body, one["key"]) for one in (made, second, third)] == [401, 401, 200]
        do("revoke", made["id"])
        assert status(mine, churn_template.body, third["key"]) == 401


def test_D18_the_last_use_is_written_once_a_minute_however_many_workers_are_asked(served, churn_template, do):
    made = do("issue")
    with closing(sqlite3.connect(served.project / "db.sqlite3", timeout=60, isolation_level=None)) as database:
        database.execute("CREATE TABLE seen (id TEXT, at TEXT)")
        database.execute(
            "CREATE TRIGGER see AFTER UPDATE ON trivet_apikey BEGIN INSERT INTO seen VALUES (NEW.id, NEW.last_used_at); END"
        )

        def beats() -> set[str]:
            return {row[0] for row in database.execute("SELECT max(seen_at) FROM trivet_worker GROUP BY id")}

        def written() -> int:
            return database.execute("SELECT count(*) FROM seen WHERE id = ?", [made["id"]]).fetchone()[0]

        try:
            with Load(served, churn_template.body, made["key"], path=PATH, clients=2 * WORKERS) as load:
                wait_for(written)
                before, turns = beats(), itertools.count()
                while next(turns) < 3:
                    wait_for(lambda before=before: not before & beats())  # each worker has beaten once more
                    before = beats()
                assert written() == 1
            assert not drained(load.failures)
            told = database.execute("SELECT last_used_at FROM trivet_apikey WHERE id = ?", [made["id"]]).fetchone()
        finally:
            database.execute("DROP TRIGGER see")
            database.execute("DROP TABLE seen")
    assert told[0] is not None


def test_D15_each_way_not_to_be_let_in_has_its_status(served, churn_template, do):
    project, body = served.project, churn_template.body
    made = {
        "other model": ("another", "predict"),
        "other verb": ("churn", "view"),
    }
    keys = {
        name: json.loads(
            trivet("keys", "create", "k", f"--model={model}", f"--verb={verb}", "--json", project=project).stdout
        )["key"]
        for name, (model, verb) in made.items()
    }
    (worker, *_others) = served.web_workers()
    with closing(connection_to(served.port, worker)) as mine:
        assert {name: status(mine, body, key) for name, key in keys.items()} == {"other model": 404, "other verb": 403}
        expiring = do("issue", "", "5")
        assert (expiring["behind"], status(mine, body, expiring["key"])) == ([], 200)
        wait_for(lambda: status(mine, body, expiring["key"]) == 401, seconds=10)
