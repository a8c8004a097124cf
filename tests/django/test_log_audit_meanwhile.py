"""D35, D38: the audit raises no false alarm while the log is written, erased and pruned, and needs no more memory for more."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from tests.django.worlds import ready, record
from tests.scale import scaled
from trivet.control.predictions import auditing
from trivet.control.predictions.auditing import audit_log
from trivet.control.predictions.models import LogLink, Prediction
from trivet.control.predictions.pruning import forget, prune_log
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions, history
from trivet.control.registry.history import audit_history
from trivet.control.registry.models import ModelVersion, RegisteredModel

pytestmark = pytest.mark.django_db(transaction=True)


def alone(do: Callable[[], None]) -> None:
    """Run `do` in a thread, which has connections of its own."""
    try:
        do()
    finally:
        connections.close_all()


def work(version: ModelVersion, rounds: int) -> None:
    """Ship, forget somebody, prune what is old, change the registry."""
    for step in range(rounds):
        key = f"c-{step % 5}"
        old = int(timezone.now().timestamp() * 1e9) - (10**9 if step % 3 else 500 * 24 * 3600 * 10**9)
        ship([record(version, rows=2, entity_keys=[key, "c-x"], made_at=old), record(version, made_at=old)])
        if step % 4 == 0:
            forget(key, actor="cli:ana")
        if step % 5 == 0:
            prune_log(timezone.now() - timedelta(days=400), actor="cli:ana")
        actions.set_anonymous(model="churn", anonymous=step % 2 == 0, actor="cli:ana")


def test_D35_D38_an_audit_beside_the_work_finds_nothing_broken(monkeypatch):
    monkeypatch.setattr(auditing, "PAGE", 7)  # so that the work falls between two pages, again and again
    monkeypatch.setattr(history, "PAGE", 3)
    (version,) = ready()
    work(version, 5)
    audits = 0
    with ThreadPoolExecutor() as pool:
        working = pool.submit(alone, lambda: work(version, scaled(test=8, ci=100, full=1000)))
        while not working.done() or not audits:
            assert audit_log().broken is None
            assert audit_history().broken is None
            audits += 1
        working.result()
    assert audits > 1
    last = audit_log()
    assert (last.broken, last.rows) == (None, Prediction.objects.count())
    assert last.erased == Prediction.objects.filter(erased_by__isnull=False).count()
    assert RegisteredModel.objects.get().anonymous in {True, False}


def test_D35_the_audit_needs_no_more_memory_for_a_longer_log(monkeypatch):
    monkeypatch.setattr(auditing, "PAGE", 100)
    (version,) = ready()

    def peak() -> int:
        audit_log()
        connection.queries_log.clear()
        tracemalloc.start()
        assert audit_log().broken is None
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    def grow(batches: int) -> None:
        for _ in range(batches):
            ship([record(version, rows=30) for _ in range(5)])

    grow(4)
    few = peak()
    grow(scaled(test=12, ci=60, full=400))
    many = peak()
    assert LogLink.objects.count() >= 16
    assert many < few * 1.3 + 50_000, (few, many)


def test_two_who_ship_at_once_make_one_chain():
    (version,) = ready()
    times = scaled(test=4, ci=50, full=500)

    def shipping() -> None:
        for _ in range(times):
            ship([record(version, rows=3)])

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(alone, shipping) for _ in range(3)]:
            future.result()
    found = audit_log()
    assert (found.broken, found.links, found.rows) == (None, LogLink.objects.count(), Prediction.objects.count())
    assert found.links == 3 * times
