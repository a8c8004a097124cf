"""F25: each migration runs forward and back beside a server that answers; none rewrites the log or locks it for long."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader
from django.db.models import NOT_PROVIDED

from tests.acceptance.conftest import Churn
from tests.acceptance.databases import OF_A_ROW, manage
from tests.acceptance.faults.invariants import assert_allowed, compare
from tests.acceptance.faults.ledger import clients
from tests.acceptance.servers import serving, trivet
from tests.scale import scaled

NAMES = sorted(path.stem for path in Path(import_module("trivet.migrations").__path__[0]).glob("0*.py"))
FIRST = NAMES[0]
LARGE = ("prediction",)  # tables that grow with every request
REWRITES = (  # SQLite copies a table to alter it; PostgreSQL reads it all where a type or NOT NULL changes
    r'new__trivet_{table}"|(?:update|delete from) "trivet_{table}"'
    r'|alter table "trivet_{table}" alter column "\w+" (?:type|set not null)'
)
ANSWERS = 30
MOVED = NAMES[1:][-scaled(test=3, ci=4, full=1000) :]  # the newest; before the first there is nothing to serve from


@pytest.mark.django_db(transaction=True)  # a schema editor of SQLite starts outside of one
@pytest.mark.parametrize("name", NAMES)
def test_F25_no_migration_rewrites_a_large_table_or_locks_it_for_long(name: str):
    loader = MigrationLoader(connection)
    migration = loader.graph.nodes["trivet", name]
    for operation in migration.operations:
        assert operation.reversible, f"{name}: {operation} cannot be undone"
        if isinstance(operation, migrations.AddField) and operation.model_name.lower() in LARGE:
            assert_adds_without_a_rewrite(name, operation)
    if name != FIRST:
        statements = "\n".join(loader.collect_sql([(migration, False)]))
        for table in LARGE:
            found = re.findall(REWRITES.format(table=table), statements, re.IGNORECASE)
            assert not found, f"{name} rewrites the log, or locks it for as long as it is large: {found}"


def assert_adds_without_a_rewrite(name: str, operation: migrations.AddField) -> None:
    """A column that is null, or has a constant default, is a change of the catalogue alone, on SQLite and PostgreSQL.

    The release before inserts without it: so it is null, or has a default that the database itself knows.
    """
    field = operation.field
    assert not callable(field.default) or field.default in (dict, list, NOT_PROVIDED), (
        f"{name}: {operation} computes each row"
    )
    knows = field.null or getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED
    assert knows, f"{name}: who runs the release before cannot insert: {operation} needs null or db_default"
    assert not field.unique, f"{name}: {operation} builds an index"


@pytest.mark.slow
@pytest.mark.parametrize("churn", OF_A_ROW, indirect=True)
def test_F25_each_migration_forward_and_back_under_load_fails_no_prediction(churn: Churn, tmp_path: Path):
    with (
        serving(churn.project) as server,
        clients(churn, server.port, tmp_path / "ledger", count=3) as asking,
    ):
        asking.wait_for_answers(ANSWERS)
        for target in [*reversed(MOVED[:-1]), *MOVED[1:]]:
            manage(churn.project, "migrate", "trivet", target)
            asking.wait_for_answers(ANSWERS)
        asking.stop()
        assert server.stop() == 0
    assert {line.status for line in asking.lines} == {200}
    assert_allowed(asking.lines, [])
    trivet("keeper", "--once", project=churn.project)
    compare(churn, asking.lines).assert_none()
