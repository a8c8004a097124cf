"""Projects that several tests start from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.postgres_server import PostgresServer, postgres_server, programs
from tests.acceptance.redis_server import RedisServer, redis_of_ones_own
from tests.acceptance.servers import Server, copy_project, serving, trivet


@dataclass(frozen=True)
class Churn:
    """A project with the model `churn`: two versions, 1 champion, and a key that may predict."""

    project: Path
    key: str
    body: bytes  # an OIP request that works
    rows: list[dict[str, Any]]


@pytest.fixture(scope="session")
def churn_template(tmp_path_factory: pytest.TempPathFactory) -> Churn:
    """Make the project once, through the command line alone."""
    folder = tmp_path_factory.mktemp("churn")
    _train(folder)
    trivet("init", "project", project=folder)
    project = folder / "project"
    for number in (1, 2):
        trivet(
            "push",
            str(folder / f"churn{number}.joblib"),
            "--name=churn",
            f"--sample={folder / 'sample.csv'}",
            "--labels=churned",
            project=project,
        )
    made = json.loads(
        trivet("keys", "create", "tests", "--model=churn", "--verb=predict", "--json", project=project).stdout
    )
    rows = json.loads((folder / "rows.json").read_text())
    body = {
        "inputs": [
            {"name": name, "shape": [1, 1], "datatype": datatype, "data": [rows[0][name]]}
            for name, datatype in (("tenure", "FP64"), ("plan", "BYTES"), ("seats", "INT64"))
        ]
    }
    return Churn(project, made["key"], json.dumps(body).encode(), rows)


@pytest.fixture
def churn(churn_template: Churn, tmp_path: Path) -> Churn:
    """A copy of the project for one test."""
    project = copy_project(churn_template.project, tmp_path / "project")
    return Churn(project, churn_template.key, churn_template.body, churn_template.rows)


@pytest.fixture
def churn_server(churn: Churn):
    """The project, served by two workers."""
    with serving(churn.project) as server:
        yield server


@pytest.fixture(scope="session")
def demo_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration, made by `trivet demo --check`: trained, pushed, promoted, asked once."""
    from tests.acceptance.servers import free_port

    folder = tmp_path_factory.mktemp("demo")
    port = free_port()
    done = trivet("demo", "--check", "--dir", "demo", "--bind", f"127.0.0.1:{port}", project=folder)
    (folder / "demo" / "check.log").write_text(done.stdout)
    return folder / "demo"


@pytest.fixture(scope="session")
def demo_server(demo_project: Path):
    """The demonstration, served."""
    with serving(demo_project) as server:
        demo = json.loads((demo_project / "demo.json").read_text())
        (demo_project / "demo.json").write_text(json.dumps(demo | {"url": server.url}))
        yield server


def _train(folder: Path) -> None:
    import joblib
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    random = np.random.default_rng(7)
    rows = 400
    table = pd.DataFrame(
        {
            "tenure": np.where(random.random(rows) < 0.1, np.nan, random.gamma(2, 200, rows).round(1)),
            "plan": random.choice(["free", "pro", "team"], rows),
            "seats": random.integers(1, 50, rows),
        }
    )
    chance = 1 / (1 + np.exp(table.tenure.fillna(300) / 200 - 2 + (table.plan == "free") * -1.5))
    table["churned"] = np.where(random.random(rows) < chance, "yes", "no")
    features = table.drop(columns="churned")
    for number, model in ((1, LogisticRegression()), (2, RandomForestClassifier(20, max_depth=5, random_state=0))):
        prepare = ColumnTransformer(
            [
                ("numbers", SimpleImputer(), ["tenure", "seats"]),
                ("plan", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["plan"]),
            ]
        )
        joblib.dump(make_pipeline(prepare, model).fit(features, table.churned), folder / f"churn{number}.joblib")
    table.to_csv(folder / "sample.csv", index=False)
    whole = features.dropna().head(20)
    (folder / "rows.json").write_text(whole.to_json(orient="records"))


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with redis_of_ones_own(tmp_path) as server:
        yield server


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own."""
    binaries = programs()
    if binaries is None:
        pytest.skip("no initdb: PostgreSQL is not installed")
    with postgres_server(binaries) as server:
        yield server


@pytest.fixture
def churn_on_postgres(churn_template: Churn, postgres: PostgresServer, tmp_path: Path) -> Churn:
    """A project of its own on that database, with version 1 as champion."""
    trivet("init", "project", project=tmp_path, DATABASE_URL=postgres.url)
    project, files = tmp_path / "project", churn_template.project.parent
    pushing = ("push", str(files / "churn1.joblib"), "--name=churn", f"--sample={files / 'sample.csv'}")
    trivet(*pushing, "--labels=churned", project=project, DATABASE_URL=postgres.url)
    keys = ("keys", "create", "tests", "--model=churn", "--verb=predict", "--json")
    made = json.loads(trivet(*keys, project=project, DATABASE_URL=postgres.url).stdout)
    return Churn(project, made["key"], churn_template.body, churn_template.rows)


__all__ = ["Server"]
