"""Promise 5: promote and roll back under load without a failed request, and the log names the version that answered."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Load, Server, clean_environment, drained, serving, trivet, wait_for

MOVES = int(os.environ.get("MOVES", "60"))  # F14 asks for 200
WORKERS = 4
ANSWERS_BETWEEN = 8  # of the clients that load the server; the mover asks for itself, once it was told


class Move(NamedTuple):
    """One promotion or rollback: the version it made champion, when it was begun and when it had returned."""

    version: int
    started: float
    returned: float


MOVER = """
import http.client, json, os, sys, time
import django
django.setup()
from trivet.control.registry import actions
from trivet.serving.acknowledgement import wait_for_workers
for line in sys.stdin:
    started = time.monotonic()
    if line.strip() == "promote":
        event = actions.promote(model="churn", version=2, actor="user:mover")
    else:
        event = actions.roll_back(model="churn", actor="user:mover")
    told = wait_for_workers(event.generation)
    returned = time.monotonic()
    met = {}
    for _ in range(4):  # a connection each: whichever worker takes it
        connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=20)
        connection.request("POST", "/v2/models/churn/infer", os.environ["BODY"], {"Authorization": f"Bearer {os.environ['KEY']}"})
        met[json.loads(connection.getresponse().read())["model_version"]] = True
        connection.close()
    print(json.dumps([event.version, started, returned, told.live, list(told.behind), list(met)]), flush=True)
"""


@pytest.mark.slow
def test_f14_promotions_and_rollbacks_under_load_fail_no_request_and_hold_from_their_return(churn: Churn):
    with serving(churn.project, workers=WORKERS) as server:
        environment = clean_environment(
            TRIVET_PROJECT=str(churn.project),
            DJANGO_SETTINGS_MODULE="trivet.server.settings",
            PORT=str(server.port),
            BODY=churn.body.decode(),
            KEY=churn.key,
        )
        mover = subprocess.Popen(
            [sys.executable, "-c", MOVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert mover.stdin is not None
        assert mover.stdout is not None
        moves: list[Move] = []
        with Load(server, churn.body, churn.key, path="/v2/models/churn/infer", clients=4) as load:
            for number in range(MOVES):
                goal = load.answers.qsize() + ANSWERS_BETWEEN
                wait_for(lambda goal=goal: load.answers.qsize() >= goal)
                mover.stdin.write("promote\n" if number % 2 == 0 else "rollback\n")
                mover.stdin.flush()
                version, started, returned, live, behind, met = json.loads(mover.stdout.readline())
                assert (live, behind) == (WORKERS, [])
                assert version == (2 if number % 2 == 0 else 1)
                assert met == [str(version)]
                moves.append(Move(version, started, returned))
        mover.communicate()
        assert server.stop() == 0
    answers = drained(load.answers)
    assert not drained(load.failures)
    assert not drained(load.resets)
    assert_linearizable([(started, ended, int(answer["model_version"])) for started, ended, answer in answers], moves)
    trivet("keeper", "--once", project=churn.project)
    logged = logged_versions(churn)
    for _, _, answer in answers:
        assert logged[answer["parameters"]["prediction_id"].replace("-", "")] == int(answer["model_version"])


def assert_linearizable(answers: list[tuple[float, float, int]], moves: list[Move]) -> None:
    """A request that started after a move had returned, and ended before the next one began, has that move's version.

    Both processes read the same clock (CLOCK_MONOTONIC is the machine's).
    """
    checked = 0
    next_starts = [*(move.started for move in moves[1:]), float("inf")]
    for move, next_start in zip(moves, next_starts, strict=True):
        between = [version for started, ended, version in answers if move.returned < started and ended < next_start]
        assert set(between) <= {move.version}, f"after {move}: {between}"
        checked += len(between)
    assert checked >= len(moves)


def logged_versions(churn: Churn) -> dict[str, int]:
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        return dict(database.execute("select prediction_id, version from trivet_prediction").fetchall())


def test_a_flipped_byte_in_a_bundle_keeps_the_version_that_served(churn: Churn):
    shown = json.loads(trivet("show", "churn@2", "--json", project=churn.project).stdout)
    digest = shown["digest"]
    path = churn.project / ".trivet/bundles/sha256" / digest[:2] / digest[2:4] / digest / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with serving(churn.project) as server:
        done = trivet("promote", "churn@2", project=churn.project, check=False, TRIVET_LEASE_SECONDS="3")
        assert done.returncode == 1
        assert "behind: web" in done.stdout
        assert ask(server, churn)["model_version"] == "1"
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        wait_for(lambda: ask(server, churn)["model_version"] == "2")


def ask(server: Server, churn: Churn) -> dict:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/v2/models/churn/infer", churn.body, {"Authorization": f"Bearer {churn.key}"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer
