"""An app of a project's own, with customers of whom a column says how likely they churn; and who watches that column."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from tests.acceptance.databases import manage, url_of

SETTINGS = "crm_settings"
FILES = {
    "crm_settings.py": 'from trivet.server.settings import *\n\nINSTALLED_APPS = [*INSTALLED_APPS, "crm"]\n',
    "crm/__init__.py": "",
    "crm/migrations/__init__.py": "",
    "crm/models.py": """
from django.db import models

import trivet


class Customer(models.Model):
    tenure = models.FloatField(null=True)
    plan = models.CharField(max_length=8)
    seats = models.IntegerField()
    risk = trivet.PredictedField("churn", db_index=True)
""",
    "crm/ml.py": """
import trivet
from crm.models import Customer


class ChurnFeatures(trivet.FeatureSet):
    class Meta:
        model = Customer
        fields = ["plan", "seats", "tenure"]


class Churn(trivet.Predictor):
    features = ChurnFeatures
""",
}
FILL = """
from crm.models import Customer
plans = ["free", "pro", "team"]
Customer.objects.bulk_create(
    (Customer(tenure=n % 700 or None, plan=plans[n % 3], seats=n % 50) for n in range({rows})), batch_size=5000
)
"""
AUDIT = {  # each write of the column leaves a row
    False: (
        "create table audit (customer integer)",
        "create trigger written after update of risk on crm_customer begin insert into audit values (new.id); end",
    ),
    True: (
        "create table audit (customer bigint)",
        "create function note() returns trigger language plpgsql as"
        " 'begin insert into audit values (new.id); return null; end'",
        "create trigger written after update of risk on crm_customer for each row execute function note()",
    ),
}
HELD_FOR = """
select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0) from pg_stat_activity
where pid in (select pid from pg_locks where relation = 'crm_customer'::regclass and mode = 'RowExclusiveLock')
"""
LOOK_SECONDS = 0.002
BLIND_SECONDS = (
    0.05  # between two looks: the machine ran others, and whether the database was free meanwhile nobody saw
)


def add_customers(project: Path, rows: int) -> None:
    """Give a project the app, its tables and so many customers, of whom every 700th has a missing feature."""
    for name, text in FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for words in (("makemigrations", "crm"), ("migrate",), ("makemigrations", "--check"), ("check",)):
        manage(project, *words, DJANGO_SETTINGS_MODULE=SETTINGS)
    manage(project, "shell", "-c", FILL.format(rows=rows), DJANGO_SETTINGS_MODULE=SETTINGS)
    for statement in AUDIT[bool(url := url_of(project))]:
        if url:
            with closing(psycopg.connect(url, autocommit=True)) as connection:
                connection.execute(statement.encode())
        else:
            with closing(sqlite3.connect(project / "db.sqlite3")) as database:
                database.execute(statement)


class Locks:
    """How long others could not write, in seconds: the whole database of SQLite, the customers of PostgreSQL."""

    longest = 0.0


@contextmanager
def watched_locks(project: Path) -> Iterator[Locks]:
    """Look all the time, for as long as the block runs."""
    found, stopping = Locks(), threading.Event()
    look = _look_at_postgres if url_of(project) else _look_at_sqlite
    thread = threading.Thread(target=look, args=(project, found, stopping))
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join()


def _look_at_sqlite(project: Path, found: Locks, stopping: threading.Event) -> None:
    with closing(sqlite3.connect(project / "db.sqlite3", timeout=0, isolation_level=None)) as database:
        looked = held_since = time.monotonic()
        while not stopping.wait(LOOK_SECONDS):
            now = time.monotonic()
            if now - looked > BLIND_SECONDS:
                held_since = now
            looked = now
            try:
                database.execute("begin immediate")
                database.execute("rollback")
            except sqlite3.OperationalError:
                found.longest = max(found.longest, time.monotonic() - held_since)
            else:
                held_since = time.monotonic()


def _look_at_postgres(project: Path, found: Locks, stopping: threading.Event) -> None:
    with closing(psycopg.connect(url_of(project), autocommit=True)) as connection:
        while not stopping.wait(LOOK_SECONDS):
            (held,) = connection.execute(HELD_FOR).fetchone() or (0,)
            found.longest = max(found.longest, float(held))
