"""A model of an older scikit-learn, from its file to HTTP answers: opened, proved and run by that version, unchanged.

The environment is made by the command that operators use, once, under `var/`. Where an index is in reach, that it cannot be
made is a failure.
"""

from __future__ import annotations

import http.client
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, clean_environment, copy_project, serving, trivet, wait_for

REPOSITORY = Path(__file__).parents[2]
OLD = "1.5.2"  # with wheels for every Python that runs us
REQUIREMENTS = f"mlflow==2.16.0\nscikit-learn=={OLD}\nnumpy==2.1.3\nscipy==1.14.1\njoblib==1.4.2\n"
TRAIN = """
import json, sys
import joblib, numpy, sklearn
from sklearn.ensemble import GradientBoostingClassifier
rows = numpy.random.default_rng(11).normal(size=(150, 3)).round(3)
model = GradientBoostingClassifier(n_estimators=20, random_state=0).fit(rows, numpy.where(rows.sum(axis=1) > 0, "yes", "no"))
joblib.dump(model, sys.argv[1])
asked = rows[:20]
told = {"rows": asked.tolist(), "probabilities": model.predict_proba(asked).tolist(), "label": model.predict(asked).tolist()}
print(json.dumps({**told, "version": sklearn.__version__}))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sklearn.__version__.startswith("1.5."), reason="it is no other version than the one that runs"),
]


@dataclass(frozen=True)
class Old:
    """A project with the environment, where its requirements are, a model's file, and what the older library answers."""

    project: Path
    requirements: Path
    file: Path
    told: dict[str, Any]
    key: str


@pytest.fixture(scope="module")
def old(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Old:
    folder = tmp_path_factory.mktemp("old")
    project = copy_project(churn_template.project, folder / "project")
    requirements = folder / "requirements.txt"
    requirements.write_text(REQUIREMENTS)
    python = _made(project, requirements) / "bin" / "python"
    file = folder / "old.joblib"
    trained = subprocess.run(
        [str(python), "-I", "-c", TRAIN, str(file)], env=clean_environment(), capture_output=True, text=True, check=True
    )
    made = trivet("keys", "create", "old", "--model=*", "--verb=predict", "--json", project=project).stdout
    return Old(project, requirements, file, json.loads(trained.stdout), json.loads(made)["key"])


def _made(project: Path, requirements: Path) -> Path:
    """Return the environment that `trivet environments make` makes; the folder is kept, for it takes half a minute."""
    kept = REPOSITORY / "var" / "environments"
    kept.mkdir(parents=True, exist_ok=True)
    home = project / ".trivet" / "environments"
    home.symlink_to(kept)
    done = trivet("environments", "make", str(requirements), "--json", project=project, check=False)
    if done.returncode and not _is_index_in_reach():
        pytest.skip(f"there is no package index to install scikit-learn {OLD} from")
    assert done.returncode == 0, done.stderr
    [told] = json.loads(done.stdout)
    return kept / told["key"]


def _is_index_in_reach() -> bool:
    """True where pip finds the smallest of the libraries, for whatever Python and with the settings that making has."""
    asked = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "joblib==1.4.2"]
    with TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", *asked, "--dest", place]
        return subprocess.run(command, env=clean_environment(), capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def said(old: Old, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the push of the second version said, which needs the environment; the first was compiled, and has the traffic."""
    first = tmp_path_factory.mktemp("first") / "first.joblib"
    rows = np.array(old.told["rows"])
    joblib.dump(LogisticRegression().fit(rows, old.told["label"]), first)
    trivet("push", str(first), "--name=old", project=old.project)
    arguments = ("push", str(old.file), "--name=old", f"--requirements={old.requirements}", "--json")
    return json.loads(trivet(*arguments, project=old.project).stdout)


@dataclass(frozen=True)
class Served:
    """A server that had to do without the environment while the version was promoted, and has it now."""

    server: Server
    meanwhile: dict[str, Any]  # what was answered


@pytest.fixture(scope="module")
def served(old: Old, said: dict[str, Any]) -> Iterator[Served]:
    link = old.project / ".trivet" / "environments"
    kept = link.resolve()
    link.unlink()
    with serving(old.project, workers=1) as server:
        trivet("promote", "old@2", project=old.project, check=False)
        wait_for(lambda: any("event=version_not_loaded model=old version=2" in line for line in server.lines), 30)
        meanwhile = ask(old, server)
        link.symlink_to(kept)
        wait_for(lambda: ask(old, server)["model_version"] == "2", 30)
        yield Served(server, meanwhile)


def ask(old: Old, server: Server) -> dict[str, Any]:
    """Return the answer, with its outputs by name, to the rows that the older library was asked."""
    rows = old.told["rows"]
    given = {"name": "X", "datatype": "FP64", "shape": [len(rows), 3], "data": rows}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps({"inputs": [given]})
    connection.request("POST", "/v2/models/old/infer", body, {"Authorization": f"Bearer {old.key}"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 200, answer
    return {**answer, **{output["name"]: output["data"] for output in answer["outputs"]}}


def test_it_is_opened_and_proved_by_the_version_that_trained_it(said: dict[str, Any], old: Old):
    assert old.told["version"] == OLD
    assert (said["state"], said["runtime"], said["parity"]["max"]) == ("native", "skops", 0.0)
    assert said["sandbox"][:2] in ("L2", "L3")
    assert said["probe_sandbox_level"] >= 2
    assert said["environment"]["libraries"][-2:] == [f"scikit-learn=={OLD}", "scipy==1.14.1"]
    assert not any(one.startswith("mlflow") for one in said["environment"]["libraries"])


def test_it_answers_over_http_to_the_last_bit_what_that_version_says(old: Old, served: Served):
    answer = ask(old, served.server)
    assert answer["label"] == old.told["label"]
    assert answer["probabilities"] == list(itertools.chain(*old.told["probabilities"]))


def test_its_model_worker_runs_in_that_environment_and_has_of_ours_the_code_alone(old: Old, served: Served):
    [worker] = wait_for(lambda: len(found := _model_workers(served.server.process.pid)) == 1 and found)
    loaded = {line.split()[-1] for line in Path(f"/proc/{worker}/maps").read_text().splitlines() if ".so" in line}
    installed = {path.partition("/site-packages/")[0] for path in loaded if "/site-packages/" in path}
    [place] = installed
    assert Path(place).is_relative_to((old.project / ".trivet" / "environments").resolve())


def test_without_the_environment_the_version_before_serves_on_and_the_log_says_what_to_do(old: Old, served: Served):
    assert served.meanwhile["model_version"] == "1"
    [told, *_] = [line for line in served.server.lines if "event=version_not_loaded model=old version=2" in line]
    assert "is missing on this machine: make it with `trivet environments make`" in told


def _model_workers(server: int) -> list[int]:
    """Return those of a server; more than one while one is being followed, or has forked and does not run its program yet."""
    return [pid for pid in _below(server) if b"worker.instance" in _command(pid)]


def _below(pid: int) -> list[int]:
    """Return the processes that `pid` started, and those that these did; one that ends meanwhile has none."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_below(int(child))]
    return found


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
