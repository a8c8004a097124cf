"""Versions that passed their probe, and then take memory or time for some inputs: what they harm, and for how long.

A36 to A38 of the hostile set, through `push` and the front door, each graph in a model worker.
"""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import Churn
from tests.acceptance.hostile_graphs import HARMLESS, LOOP, MAKERS, PRODUCT, endless, sized
from tests.acceptance.servers import Load, Server, clean_environment, drained, serving, trivet, wait_for

MEMORY_MB = 512  # of a model worker
NUMBERS = MEMORY_MB * 1024**2 // 8  # that fill it, as doubles
PATIENCE_US = 300_000  # what a caller gives a request that will not end
BACK_SECONDS = 2.0
BUSY_SECONDS = 3.0  # and for what else this machine does meanwhile
NAMES = ("looping", "multiplying", "above")
PUSH = """
from pathlib import Path
from trivet.control.registry.pushing import push_file
from trivet.model.compile.disposable import several_files

with several_files():
    for name in {names!r}:
        pushed = push_file(Path({folder!r}, f"{{name}}.onnx"), name=name, actor="test", sample=Path({folder!r}, "rows.csv"))
        assert pushed.probe.passed and pushed.alias == "champion"
        assert pushed.compiled.bundle.manifest.compile["may_run_inline"] is False
"""


@pytest.fixture(scope="module")
def served(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server with the hostile models and `churn`, which runs inline; and a key for all of them."""
    folder = tmp_path_factory.mktemp("hostile")
    project = folder / "project"
    shutil.copytree(churn_template.project, project)
    graphs = {"sized": sized()} | {name: endless(name) for name in NAMES}
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    (folder / "rows.csv").write_text("x,which\n" + "".join(f"{n}.5,{n % len(MAKERS)}\n" for n in range(1, 40)))
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", PUSH.format(names=list(graphs), folder=str(folder))],
        cwd=project,
        env=clean_environment(),
        check=True,
        timeout=120,
    )
    made = trivet("keys", "create", "all", "--model=*", "--verb=predict", "--json", project=project).stdout
    settings = {"TRIVET_WORKER_MEMORY_MB": str(MEMORY_MB), "TRIVET_CACHE": "off"}
    with serving(project, workers=1, **settings) as server:
        yield server, json.loads(made)["key"]


def asked(served: tuple[Server, str], path: str, body: bytes | None = None) -> tuple[int, str, bytes]:
    """Return status, code and body of one request."""
    server, key = served
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET" if body is None else "POST", path, body, {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers.get("trivet-error", ""), content


def ask(served: tuple[Server, str], model: str, x: float, which: int, **parameters: Any) -> tuple[int, str]:
    """Ask `model` for one row; return status and code, after a look at the answer where there is one."""
    columns = (("x", "FP64", x), ("which", "INT64", which))
    inputs = [{"name": name, "shape": [1, 1], "datatype": kind, "data": [value]} for name, kind, value in columns]
    body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    status, code, content = asked(served, f"/v2/models/{model}/infer", body)
    if status == 200:
        assert json.loads(content)["outputs"][0]["data"] == [x]
    return status, code


def back_after(served: tuple[Server, str], model: str, which: int) -> float:
    """Return the seconds until `model` answers a harmless row."""
    started = time.monotonic()
    wait_for(lambda: ask(served, model, 2.0, which)[0] == 200)
    return time.monotonic() - started


def breaker_of(served: tuple[Server, str], model: str) -> float:
    families = text_string_to_metric_families(asked(served, "/metrics")[2].decode())
    samples = {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}
    return samples["trivet_breaker_open", model, "1"]


@pytest.mark.parametrize("maker", MAKERS)
def test_A36_what_fits_is_answered_and_what_does_not_is_a_503_for_that_request_alone(served, churn_template, maker):
    which = MAKERS.index(maker)
    with Load(served[0], churn_template.body, served[1], path="/v2/models/churn/infer", clients=2) as others:
        for share in (0.01, 0.5, 1.0, 2.0, 1000.0):
            found = ask(served, "sized", share * NUMBERS, which)
            honest = (
                [(200, "")]
                if share < 0.5
                else [(200, ""), (503, "MODEL_FAILED")]
                if share < 1
                else [(503, "MODEL_FAILED")]
            )
            assert found in honest, share
            assert ask(served, "sized", 10.0, which)[0] == 200, (
                "the next request is answered, by this worker or another"
            )
        wait_for(lambda: others.answers.qsize() > 20)
    assert not drained(others.failures)
    assert not drained(others.resets)


@pytest.mark.parametrize(("model", "which"), [("looping", LOOP), ("multiplying", PRODUCT)])
def test_A37_what_does_not_end_is_a_504_at_the_deadline_and_its_model_is_back_in_seconds(
    served, churn_template, model, which
):
    with Load(served[0], churn_template.body, served[1], path="/v2/models/churn/infer", clients=2) as others:
        assert ask(served, model, 2.0, which) == (200, "")
        started = time.monotonic()
        assert ask(served, model, 2 * HARMLESS, which, timeout=PATIENCE_US) == (504, "DEADLINE")
        assert time.monotonic() - started < PATIENCE_US / 1e6 + BACK_SECONDS / 4
        assert back_after(served, model, which) < BACK_SECONDS + BUSY_SECONDS
    assert not drained(others.failures)
    assert not drained(others.resets)


def test_A38_one_that_fails_above_a_bound_fails_those_requests_and_rests_when_it_fails_again(served, churn_template):
    assert ask(served, "above", HARMLESS, LOOP) == (200, "")
    with Load(served[0], churn_template.body, served[1], path="/v2/models/churn/infer", clients=2) as others:
        found = set()
        for _ in range(3):
            found.add(ask(served, "above", HARMLESS + 1, LOOP, timeout=PATIENCE_US))
        assert found <= {(504, "DEADLINE"), (503, "MODEL_FAILED")}
        wait_for(lambda: breaker_of(served, "above") == 1)
        wait_for(lambda: ask(served, "above", HARMLESS, LOOP) == (200, ""))
        wait_for(lambda: breaker_of(served, "above") == 0)
    assert not drained(others.failures)
    assert not drained(others.resets)
