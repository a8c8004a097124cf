"""What a commit of the log's database survives: a record leaves the spool once it is committed there."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

# Of SQLite, by journal mode: the least `synchronous` with which a commit is on disk when it returns. Without a write-ahead
# log, FULL leaves out the folder that the journal was deleted from, which undoes the commit (sqlite.org/pragma.html).
LEAST_SYNCHRONOUS = {"wal": 2, "truncate": 2, "persist": 2, "delete": 3}
SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


def may_lose_commits(connection: BaseDatabaseWrapper) -> str:
    """Return the setting by which a commit may be gone after a loss of power, as `name=value`; "" for none."""
    if connection.vendor == "sqlite":
        mode, level = _asked(connection, "PRAGMA journal_mode"), int(_asked(connection, "PRAGMA synchronous"))
        if mode not in LEAST_SYNCHRONOUS:
            return f"journal_mode={mode}"
        return f"synchronous={SYNCHRONOUS[level]}" if level < LEAST_SYNCHRONOUS[mode] else ""
    if connection.vendor == "postgresql":
        for name in ("synchronous_commit", "fsync"):
            if _asked(connection, f"SHOW {name}") == "off":
                return f"{name}=off"
    return ""


def _asked(connection: BaseDatabaseWrapper, question: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0])
