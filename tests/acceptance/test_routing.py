"""One caller, one version, in four workers and after a restart; a shadow that delays nobody; a chain that answers."""

from __future__ import annotations

import http.client
import json
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Load, Server, drained, serving, trivet, wait_for

WORKERS = 4
KEYS = [f"customer-{i}" for i in range(24)]
SPELLS = 3  # with a shadow, and without one
INFER = "/v2/models/churn/infer"


def ask(server: Server, churn: Churn, **parameters: object) -> dict:
    """Send one request on a connection of its own, so that any worker may take it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        body = json.dumps({**json.loads(churn.body), "parameters": parameters})
        connection.request("POST", INFER, body, {"Authorization": f"Bearer {churn.key}"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        return answer
    finally:
        connection.close()


def versions_of(server: Server, churn: Churn) -> dict[str, str]:
    """Return the version of each key, after asking for each a few times."""
    versions: dict[str, str] = {}
    for key in KEYS:
        answers = [ask(server, churn, route_key=key) for _ in range(2 * WORKERS)]
        assert {answer["parameters"]["route"] for answer in answers} == {"sticky"}
        (versions[key],) = {answer["model_version"] for answer in answers}
    return versions


@pytest.mark.slow
def test_36_a_key_stays_with_its_version_over_four_workers_a_ramp_and_a_restart(churn: Churn):
    trivet("route", "churn", "1=70", "2=30", project=churn.project)
    with serving(churn.project, workers=WORKERS) as server:
        before = versions_of(server, churn)
        assert set(before.values()) == {"1", "2"}
        trivet("route", "churn", "1=40", "2=60", project=churn.project)
        ramped = versions_of(server, churn)
        assert {key for key in KEYS if before[key] == "2"} <= {key for key in KEYS if ramped[key] == "2"}
        assert server.stop() == 0
    with serving(churn.project, workers=WORKERS) as server:
        assert versions_of(server, churn) == ramped


@pytest.mark.slow
def test_a_shadow_under_load_delays_no_answer_and_is_in_the_log_apart(churn: Churn):
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    with serving(churn.project) as server:
        for _ in range(SPELLS):  # in turn: what else the machine does meets both
            alone.append(latencies(server, churn))
            trivet("route", "churn", "--shadow", "2", project=churn.project)
            beside.append(latencies(server, churn))
            trivet("route", "churn", "--no-shadow", project=churn.project)
    trivet("keeper", "--once", project=churn.project)
    kinds = dict(counted(churn))
    answers = sum(map(len, beside))
    assert kinds["predict"] >= sum(map(len, alone)) + answers
    assert 0 < kinds["shadow"] <= kinds["predict"] - len(alone[0])  # what was not dropped
    assert min(map(statistics.median, beside)) < 2.5 * min(map(statistics.median, alone))


@pytest.mark.slow
def test_where_the_champion_cannot_be_loaded_the_chain_answers_and_says_so(churn: Churn):
    trivet("promote", "churn@2", project=churn.project)
    trivet("route", "churn", "--fallback", "1", project=churn.project)
    with damaged(churn, 2), serving(churn.project, workers=1) as server:
        answer = ask(server, churn)
    assert answer["model_version"] == "1"
    assert answer["parameters"] | {"prediction_id": ""} == {
        "prediction_id": "",
        "route": "fallback",
        "cached": False,
        "fallback_from": "2",
    }


@contextmanager
def damaged(churn: Churn, version: int) -> Iterator[None]:
    """Flip a bit of a version's bundle for as long as the block runs."""
    digest = json.loads(trivet("show", f"churn@{version}", "--json", project=churn.project).stdout)["digest"]
    path = churn.project / ".trivet/bundles/sha256" / digest[:2] / digest[2:4] / digest / "model.onnx"
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    try:
        yield
    finally:
        path.write_bytes(whole)


def latencies(server: Server, churn: Churn, seconds: float = 1.0) -> list[float]:
    """Return how long each request of a busy spell took."""
    with Load(server, churn.body, churn.key, path=INFER) as load:
        until = time.monotonic() + seconds
        wait_for(lambda: time.monotonic() > until)
    assert not drained(load.failures)
    assert not drained(load.resets)
    return [ended - started for started, ended, _ in drained(load.answers)]


def counted(churn: Churn) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        return database.execute("select kind, count(*) from trivet_prediction group by kind").fetchall()
