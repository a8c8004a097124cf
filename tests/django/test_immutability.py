"""What must not be edited cannot be: not by SQL, on any database the tests run on."""

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from tests.django.worlds import ready, registered
from trivet.control.registry.history import audit_history
from trivet.control.registry.models import Event, ModelVersion, RegisteredModel

pytestmark = pytest.mark.django_db


def run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "column", ["number = 9", "digest = 'x'", "runtime = 'x'", "signature = '{}'", "manifest = '{}'"]
)
def test_what_identifies_a_version_cannot_be_updated(column):
    registered()
    with pytest.raises(DatabaseError, match="a version is immutable"):
        run(f"UPDATE trivet_modelversion SET {column}")


def test_a_version_cannot_move_to_another_model():
    registered()
    other = RegisteredModel.objects.create(name="late")
    with pytest.raises(DatabaseError, match="a version is immutable"):
        run(f"UPDATE trivet_modelversion SET model_id = {other.pk}")


def test_status_and_note_of_a_version_can_be_saved():
    version = registered()
    version.note = "better with wind"
    version.save()
    assert ModelVersion.objects.get().note == "better with wind"


def test_an_event_cannot_be_updated():
    ready()
    with pytest.raises(DatabaseError, match="an event is never edited"):
        run("UPDATE trivet_event SET actor = 'nobody'")
    with pytest.raises(DatabaseError, match="an event is never edited"), transaction.atomic():
        Event.objects.first().save()


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (RegisteredModel, {"name": "Churn"}),
        (RegisteredModel, {"name": "churn\n"}),
        (RegisteredModel, {"name": "stats"}),
    ],
)
def test_the_database_knows_the_grammar_of_names(table, row):
    with pytest.raises(DatabaseError), transaction.atomic():
        table.objects.create(**row)


@pytest.mark.django_db(transaction=True)
def test_the_migrations_can_be_undone_and_done_again():
    registered()
    call_command("migrate", "trivet", "zero", verbosity=0)
    try:
        tables = connection.introspection.table_names()
        assert not [table for table in tables if table.startswith("trivet_")]
    finally:
        call_command("migrate", "trivet", verbosity=0)
    registered()
    with pytest.raises(DatabaseError, match="a version is immutable"):
        run("UPDATE trivet_modelversion SET number = 9")


def test_the_models_have_no_change_without_a_migration():
    call_command("makemigrations", "trivet", check_changes=True, dry_run=True, verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_events_from_before_the_chain_are_chained_by_the_migration_which_can_be_undone():
    ready(2)
    before = list(Event.objects.order_by("generation").values_list("sha256", flat=True))
    call_command("migrate", "trivet", "0006", verbosity=0)
    try:
        with pytest.raises(DatabaseError, match="an event is never edited"):
            run("UPDATE trivet_event SET actor = 'nobody'")
    finally:
        call_command("migrate", "trivet", verbosity=0)
    with pytest.raises(DatabaseError, match="an event is never edited"):
        run("UPDATE trivet_event SET actor = 'nobody'")
    assert list(Event.objects.order_by("generation").values_list("sha256", flat=True)) == before
    assert len(set(before)) == len(before) == 4
    assert audit_history().broken is None
    registered("graph 3")
    assert audit_history().broken is None
