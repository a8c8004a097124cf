"""What `trivet.predict` of a row of a table costs above the one query that reads its features.

`python -m benchmarks.rows [ROUNDS]`: five aggregates over 100 orders of each of 200 customers, and two columns. The ways take
turns; another process would keep the log. Prints medians in microseconds, by the clock and of this thread's processor time,
which is the figure where the machine has other work. `TRIVET_TEST_DATABASE=postgres` and the `PG*` variables: on PostgreSQL.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

ROUNDS = 2000


def main(rounds: int) -> None:
    """Measure in turns, on a database of its own, and print."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.test.utils import setup_databases, teardown_databases

    with tempfile.TemporaryDirectory() as home:
        settings.TRIVET_HOME, settings.TRIVET_KEEPER = home, "external"
        settings.STORAGES = {
            **settings.STORAGES,
            "trivet": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": home}},
        }
        made = setup_databases(verbosity=0, interactive=False)
        try:
            medians = measured(rounds)
        finally:
            teardown_databases(made, verbosity=0)
    print("   clock  processor")
    for name, (clock, processor) in medians.items():
        print(f"{clock:8.0f} {processor:10.0f}  {name}")
    above = [one - query for one, query in zip(medians["trivet.predict"], medians["the query alone"], strict=True)]
    print(f"{above[0]:8.0f} {above[1]:10.0f}  predict above the query")


def measured(rounds: int) -> dict[str, tuple[float, float]]:
    """Return the medians of each way, by the clock and of processor time, in microseconds."""
    from django.db import connection
    from django.utils import timezone
    from tests.django.worlds import live_model

    import trivet
    from trivet.features.reading import Reading
    from trivet.features.shape import shape_of
    from trivet.features.statement import statement_of
    from trivet.serving.process import this_process

    live_model("churn")
    features, customers = _features(), _customers()

    class Churn(trivet.Predictor):
        pass

    Churn.features = features
    trivet.predict("churn", customers[0])
    statement = statement_of(features, shape_of(features), "default")
    assert statement is not None

    def query(customer: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement._sql, statement._filled(customer.pk, moment, connection))
            cursor.fetchone()

    moment = timezone.now()
    row = features.for_instance(customers[0])
    named = {name: row[name] for name in ("age", "city")}
    ways: dict[str, Callable[[Any], Any]] = {
        "the query alone": query,
        "FeatureSet.for_instance": features.for_instance,
        "trivet.predict": lambda customer: trivet.predict("churn", customer),
        "trivet.predict of a mapping": lambda _: trivet.predict("churn", named),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    turns = list(ways)
    for number in range(rounds):
        turns = [*turns[1:], turns[0]]
        for name in turns:
            taken[name].append(_seconds(ways[name], customers[number % len(customers)]))
    slow = "the same, the query made each time"
    taken[slow] = [
        _seconds(lambda one: list(Reading(shape_of(features), None, features)._by_query([one.pk], None)), customer)
        for customer in customers[: rounds // 10]
    ]
    this_process().stop()
    return {name: _medians(values) for name, values in taken.items()}


def _seconds(way: Callable[[Any], Any], customer: Any) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.thread_time()
    way(customer)
    return time.perf_counter() - clock, time.thread_time() - processor


def _medians(values: list[tuple[float, float]]) -> tuple[float, float]:
    clock, processor = zip(*values, strict=True)
    return statistics.median(clock) * 1e6, statistics.median(processor) * 1e6


def _features() -> Any:
    from django.db.models import Q
    from tests.shop.models import Customer

    import trivet
    from trivet import f

    class ChurnFeatures(trivet.FeatureSet):
        age = f.DaysSince("joined_at")
        city = f.Column("email")
        orders_90d = f.Count("orders", where=Q(placed_at__gte=f.as_of - timedelta(days=90)))
        spent = f.Sum("orders__total", default=0)
        basket = f.Avg("orders__total", default=0)
        newest = f.Newest("orders__items", by="placed_at")
        complained = f.Exists("tickets", at="opened_on")

        class Meta:
            model = Customer

    return ChurnFeatures


def _customers() -> list[Any]:
    from django.utils import timezone
    from tests.shop.models import Customer, Order

    now = timezone.now()
    made = [Customer.objects.create(email="Oslo", joined_at=now - timedelta(days=number)) for number in range(200)]
    Order.objects.bulk_create(
        Order(customer=one, total=number, placed_at=now - timedelta(days=number))
        for one in made
        for number in range(100)
    )
    return made


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
