"""Projects that several tests start from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.databases import (
    FILES,
    TEMPLATE,
    PostgresCopies,
    make_template,
    needed_programs,
    postgres_copies,
    url_of,
    use_database,
)
from tests.acceptance.postgres_server import PostgresServer, postgres_server
from tests.acceptance.redis_server import RedisServer, redis_of_ones_own
from tests.acceptance.servers import Server, copy_project, serving, trivet
from tests.once import made_once


@dataclass(frozen=True)
class Churn:
    """A project with the model `churn`: two versions, 1 champion, and a key that may predict."""

    project: Path
    key: str
    body: bytes  # an OIP request that works
    rows: list[dict[str, Any]]

    @property
    def is_on_postgres(self) -> bool:
        """True where the project's database is no file of its own."""
        return bool(url_of(self.project))


@pytest.fixture(scope="session")
def churn_template(tmp_path_factory: pytest.TempPathFactory) -> Churn:
    """Return the project, which is made once, through the command line alone. It is to be copied, not used."""
    folder = made_once(tmp_path_factory, "churn", _make_churn)
    rows = json.loads((folder / "rows.json").read_text())
    body = {
        "inputs": [
            {"name": name, "shape": [1, 1], "datatype": datatype, "data": [rows[0][name]]}
            for name, datatype in (("tenure", "FP64"), ("plan", "BYTES"), ("seats", "INT64"))
        ]
    }
    key = json.loads((folder / "key.json").read_text())["key"]
    return Churn(folder / "project", key, json.dumps(body).encode(), rows)


def _make_churn(folder: Path) -> None:
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
    made = trivet("keys", "create", "tests", "--model=churn", "--verb=predict", "--json", project=project).stdout
    (folder / "key.json").write_text(made)


@pytest.fixture(scope="session")
def churn_on_disk(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the files of a PostgreSQL that has the project's rows."""
    return made_once(tmp_path_factory, "postgres", partial(make_template, churn_template.project))


@pytest.fixture(scope="session")
def churn_databases(churn_on_disk: Path) -> Iterator[PostgresCopies]:
    """A PostgreSQL that has the project's rows."""
    with postgres_copies(churn_on_disk) as copies:
        yield copies


@pytest.fixture
def churn(request: pytest.FixtureRequest, churn_template: Churn, tmp_path: Path) -> Churn:
    """A copy of the project for one test; on PostgreSQL where its parameter says so."""
    project = copy_project(churn_template.project, tmp_path / "project")
    if getattr(request, "param", "sqlite") == "postgresql":
        request.getfixturevalue("churn_databases").take(project)
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
def postgres(churn_on_disk: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, which it may stop, with the project's rows."""
    with postgres_server(needed_programs(), files=churn_on_disk / FILES, database=TEMPLATE) as server:
        yield server


@pytest.fixture
def churn_on_postgres(churn_template: Churn, postgres: PostgresServer, tmp_path: Path) -> Churn:
    """A copy of the project on that database."""
    project = copy_project(churn_template.project, tmp_path / "project")
    use_database(project, postgres.url)
    return Churn(project, churn_template.key, churn_template.body, churn_template.rows)


__all__ = ["Server"]
