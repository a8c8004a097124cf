"""The database of a project: SQLite, unless its `.env` names another. Read without our own code."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.postgres_server import PostgresServer, copy_files, postgres_server, programs
from tests.acceptance.servers import clean_environment, trivet
from tests.scale import scaled

BOTH = ("sqlite", "postgresql")
OF_A_ROW = BOTH[: scaled(test=1, ci=2, full=2)]  # for pytest.mark.parametrize("churn", OF_A_ROW, indirect=True)
TEMPLATE = "churn"
FILES = "data"  # of a PostgreSQL, in the folder of the template
VARIABLE = "DATABASE_URL"
SERVICE_ANSWERS = "TRIVET_TEST_POSTGRES"  # of CI


def url_of(project: Path) -> str:
    """Return what the project's `.env` names; empty for SQLite."""
    lines = (project / ".env").read_text().splitlines()
    return next((line.partition("=")[2] for line in reversed(lines) if line.startswith(f"{VARIABLE}=")), "")


def rows_of(project: Path, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a query, whose parameters are question marks; who writes now may have to be waited for."""
    if url := url_of(project):
        with closing(psycopg.connect(url, connect_timeout=5)) as connection:
            return connection.execute(query.replace("?", "%s").encode(), parameters).fetchall()
    with closing(sqlite3.connect(project / "db.sqlite3", timeout=30)) as database:
        return database.execute(query, parameters).fetchall()


def parsed(value: Any) -> Any:
    """Return a JSON column's value, which SQLite gives as text."""
    return json.loads(value) if isinstance(value, str) else value


def needed_programs() -> Path:
    """Return the folder with PostgreSQL's programs. Without them a test is skipped, or fails where it has no reason to be."""
    found = programs()
    if found is None:
        told = "no initdb: PostgreSQL is not installed"
        pytest.fail(told) if os.environ.get(SERVICE_ANSWERS) == "1" else pytest.skip(told)
    return found


def make_template(project: Path, folder: Path) -> None:
    """Leave in `folder` the files of a PostgreSQL that has what is in a project's SQLite file."""
    with postgres_server(needed_programs()) as server:
        dump, there = folder / "dump.xml", {VARIABLE: _url(server, TEMPLATE)}
        _run(server, f"create database {TEMPLATE}")
        manage(project, "dumpdata", "trivet", "--format=xml", "--output", str(dump))  # JSON would cut microseconds off
        trivet("init", "there", project=folder, **there)
        manage(folder / "there", "flush", "--no-input", **there)
        manage(folder / "there", "loaddata", str(dump), **there)
        server.stop()
        copy_files(server.files, folder / FILES)


class PostgresCopies:
    """A PostgreSQL with a template, to be copied for each test that wants one."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._names = (f"{TEMPLATE}{number}" for number in count(1))

    def take(self, project: Path) -> None:
        """Make a copy, and let `project` use it from now on instead of its SQLite file."""
        name = next(self._names)
        _run(self._server, f"create database {name} template {TEMPLATE}")
        use_database(project, _url(self._server, name))


@contextmanager
def postgres_copies(template: Path) -> Iterator[PostgresCopies]:
    """Run a PostgreSQL for as long as the block runs, from the folder that `make_template` filled."""
    with postgres_server(needed_programs(), files=template / FILES) as server:
        yield PostgresCopies(server)


def _url(server: PostgresServer, name: str) -> str:
    return server.url.rpartition("/")[0] + f"/{name}"


def _run(server: PostgresServer, statement: str) -> None:
    with closing(psycopg.connect(server.url, autocommit=True, connect_timeout=5)) as connection:
        connection.execute(statement.encode())


def use_database(project: Path, url: str) -> None:
    """Let a project use the database at `url` from now on instead of its SQLite file."""
    (project / "db.sqlite3").unlink()
    with (project / ".env").open("a") as file:
        file.write(f"\n{VARIABLE}={url}\n")


def manage(project: Path, *words: str, **environment: str) -> None:
    """Run a command of Django's in a project."""
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=project,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
