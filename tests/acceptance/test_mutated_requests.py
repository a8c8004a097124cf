"""Mutated requests over loopback to a real web worker: the oracle's verdict on each, and its memory before and after."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, copy_project, serving
from tests.robustness.score import Score
from tests.scale import scaled
from tests.unit.dataplane.mutations import Mutator, good_bodies
from tests.unit.dataplane.oracle import Asked, Columns, NotJudged, Refused, judge

SEED = int(os.environ.get("MUTATION_SEED", "75"))
COLUMNS: Columns = {"tenure": ("FP64", True), "plan": ("BYTES", True), "seats": ("INT64", False)}
OUTPUTS = ["label", "probabilities"]
INFER = "/v2/models/churn/infer"
WARM = 0.2  # of the requests, after which memory is looked at: by then every way has been taken, every buffer grown
DRIFT_MB = 20


@pytest.fixture(scope="module")
def served(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Churn]]:
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("mutated") / "project")
    with serving(project, workers=1) as server:
        yield server, Churn(project, churn_template.key, churn_template.body, churn_template.rows)


class Client:
    """One connection that is made anew where the server has closed it."""

    def __init__(self, server: Server, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self._key = key

    def ask(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        sent = {"Authorization": f"Bearer {self._key}"} | headers
        self._connection.request("POST", INFER, body, sent)
        response = self._connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        self._connection.close()


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def rows(count: int) -> dict[str, list[Any]]:
    return {
        "tenure": [50.0, None, 0.1][:count],
        "plan": ["pro", "Zürich ✓", "free"][:count],
        "seats": [3, 200, 7][:count],
    }


def canonical(asked: Asked) -> bytes:
    """Return the plainest way to ask the same."""
    count = len(asked.columns["seats"])
    inputs = [
        {"name": name, "shape": [count, 1], "datatype": COLUMNS[name][0], "data": values}
        for name, values in asked.columns.items()
    ]
    return json.dumps({"inputs": inputs, "outputs": [{"name": name} for name in asked.outputs]}).encode()


def test_H75_a_real_worker_answers_mutated_requests_as_the_oracle_says_and_its_memory_stays(served, score: Score):
    server, churn = served
    (worker,) = server.web_workers()
    count = scaled(test=500, ci=2_000, full=20_000, long=100_000)
    counts: Counter[str] = Counter()
    failed: list[str] = []
    client, began, before = Client(server, churn.key), time.monotonic(), rss_mb(worker)
    known: dict[bytes, Any] = {}
    for number, request in enumerate(islice(Mutator(SEED, good_bodies(COLUMNS, rows, OUTPUTS, "churn")), count)):
        if number == int(count * WARM):
            before = rss_mb(worker)
        status, body = client.ask(request.body, request.headers)
        try:
            asked: Asked | None = judge(request.headers, request.body, COLUMNS, OUTPUTS, "churn")
        except Refused:
            asked = None
        except NotJudged:
            counts["not judged"] += 1
            assert status < 500 or (status == 504 and b"timeout" in request.body), request
            continue
        counts["good" if asked else "bad"] += 1
        counts["5xx"] += status >= 500
        answer = json.loads(body)
        if asked is None:
            is_right = 400 <= status < 500 and set(answer) == {"error"}
        else:
            plainest = canonical(asked)
            if plainest not in known:
                known[plainest] = json.loads(client.ask(plainest, {})[1])["outputs"]
            is_right = status == 200 and answer["outputs"] == known[plainest] and answer.get("id") == asked.id
        if not is_right:
            failed.append(f"request {number} of seed {SEED}: {status} {body[:200]!r}, asked {asked}\n{request}")
    client.close()
    drift = rss_mb(worker) - before
    print(f"seed {SEED}: {count} requests in {time.monotonic() - began:.0f} s, {dict(counts)}, drift {drift:.1f} MB")
    score.count("client_5xx", counts["5xx"], of=count)
    assert not failed, f"{len(failed)} of {count}\n" + "\n".join(failed[:5])
    assert server.web_workers() == [worker], "it is the same process"
    assert drift < DRIFT_MB
