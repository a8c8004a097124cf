"""F03: is what the database committed there after a loss of power, where answers have to be?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core import checks as django_checks
from django.db import connection

from trivet.checks import check_log_durability

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def connected_anew() -> Iterator[None]:
    """What a test sets holds for one connection."""
    yield
    connection.close()


def causes() -> list[str]:
    return [str(found.msg).split(" the database")[0].split(" with ")[1] for found in check_log_durability(["default"])]


def run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="of SQLite")
@pytest.mark.parametrize(
    ("mode", "level", "told"),
    [
        ("WAL", "NORMAL", ["synchronous=NORMAL"]),
        ("WAL", "FULL", []),
        ("DELETE", "FULL", ["synchronous=FULL"]),
        ("DELETE", "EXTRA", []),
        ("TRUNCATE", "FULL", []),
        ("PERSIST", "OFF", ["synchronous=OFF"]),
        ("MEMORY", "FULL", ["journal_mode=memory"]),
    ],
)
def test_F03_W008_names_what_of_sqlite_may_lose_a_commit(settings, mode, level, told):
    settings.TRIVET_DURABILITY = "power"
    run(f"PRAGMA journal_mode={mode}", f"PRAGMA synchronous={level}")
    try:
        assert causes() == told
    finally:
        run("PRAGMA journal_mode=WAL")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL")
def test_F03_W008_names_what_of_postgresql_may_lose_a_commit(settings):
    settings.TRIVET_DURABILITY = "power"
    with connection.cursor() as cursor:
        cursor.execute("SHOW fsync")
        is_synced = cursor.fetchone() == ("on",)  # of the server, which a test cannot change
    run("SET synchronous_commit = on")
    assert causes() == ([] if is_synced else ["fsync=off"])
    run("SET synchronous_commit = off")
    assert causes() == ["synchronous_commit=off"]


def test_F03_it_is_told_where_answers_wait_for_the_disk_and_the_database_may_be_asked(settings):
    run("PRAGMA synchronous=OFF" if connection.vendor == "sqlite" else "SET synchronous_commit = off")
    assert check_log_durability(["default"]) == []
    settings.TRIVET_DURABILITY = "power"
    assert check_log_durability() == []
    found = django_checks.run_checks(tags=[django_checks.Tags.database], databases=["default"])
    assert "trivet.W008" in [message.id for message in found]
    settings.TRIVET_DURABILITY = "strong"
    assert check_log_durability(["default"]) == []  # E002 tells
