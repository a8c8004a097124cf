"""What lets a migration run beside processes that answer, ship and promote: no copy of a large table, no deadlock."""

from __future__ import annotations

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState

IN_ORDER = ("registrystate", "registeredmodel", "apikey", "event", "loghead", "prediction", "loglink")
"""The tables in the order in which those who work take their locks; a migration that takes them in another could meet one."""


class AddColumn(migrations.AddField):
    """Add a field whose default the database knows. Django copies the table for that on SQLite, which needs no copy."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Add the column, in place."""
        if schema_editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        field = model._meta.get_field(self.name)
        definition, params = schema_editor.column_sql(model, field)
        table, column = schema_editor.quote_name(model._meta.db_table), schema_editor.quote_name(field.column)
        schema_editor.execute(f"ALTER TABLE {table} ADD COLUMN {column} {definition}", params or None)


def wait_for_others(_apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Lock what the migration changes, where tables are locked one by one, before it changes the first of them."""
    if schema_editor.connection.vendor != "postgresql":
        return
    there = set(schema_editor.connection.introspection.table_names())
    tables = [name for name in (f"trivet_{table}" for table in IN_ORDER) if name in there]
    schema_editor.execute(f"LOCK TABLE {', '.join(map(schema_editor.quote_name, tables))} IN ACCESS EXCLUSIVE MODE")
