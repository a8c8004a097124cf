"""Each kind of file that may be pushed, from file to HTTP answer, in one project: the answer is what its own library says.

The torch network is pushed from an environment of its own, with Python 3.11 and torch for processors alone. It is made under
`var/` where TRIVET_TEST_TORCH=1 asks for it (200 MB to fetch), and used wherever it was made before.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.acceptance.doors import DOORS, Case
from tests.acceptance.servers import Server, clean_environment, serving, trivet

REPOSITORY = Path(__file__).parents[2]
TORCH = "2.13.0"
INSTALL_SECONDS = 400  # 80 on two busy cores with a local index
PUSH_SECONDS = 120
DATATYPES = {"f": "FP64", "i": "INT64"}


pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class World:
    """A served project, and a key for all its models."""

    server: Server
    key: str
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("doors")
    trivet("init", "project", project=folder)
    project = folder / "project"
    made = trivet("keys", "create", "all", "--model=*", "--verb=predict", "--json", project=project).stdout
    with serving(project, workers=1) as server:
        yield World(server, json.loads(made)["key"], folder)


def push(world: World, name: str, case: Case) -> dict[str, Any]:
    """Return what `trivet push` said; the server's own zygote opens the file."""
    arguments = (str(case.path), f"--name={name}", *case.options, "--json")
    return json.loads(trivet("push", *arguments, project=world.server.project).stdout)


def ask(world: World, model: str, inputs: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return the outputs of one request by name."""
    connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=60)
    headers = {"Authorization": f"Bearer {world.key}"}
    connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": inputs}), headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 200, answer
    return {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in answer["outputs"]}


def inputs_of(rows: pd.DataFrame | np.ndarray) -> list[dict[str, Any]]:
    """Return rows as a client writes them: a tensor for each column, or one matrix; what is missing is null."""
    if isinstance(rows, np.ndarray):
        return [{"name": "X", "datatype": "FP32", "shape": list(rows.shape), "data": rows.ravel().tolist()}]
    return [
        {
            "name": name,
            "datatype": DATATYPES.get(column.dtype.kind, "BYTES"),
            "shape": [len(column), 1],
            "data": [None if pd.isna(value) else value for value in column.tolist()],
        }
        for name, column in rows.items()
    ]


@pytest.mark.parametrize("door", DOORS)
def test_a_file_of_each_kind_answers_over_http_what_its_own_library_says(door: str, world: World):
    folder = world.folder / door
    folder.mkdir()
    case = DOORS[door](folder)
    said = push(world, door, case)
    assert (said["state"], said["alias"]) == (case.state, "champion")
    answer = ask(world, door, inputs_of(case.rows))
    assert set(answer) == set(case.answers)
    for name, expected in case.answers.items():
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(answer[name], expected, rtol=case.tolerance, atol=case.tolerance)
        else:
            assert answer[name].tolist() == expected.tolist()


@pytest.fixture(scope="module")
def torch_python() -> Path:
    """Return the Python of an environment that holds torch and this checkout; skip where there is none and none is asked for."""
    home = REPOSITORY / "var" / f"torch-{TORCH}-3.11"
    python, complete = home / "bin" / "python", home / "complete"
    if not complete.exists():
        if os.environ.get("TRIVET_TEST_TORCH") != "1":
            pytest.skip(f"no environment with torch {TORCH}: TRIVET_TEST_TORCH=1 makes one, and fetches 200 MB")
        _make(home, python)
        complete.touch()
    return python


def _make(home: Path, python: Path) -> None:
    """Make the environment; fail, as it was asked for, where that cannot be done. Without GPU libraries: those are gigabytes."""
    options = ["--quiet", "--no-compile", "--disable-pip-version-check", "--retries=1", "--timeout=20"]
    packages = [f"torch=={TORCH}+cpu", "onnxscript", "keras", "pytest-django", "pytest-timeout", "-e"]
    found = _run([str(REPOSITORY / "scripts" / "find-python"), "3.11"], INSTALL_SECONDS)
    _run([found.strip(), "-m", "venv", "--clear", str(home)], INSTALL_SECONDS)
    _run(
        [str(python), "-I", "-m", "pip", "install", *options, *packages, f"{REPOSITORY}[compile,server]"],
        INSTALL_SECONDS,
    )


def _run(command: list[str], seconds: int, folder: Path | None = None) -> str:
    """Return what a command printed; fail with what it complained of."""
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)} → {done.returncode}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.timeout(INSTALL_SECONDS + PUSH_SECONDS)
def test_a_torch_network_pushed_from_memory_answers_over_http_what_torch_says(torch_python: Path, world: World):
    script = Path(__file__).with_name("torch_pusher.py")
    said = json.loads(_run([str(torch_python), str(script)], PUSH_SECONDS, world.server.project).splitlines()[-1])
    assert said["torch"].startswith(TORCH)
    assert (said["alias"], said["runtime"], said["source"]) == ("champion", "onnx", "torch")
    answer = ask(world, "torch", inputs_of(np.array(said["rows"], np.float32)))
    np.testing.assert_allclose(answer["output"], said["answers"], rtol=1e-5, atol=1e-6)


def test_torch_modules_and_keras_models_are_exported_as_they_answer(torch_python: Path):
    """The unit tests of exporting skip where torch is not installed; here they run where it is."""
    tests = REPOSITORY / "tests" / "unit" / "client" / "test_exporting.py"
    command = [str(torch_python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    assert "skipped" not in _run(command, PUSH_SECONDS, REPOSITORY)
