"""Triggers that keep what must not be edited from being edited, whoever asks: an ORM, a shell, another program.

What identifies a version and the whole of an Event refuse an UPDATE. Deleting stays possible, so that retention and a
test's flush work. On SQLite a migration that alters one of these tables copies it, which drops its triggers: such a
migration ends with `install` again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from django.apps.registry import Apps
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class Guard(NamedTuple):
    """A table and those of its columns that keep their first value; none means all of them."""

    table: str
    columns: tuple[str, ...]
    message: str

    @property
    def trigger(self) -> str:
        """The name of its trigger."""
        return f"{self.table}_immutable"


GUARDS = (
    Guard(
        "trivet_modelversion",
        ("model_id", "number", "digest", "runtime", "signature", "manifest"),
        "a version is immutable: register a new one",
    ),
    Guard("trivet_event", (), "an event is never edited"),
)
POSTGRES_FUNCTION = "trivet_refuse_update"


def install(_apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make the triggers; on a database we have no words for, the actions alone keep the rule."""
    _run(INSTALL, schema_editor)


def remove(_apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop the triggers."""
    _run(REMOVE, schema_editor)


def _sqlite_install(guards: tuple[Guard, ...]) -> list[str]:
    statements = []
    for guard in guards:
        changed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in guard.columns) or "1"
        statements += [
            f"DROP TRIGGER IF EXISTS {guard.trigger}",
            f"CREATE TRIGGER {guard.trigger} BEFORE UPDATE ON {guard.table} FOR EACH ROW WHEN {changed} "
            f"BEGIN SELECT RAISE(ABORT, '{guard.message}'); END",
        ]
    return statements


def _sqlite_remove(guards: tuple[Guard, ...]) -> list[str]:
    return [f"DROP TRIGGER IF EXISTS {guard.trigger}" for guard in guards]


def _postgres_install(guards: tuple[Guard, ...]) -> list[str]:
    statements = [
        f"CREATE OR REPLACE FUNCTION {POSTGRES_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'restrict_violation'; END $$"
    ]
    for guard in guards:
        changed = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in guard.columns) or "TRUE"
        statements += [
            f"DROP TRIGGER IF EXISTS {guard.trigger} ON {guard.table}",
            f"CREATE TRIGGER {guard.trigger} BEFORE UPDATE ON {guard.table} FOR EACH ROW WHEN ({changed}) "
            f"EXECUTE FUNCTION {POSTGRES_FUNCTION}('{guard.message}')",
        ]
    return statements


def _postgres_remove(guards: tuple[Guard, ...]) -> list[str]:
    drops = [f"DROP TRIGGER IF EXISTS {guard.trigger} ON {guard.table}" for guard in guards]
    return [*drops, f"DROP FUNCTION IF EXISTS {POSTGRES_FUNCTION}()"]


def _mysql_install(guards: tuple[Guard, ...]) -> list[str]:
    statements = []
    for guard in guards:
        same = " AND ".join(f"OLD.{column} <=> NEW.{column}" for column in guard.columns) or "FALSE"
        refuse = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{guard.message}'"
        statements += [
            f"DROP TRIGGER IF EXISTS {guard.trigger}",
            f"CREATE TRIGGER {guard.trigger} BEFORE UPDATE ON {guard.table} FOR EACH ROW "
            f"BEGIN IF NOT ({same}) THEN {refuse}; END IF; END",
        ]
    return statements


Statements = Callable[[tuple[Guard, ...]], list[str]]
INSTALL: dict[str, Statements] = {
    "sqlite": _sqlite_install,
    "postgresql": _postgres_install,
    "mysql": _mysql_install,  # MariaDB too
}
REMOVE: dict[str, Statements] = {
    "sqlite": _sqlite_remove,
    "postgresql": _postgres_remove,
    "mysql": _sqlite_remove,
}


def _run(statements: dict[str, Statements], schema_editor: BaseDatabaseSchemaEditor) -> None:
    if write := statements.get(schema_editor.connection.vendor):
        for statement in write(GUARDS):
            schema_editor.execute(statement, params=None)
