"""An unmodified kserve client, with its defaults: KServe V1, the Open Inference Protocol by REST, and by gRPC.

The client pins old versions of what the tests use, so it has an environment of its own, made once under `var/`.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, clean_environment, free_port, serving

REPOSITORY = Path(__file__).parents[2]
RELEASE = "0.21.0"
INSTALL_SECONDS = 70  # with a local index 30 to 50 on two busy cores, nothing where it was made before
ASK_SECONDS = 60

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kserve_python() -> Path:
    """Return the Python of an environment that holds kserve; skip where it cannot be installed."""
    home = REPOSITORY / "var" / f"kserve-{RELEASE}-{sys.version_info.major}.{sys.version_info.minor}"
    python, complete = home / "bin" / "python", home / "complete"
    if not complete.exists():
        venv.create(home, with_pip=True, clear=True)
        _install(python)
        complete.touch()
    return python


def _install(python: Path) -> None:
    options = ["--quiet", "--no-compile", "--disable-pip-version-check", "--retries=1", "--timeout=10"]
    command = [str(python), "-I", "-m", "pip", "install", *options, f"kserve=={RELEASE}"]
    try:
        done = subprocess.run(
            command, env=clean_environment(), capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"kserve {RELEASE} was not installed within {INSTALL_SECONDS} s")
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        pytest.skip(f"kserve {RELEASE} cannot be installed here, as no package index answers or has it: {why}")


def test_a_stock_kserve_client_gets_the_same_answer_by_each_of_its_ways(kserve_python: Path, churn: Churn):
    address = f"127.0.0.1:{free_port()}"
    with serving(churn.project, workers=1, grpc=address) as server:
        told = _ask_with_kserve(kserve_python, server, address, churn)
        expected = _ask_by_hand(server, churn)
    outputs = {
        output["name"]: [v if isinstance(v, str) else float(v).hex() for v in output["data"]]
        for output in expected["outputs"]
    }
    assert told["rest_v1"] == {"ready": True, "infer": {"predictions": outputs["label"]}}
    for way in ("rest_v2", "grpc"):  # lists and arrays
        assert told[way] == {"live": True, "server": True, "ready": True, "infer": [outputs, outputs]}, way


def _ask_with_kserve(python: Path, server: Server, grpc: str, churn: Churn) -> dict[str, Any]:
    """Return what the client in its own environment is told."""
    script = Path(__file__).with_name("kserve_client.py")
    row = {spec["name"]: spec["data"][0] for spec in json.loads(churn.body)["inputs"]}
    command = [str(python), "-I", str(script), server.url, grpc, churn.key, churn.body.decode(), json.dumps(row)]
    done = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, timeout=ASK_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _ask_by_hand(server: Server, churn: Churn) -> dict[str, Any]:
    """Return the same request's answer by plain REST."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/v2/models/churn/infer", churn.body, {"Authorization": f"Bearer {churn.key}"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer
