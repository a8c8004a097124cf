"""A model that does not compile, from file to HTTP answer: it runs unchanged in a model worker that confined itself."""

from __future__ import annotations

import functools
import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, copy_project, serving, trivet

ASKED = 20  # rows


@dataclass(frozen=True)
class Pushed:
    """The project with two models that do not compile, what was said when they were pushed, and a key for them."""

    project: Path
    said: dict[str, dict[str, Any]]
    models: dict[str, Any]
    rows: pd.DataFrame
    key: str


@pytest.fixture(scope="module")
def pushed(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    folder = tmp_path_factory.mktemp("native")
    project = copy_project(churn_template.project, folder / "project")
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(
        {
            "tenure": np.where(rng.random(200) < 0.1, np.nan, rng.gamma(2, 200, 200).round(1)),
            "plan": rng.choice(["free", "pro", "team"], 200),
            "seats": rng.integers(1, 50, 200),
        }
    )
    numbers = make_pipeline(SimpleImputer(), SplineTransformer())  # nobody converts splines
    prepare = make_column_transformer(
        (numbers, ["tenure", "seats"]), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["plan"])
    )
    labels = np.where(rows.tenure.fillna(300) > 350, "no", "yes")
    models = {
        "neighbours": KNeighborsClassifier().fit(rows[["seats"]].to_numpy(float), labels),
        "splines": make_pipeline(prepare, Ridge()).fit(rows, rows.seats * 1.5 + rng.normal(size=200)),
    }
    rows[["seats"]].to_csv(folder / "neighbours.csv", index=False)
    rows.to_csv(folder / "splines.csv", index=False)
    said = {}
    for name, model in models.items():
        joblib.dump(model, folder / f"{name}.joblib")
        arguments = (str(folder / f"{name}.joblib"), f"--name={name}", f"--sample={folder / name}.csv", "--json")
        said[name] = json.loads(trivet("push", *arguments, project=project).stdout)
    made = trivet("keys", "create", "all", "--model=*", "--verb=predict", "--json", project=project).stdout
    return Pushed(project, said, models, rows, json.loads(made)["key"])


@pytest.fixture(scope="module")
def served(pushed: Pushed) -> Iterator[Server]:
    with serving(pushed.project, workers=1) as server:
        yield server


def ask(server: Server, key: str, model: str, *inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs of one request by name."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps({"inputs": inputs})
    connection.request("POST", f"/v2/models/{model}/infer", body, {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 200, answer
    return {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in answer["outputs"]}


def column(name: str, datatype: str, values: pd.Series) -> dict[str, Any]:
    data = [None if pd.isna(value) else value for value in values.tolist()]
    return {"name": name, "datatype": datatype, "shape": [len(data), 1], "data": data}


def test_a_push_says_that_and_why_a_model_runs_unchanged(pushed: Pushed):
    neighbours, splines = pushed.said["neighbours"], pushed.said["splines"]
    assert {said["state"] for said in pushed.said.values()} == {"native"}
    assert {said["runtime"] for said in pushed.said.values()} == {"skops"}
    assert "Scan" in neighbours["reason"]
    assert "SplineTransformer cannot be compiled" in splines["reason"]
    assert neighbours["parity"]["max"] == splines["parity"]["max"] == 0.0
    assert neighbours["sandbox"][:2] in ("L2", "L3")
    assert neighbours["probe_sandbox_level"] >= 2


def test_a_classifier_that_runs_unchanged_answers_over_http_what_the_estimator_says(pushed: Pushed, served: Server):
    matrix = pushed.rows[["seats"]].head(ASKED).to_numpy(float)
    given = {"name": "X", "datatype": "FP64", "shape": list(matrix.shape), "data": matrix.ravel().tolist()}
    answer = ask(served, pushed.key, "neighbours", given)
    model = pushed.models["neighbours"]
    assert answer["probabilities"].tolist() == model.predict_proba(matrix).tolist()
    assert answer["label"].tolist() == model.predict(matrix).tolist()


def test_a_pipeline_on_a_table_answers_over_http_what_the_estimator_says(pushed: Pushed, served: Server):
    rows = pushed.rows.head(ASKED)
    assert rows.tenure.isna().any()
    answer = ask(
        served,
        pushed.key,
        "splines",
        column("tenure", "FP64", rows.tenure),
        column("plan", "BYTES", rows.plan),
        column("seats", "INT64", rows.seats),
    )
    assert answer["prediction"].tolist() == pushed.models["splines"].predict(rows).tolist()


def test_the_web_worker_that_answers_has_loaded_none_of_it(pushed: Pushed, served: Server):
    [web] = served.web_workers()
    mapped = Path(f"/proc/{web}/maps").read_text()
    assert "onnxruntime" in mapped
    assert not [library for library in ("sklearn", "pandas", "scipy") if f"/{library}/" in mapped]
    workers = [pid for pid in _processes_below(served.process.pid) if _is_model_worker(pid) and _has_loaded_it(pid)]
    assert 2 <= len(workers) <= 4, "each model has a model worker of its own, and for each runtime one may stand by"


def test_a_type_on_no_list_is_refused_with_the_remedy_and_accepted_by_name(pushed: Pushed, tmp_path: Path):
    matrix = pushed.rows[["seats"]].to_numpy(float)
    clip = FunctionTransformer(functools.partial(np.clip, a_min=0, a_max=30))
    joblib.dump(make_pipeline(clip, KNeighborsClassifier()).fit(matrix, pushed.rows.plan), tmp_path / "clipped.joblib")
    arguments = (str(tmp_path / "clipped.joblib"), "--name=clipped", "--json")
    refused = trivet("push", *arguments, project=pushed.project, check=False)
    said = json.loads(refused.stdout)
    assert (refused.returncode, said["state"]) == (3, "refused")
    assert "--accept-types functools.partial" in said["reason"]
    named = re.findall(r"--accept-types (\S+?)(?=;| |$)", said["reason"])
    accepted = json.loads(trivet("push", *arguments, "--accept-types", *named, project=pushed.project).stdout)
    assert (accepted["state"], accepted["accepted_types"]) == ("native", named)


def _is_model_worker(pid: int) -> bool:
    """Tell a model worker from the process that waits with everything imported for the next push."""
    return b"worker.instance" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _has_loaded_it(pid: int) -> bool:
    try:
        return "/sklearn/" in Path(f"/proc/{pid}/maps").read_text()
    except PermissionError:  # it is not dumpable, and whoever runs this test is not root
        return True


def _processes_below(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in _processes_below(child)]
