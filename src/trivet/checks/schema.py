"""Schemas: whether a database has the tables of this release, before a check asks them anything."""

from __future__ import annotations

import pkgutil
from collections.abc import Collection

from django.db import connections, router
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

from trivet import migrations


def asked_database(model: type[Model], databases: Collection[str] | None) -> str | None:
    """Return the alias by which `model` is read, where a check may ask it: it is among `databases`, and is migrated.

    `migrate` checks first, forwards and backwards, so a table may not be there yet, or not have each of its columns.
    """
    database = router.db_for_read(model)
    return database if database in (databases or ()) and _is_migrated(database) else None


def _is_migrated(database: str) -> bool:
    own = {("trivet", found.name) for found in pkgutil.iter_modules(migrations.__path__) if found.name[0].isdigit()}
    return own <= set(MigrationRecorder(connections[database]).applied_migrations())
