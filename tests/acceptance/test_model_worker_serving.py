"""A version that may not run inline, served: by model workers that `trivet serve` starts when they are first needed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.by_wish import HANG, RAISE, WRONG_SHAPE
from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Load, Server, drained, serving, trivet, wait_for
from tests.acceptance.workshop import install_by_wish, register

REGISTER = """
register("elsewhere", elsewhere("churn", 1))
# A model whose worker has died five times within a minute rests, so no two tests kill the worker of one.
for name in ("wish", "crashing", "hanging", "killed", "away"):
    register(name, by_wish_bundle(name=name))
register("slow", by_wish_bundle(seconds=0.3, name="slow"))
"""
DEADLINE = "4.0"
SLOW_SECONDS = 0.3  # of one run of `slow`
OUTAGE_SECONDS = 3.0  # 2, and 1 for what else this machine does meanwhile


@pytest.fixture(scope="module")
def project(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> tuple[Churn, dict[str, str]]:
    """The project with three models that run in model workers, and the environment that finds their runtime."""
    folder = tmp_path_factory.mktemp("elsewhere")
    place = folder / "project"
    shutil.copytree(churn_template.project, place)
    environment = {
        "PYTHONPATH": install_by_wish(folder / "installed"),
        "TRIVET_DEADLINE_SECONDS": DEADLINE,
        "TRIVET_QUEUE_LENGTH": "8",
        "TRIVET_CACHE": "off",  # so that questions are put from the loop, as they mostly are once a cache rests
    }
    register(place, REGISTER, **environment)
    made = trivet("keys", "create", "all", "--model=*", "--verb=predict", "--json", project=place).stdout
    return Churn(place, json.loads(made)["key"], churn_template.body, churn_template.rows), environment


@pytest.fixture(scope="module")
def served(project: tuple[Churn, dict[str, str]]) -> Iterator[Server]:
    churn, environment = project
    with serving(churn.project, workers=2, **environment) as server:
        yield server


def post(server: Server, key: str, model: str, body: bytes | dict) -> tuple[int, Any, dict[str, str]]:
    """Return status, JSON and headers of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    data = body if isinstance(body, bytes) else json.dumps(body)
    connection.request("POST", f"/v2/models/{model}/infer", data, {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    return response.status, content, {name.lower(): value for name, value in response.getheaders()}


def wish(value: float, **parameters: Any) -> dict:
    """Return a request for the model that does as it is told."""
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [value]}
    return {"inputs": [tensor], "outputs": [{"name": "doubled"}], "parameters": parameters}


def model_workers(server: Server) -> list[int]:
    """Return the process ids of the model workers that run now, of every model."""
    found = []
    for owner in server.children():
        with suppress(OSError):
            children = Path(f"/proc/{owner}/task/{owner}/children").read_text().split()
            if b"worker.owner" in Path(f"/proc/{owner}/cmdline").read_bytes():
                found += [int(pid) for pid in children]
    return found


def process_of(model: str, server: Server, key: str) -> int:
    """Return the process id of the model worker that answers for `model`, which does as it is told."""
    request = {**wish(1.0, cache=False), "outputs": [{"name": "run"}]}
    status, answer, _ = post(server, key, model, request)
    assert status == 200, answer
    return int(answer["outputs"][0]["data"][2])


def test_where_a_model_runs_changes_no_answer(project, served: Server):
    churn, _ = project
    _, inline, _ = post(served, churn.key, "churn", churn.body)
    status, elsewhere, _ = post(served, churn.key, "elsewhere", churn.body)
    assert status == 200
    assert elsewhere["outputs"] == inline["outputs"]


def told(server: Server, key: str, path: str) -> Any:
    """Return what a path that only reads answers: metrics as samples by name and labels, others as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status == 200, content
    if path != "/metrics":
        return json.loads(content)
    families = text_string_to_metric_families(content.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_an_operator_sees_the_model_workers_and_who_waits_for_them(project, served: Server):
    churn, _ = project
    post(served, churn.key, "slow", wish(1.0))

    def samples() -> Any:
        return told(served, churn.key, "/metrics")

    before = samples()
    assert before["trivet_model_workers", "slow", "1"] == 1
    assert before["trivet_model_worker_rss_bytes", "slow"] > 1_000_000
    assert before["trivet_breaker_open", "slow", "1"] == 0
    threads = [threading.Thread(target=lambda: post(served, churn.key, "slow", wish(1.0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: (now := samples())["trivet_queue_depth", "slow", "1"] > 1 and now["trivet_in_flight",] > 1)
    for thread in threads:
        thread.join(20)
    wait_for(lambda: (now := samples())["trivet_queue_depth", "slow", "1"] == now["trivet_in_flight",] == 0)
    crashed = ("trivet_model_worker_restarts_total", "crashing", "crash")
    wait_for(lambda: post(served, churn.key, "crashing", wish(1.0))[0] == 200)
    had = samples().get(crashed, 0)
    os.kill(process_of("crashing", served, churn.key), signal.SIGKILL)
    wait_for(lambda: samples().get(crashed, 0) == had + 1)
    wait_for(lambda: samples()["trivet_model_workers", "crashing", "1"] == 1)


def test_a_run_that_several_requests_share_is_counted_once_and_each_of_its_rows(project, served: Server):
    churn, _ = project

    def runs() -> int:
        status, answer, _ = post(served, churn.key, "slow", {**wish(1.0), "outputs": [{"name": "run"}]})
        assert status == 200, answer
        return int(answer["outputs"][0]["data"][0])

    def counted() -> tuple[int, int, Any]:
        [version] = told(served, churn.key, "/v2/models/slow/stats")["model_stats"]
        return version["inference_count"], version["execution_count"], version

    first, (rows, calls, _) = runs(), counted()
    answered: list[int] = []

    def ask() -> None:
        answered.append(post(served, churn.key, "slow", wish(1.0))[0])

    for _ in range(5):
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    good = answered.count(200)
    last, (rows_now, calls_now, version) = runs(), counted()
    assert rows_now - rows == good + 1
    assert calls_now - calls == last - first
    assert calls_now - calls < good, "none of the runs was shared"
    assert sum(b["batch_size"] * b["compute_infer"]["count"] for b in version["batch_stats"]) == rows_now
    assert version["inference_stats"]["queue"]["ns"] > 0
    assert version["memory_usage"][0]["byte_size"] > 1_000_000
    samples = told(served, churn.key, "/metrics")
    assert samples["trivet_batch_rows_count", "slow"] == samples["trivet_executions_total", "slow", "1"] == calls_now
    assert samples["trivet_batch_rows_sum", "slow"] == rows_now


def test_a_configuration_tells_how_many_model_workers_run_and_how_they_batch(project, served: Server):
    churn, _ = project
    elsewhere = told(served, churn.key, "/v2/models/slow/config")
    assert [group["count"] for group in elsewhere["instance_group"]] == [1]
    assert elsewhere["dynamic_batching"] == {"max_queue_delay_microseconds": 2000}
    assert "dynamic_batching" not in told(served, churn.key, "/v2/models/churn/config")


def test_a_server_without_such_models_starts_no_process_for_them(churn: Churn):
    with serving(churn.project, workers=1) as server:
        assert not [pid for pid in server.children() if b"worker.owner" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_failures_of_the_model_are_a_503_that_says_when_to_come_back(project, served: Server):
    churn, _ = project
    for value in (RAISE, WRONG_SHAPE):
        status, answer, headers = post(served, churn.key, "wish", wish(value))
        assert (status, headers["trivet-error"], headers["retry-after"]) == (503, "MODEL_FAILED", "1")
        assert "ValueError" not in answer["error"]
    assert post(served, churn.key, "wish", wish(2.0))[1]["outputs"][0]["data"] == [4.0]


def test_34_a_hang_is_a_504_at_the_deadline_and_over_within_two_seconds(project, served: Server):
    churn, _ = project
    started = time.monotonic()
    status, _, headers = post(served, churn.key, "hanging", wish(HANG, timeout=400_000))
    assert (status, headers["trivet-error"]) == (504, "DEADLINE")
    assert 0.3 < time.monotonic() - started < 0.6 + 0.4  # with room for a busy machine
    ended = time.monotonic()
    wait_for(lambda: post(served, churn.key, "hanging", wish(1.0))[0] == 200)
    assert time.monotonic() - ended < 2.5


def test_more_than_may_wait_are_refused_at_once_and_other_models_answer_meanwhile(project, served: Server):
    churn, _ = project
    codes: list[str] = []
    refused_in: list[float] = []

    def ask() -> None:
        started = time.monotonic()
        status, _, headers = post(served, churn.key, "slow", wish(1.0))
        codes.append(headers.get("trivet-error", str(status)))
        if codes[-1] == "QUEUE_FULL":
            assert headers["retry-after"] == "1"
            refused_in.append(time.monotonic() - started)

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    others: list[float] = []
    for _ in range(20):
        started = time.monotonic()
        assert post(served, churn.key, "churn", churn.body)[0] == 200
        others.append(time.monotonic() - started)
    for thread in threads:
        thread.join(20)
    assert "QUEUE_FULL" in codes
    assert "200" in codes
    assert not set(codes) - {"200", "QUEUE_FULL", "DEADLINE"}
    assert statistics.median(refused_in) < SLOW_SECONDS
    assert statistics.median(others) < SLOW_SECONDS / 3


def test_kill_9_of_a_model_worker_under_load_fails_no_request(project, served: Server):
    churn, _ = project
    body = json.dumps(wish(3.0, cache=False)).encode()
    with Load(served, body, churn.key, path="/v2/models/killed/infer", clients=3) as load:
        wait_for(lambda: load.answers.qsize() > 50)
        for _ in range(2):
            os.kill(process_of("killed", served, churn.key), signal.SIGKILL)
            seen = load.answers.qsize()
            wait_for(lambda seen=seen: load.answers.qsize() > seen + 50, 10)
    answers, failures = drained(load.answers), drained(load.failures)
    assert {answer["outputs"][0]["data"][0] for _, _, answer in answers} == {6.0}
    assert not [failure for failure in failures if not failure.startswith("504")]  # a busy machine
    assert max(ended - began for began, ended, _ in answers) < OUTAGE_SECONDS


def test_03_a_model_that_is_away_says_so_and_the_server_stays_ready(project, served: Server):
    churn, _ = project
    ready = "/v2/models/away/ready"

    def get(path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", path, headers={"Authorization": f"Bearer {churn.key}"})
        status = connection.getresponse().status
        connection.close()
        return status

    wait_for(lambda: get(ready) == 200)
    worker = process_of("away", served, churn.key)
    owner = next(p for p in served.children() if b"worker.owner" in Path(f"/proc/{p}/cmdline").read_bytes())
    os.kill(owner, signal.SIGSTOP)
    try:
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: get(ready) == 503)
        assert post(served, churn.key, "away", wish(1.0))[0] == 503
        assert [get(ready) for _ in range(8)] == [503] * 8
        assert get("/v2/health/ready") == 200
    finally:
        os.kill(owner, signal.SIGCONT)
    wait_for(lambda: get(ready) == 200)


def test_nothing_is_left_when_the_server_is_killed(project, tmp_path: Path):
    churn, environment = project
    copy = tmp_path / "project"
    shutil.copytree(churn.project, copy, ignore=shutil.ignore_patterns("run"))  # the sockets of the server that runs
    server = Server(copy, workers=1, **environment)
    try:
        server.wait_ready()
        workers = model_workers(server)
        assert workers
        os.kill(server.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 30)
    finally:
        server.stop()
