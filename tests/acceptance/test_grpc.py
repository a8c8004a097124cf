"""`trivet grpc` and `trivet serve --grpc`, asked by an unmodified tritonclient."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, clean_environment, free_port, serving, taken_port, trivet, wait_for

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def ask_with_tritonclient(address: str, key: str, body: bytes) -> dict[str, Any]:
    """Return what a stock client in a process of its own is told."""
    command = [sys.executable, "-m", "tests.acceptance.triton_grpc", address, key, body.decode()]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ask_by_http(server: Server, churn: Churn) -> dict[str, Any]:
    """Return the same request's answer by REST."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/v2/models/churn/infer", churn.body, {"Authorization": f"Bearer {churn.key}"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_59_a_stock_client_gets_by_grpc_what_rest_answers_bit_for_bit(churn: Churn):
    port = free_port()
    with serving(churn.project, workers=1, grpc=f"127.0.0.1:{port}") as server:
        told = ask_with_tritonclient(f"127.0.0.1:{port}", churn.key, churn.body)
        rest = ask_by_http(server, churn)
    expected = {
        output["name"]: [v if isinstance(v, str) else float(v).hex() for v in output["data"]]
        for output in rest["outputs"]
    }
    assert (told["live"], told["ready"], told["model_ready"]) == (True, True, True)
    assert told["server"]["name"] == "trivet"
    assert told["model"]["versions"] == ["1", "2"]
    assert told["config"]["backend"] == "trivet"
    assert [one["version"] for one in told["statistics"]] == ["1", "2"]
    assert told["infer"] == {"id": "a1", "version": "1", "outputs": expected}
    assert told["compressed"]["outputs"] == expected
    assert told["one_output"]["outputs"] == {"probabilities": expected["probabilities"]}
    assert [answer["outputs"] for answer in told["async"]] == [expected] * 5
    first, second, third = told["stream"]
    assert first == {"id": "s0", "version": "1", "outputs": expected}
    assert third == {"id": "s2", "version": "1", "outputs": expected}
    assert "nobody" in second
    assert told["failures"] == {
        "no key": "StatusCode.UNAUTHENTICATED",
        "no model": "StatusCode.NOT_FOUND",
        "no version": "StatusCode.NOT_FOUND",
        "too late": "StatusCode.DEADLINE_EXCEEDED",
        "an input missing": "StatusCode.INVALID_ARGUMENT",
    }


def test_a_grpc_worker_follows_the_registry_drains_on_sigterm_and_logs_all_it_answered(churn: Churn):
    process = subprocess.Popen(
        [sys.executable, "-m", "trivet", "grpc", "--bind", "127.0.0.1:0"],
        cwd=churn.project,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("ready on ").strip()
        assert ask_with_tritonclient(address, churn.key, churn.body)["infer"]["version"] == "1"
        done = trivet("promote", "churn@2", "-m", "better", project=churn.project)
        assert "live in 1 of 1 workers" in done.stdout + done.stderr
        assert ask_with_tritonclient(address, churn.key, churn.body)["infer"]["version"] == "2"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        process.stdout.close()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    trivet("keeper", "--once", project=churn.project)
    assert _logged(churn.project) == 2 * 10  # once, compressed, one output, five at a time, two on the stream


def test_a_grpc_worker_ends_with_its_supervisor_and_comes_back_when_it_dies(churn: Churn):
    port = free_port()
    with serving(churn.project, workers=1, grpc=f"127.0.0.1:{port}") as server:
        [worker] = _grpc_workers(server)
        os.kill(worker, signal.SIGKILL)
        [another] = wait_for(lambda: [pid for pid in _grpc_workers(server) if pid != worker])
        os.kill(server.process.pid, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{another}").exists())


def test_an_address_in_use_is_said_at_once(churn: Churn):
    with taken_port() as port:
        for verb in (("grpc", "--bind"), ("serve", "--bind", f"127.0.0.1:{free_port()}", "--grpc")):
            done = trivet(*verb, f"127.0.0.1:{port}", project=churn.project, check=False)
            assert done.returncode == 5
            assert "cannot listen" in done.stderr


def _grpc_workers(server: Server) -> list[int]:
    found = []
    for pid in server.children():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"grpc" in command:
            found.append(pid)
    return found


def _logged(project: Path) -> int:
    done = trivet("list", "--json", project=project)
    [model] = [model for model in json.loads(done.stdout) if model["name"] == "churn"]
    return int(model["requests_last_hour"])
