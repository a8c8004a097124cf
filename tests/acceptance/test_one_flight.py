"""F20, F21 over four web workers around one Redis: the same question, asked 200 times at once, is one run of the model."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.connections import connection_to
from tests.acceptance.logged import log_ids
from tests.acceptance.redis_server import RedisServer
from tests.acceptance.servers import Server, clean_environment, serving, trivet, wait_for
from tests.acceptance.workshop import install_by_wish
from trivet.dataplane.cache.shared import FLIGHT_PREFIX

pytestmark = pytest.mark.service

WORKERS = 4
CLIENTS = 200
RUN_SECONDS = 0.8  # long enough to be killed in, and shorter than a claim
ANSWER_SECONDS = 10.0
REGISTER = f"""
from trivet.control.registry import actions, pushing
from tests.acceptance.workshop import by_wish_bundle

version = pushing.register_and_probe(by_wish_bundle(seconds={RUN_SECONDS}), name="slow", actor="test").version
actions.promote(model="slow", version=version.number, actor="test", reason="a test")
"""


@pytest.fixture
def slow(churn: Churn, tmp_path: Path, redis_server: RedisServer) -> Iterator[tuple[Server, Churn]]:
    """Four web workers that remember, around one Redis, and a model whose runs take their time in a model worker."""
    here = Path(__file__).parents[2]
    folders = [install_by_wish(tmp_path / "installed"), str(here), str(here / "src")]
    environment = {
        "PYTHONPATH": os.pathsep.join(folders),
        "REDIS_URL": redis_server.url,
        "TRIVET_SHARED_CACHE": "redis",
        "TRIVET_CACHE": "on",
        "TRIVET_QUEUE_LENGTH": str(CLIENTS * WORKERS),  # shared between the workers, and one may get all clients
    }
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", REGISTER],
        cwd=churn.project,
        env=clean_environment(**environment),
        check=True,
        timeout=120,
    )
    made = trivet("keys", "create", "all", "--model=*", "--verb=predict", "--json", project=churn.project).stdout
    with serving(churn.project, workers=WORKERS, **environment) as server:
        yield server, Churn(churn.project, json.loads(made)["key"], churn.body, churn.rows)


def ask(connection: http.client.HTTPConnection, key: str, value: float, **parameters: Any) -> dict[str, Any]:
    """Return the answer for `value`: how often the model ran by then is in it."""
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [value]}
    body = {"inputs": [tensor], "outputs": [{"name": "run"}], "parameters": parameters}
    connection.request("POST", "/v2/models/slow/infer", json.dumps(body), {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    content = json.loads(response.read())
    assert response.status == 200, content
    return content


def ask_anew(server: Server, key: str, value: float, **parameters: Any) -> dict[str, Any]:
    """Return the answer for `value` of whichever worker takes the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        return ask(connection, key, value, **parameters)
    finally:
        connection.close()


def runs_so_far(server: Server, key: str) -> int:
    """Run the model once more, and return how often it has run."""
    return ask_anew(server, key, 0.0, cache=False)["outputs"][0]["data"][0]


def fresh(answers: list[dict[str, Any]]) -> int:
    """Return how many of `answers` were not remembered."""
    return sum(not answer["parameters"]["cached"] for answer in answers)


def assert_all_are_logged_once(churn: Churn, answers: list[dict[str, Any]]) -> None:
    told = {answer["parameters"]["prediction_id"] for answer in answers}
    assert len(told) == len(answers)
    trivet("keeper", "--once", project=churn.project)
    logged = log_ids(churn)
    assert told <= set(logged)
    assert len(logged) == len(set(logged))


def test_F20_200_identical_requests_on_a_cold_key_are_one_run_over_four_workers(slow: tuple[Server, Churn]):
    server, churn = slow
    before = runs_so_far(server, churn.key)
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda _: ask_anew(server, churn.key, 7.0), range(CLIENTS)))
    assert fresh(answers) == 1
    assert runs_so_far(server, churn.key) == before + 2  # one for them all, and the one that tells
    assert_all_are_logged_once(churn, answers)


def test_F21_when_the_worker_that_leads_is_killed_one_other_runs_and_all_are_answered_in_time(
    slow: tuple[Server, Churn], redis_server: RedisServer
):
    server, churn = slow
    before = runs_so_far(server, churn.key)
    leader = wait_for(server.web_workers)[0]
    first = connection_to(server.port, leader)
    with ThreadPoolExecutor(CLIENTS) as pool, redis_server.client() as client:
        lost = pool.submit(ask, first, churn.key, 7.0)
        wait_for(lambda: client.keys(FLIGHT_PREFIX + b"*"), ANSWER_SECONDS, every=0.002)
        started = time.monotonic()
        os.kill(leader, signal.SIGKILL)
        followers = [pool.submit(ask_anew, server, churn.key, 7.0) for _ in range(CLIENTS - 1)]
        with pytest.raises((OSError, http.client.HTTPException)):
            lost.result(ANSWER_SECONDS)
        answers = [follower.result(ANSWER_SECONDS) for follower in followers]
    assert time.monotonic() - started < ANSWER_SECONDS
    assert fresh(answers) == 1
    again = ask_anew(server, churn.key, 7.0)  # whose connection died asks again, and nothing is run for it
    assert again["parameters"]["cached"]
    assert runs_so_far(server, churn.key) <= before + 3  # the killed one's, its successor's, and the one that tells
    assert_all_are_logged_once(churn, [*answers, again])
