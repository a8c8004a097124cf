"""D35: spool and log agree, and where they do not, the row is named."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.django.worlds import ready, record
from trivet.control.predictions.models import Prediction, SpoolCursor
from trivet.control.predictions.pruning import prune_log
from trivet.control.predictions.shipping import ship
from trivet.core.records import LabelRecord, SaidLabel, encode_record
from trivet.dataplane.spool import Spool
from trivet.serving.keeper import Keeper
from trivet.serving.spool_audit import audit_spool

pytestmark = pytest.mark.django_db(transaction=True)
ID = str(uuid.uuid4())  # of no prediction


@pytest.fixture
def spool(home: Path) -> Iterator[Spool]:
    spool = Spool(home / "spool", "w", segment_bytes=4 * 1024 * 1024)
    yield spool
    spool.close()


def test_D35_what_is_shipped_is_in_the_log_and_what_waits_is_not(spool: Spool):
    (version,) = ready()
    keeper = Keeper(spool.root)
    for place in range(3):
        spool.append(encode_record(record(version, rows=2, places=[1, 4])))
        if place == 1:
            keeper.step()
        spool.append(encode_record(LabelRecord(str(uuid.uuid4()), 1, "churn", "key:abcdefgh", [SaidLabel(True, ID)])))
    keeper._release()
    assert audit_spool(spool.root) == (2, 1, None)

    gone = Prediction.objects.filter(row=4).order_by("pk")[1]
    Prediction.objects.filter(pk=gone.pk).delete()
    broken = audit_spool(spool.root).broken
    assert broken is not None
    assert (broken.kind, broken.place) == ("missing", f"row {gone.public_id}")


def test_D35_what_is_in_the_log_though_nobody_shipped_it_is_named(spool: Spool):
    (version,) = ready()
    early = record(version)
    spool.append(encode_record(early))
    spool.append(encode_record(record(version, id=str(uuid.uuid4()))))
    ship([early])  # by hand, without the cursor
    assert SpoolCursor.objects.count() == 0
    broken = audit_spool(spool.root).broken
    assert broken is not None
    assert (broken.kind, broken.place) == ("inserted", f"row {early.id}:0")


def test_D35_a_segment_that_is_shipped_and_removed_while_it_is_looked_at_is_in_order(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
):
    from trivet.serving import spool_audit

    (version,) = ready()
    for _ in range(2):
        spool.append(encode_record(record(version, id=str(uuid.uuid4()))))
    spool.close()  # nobody writes into it any more
    keeper, look = Keeper(spool.root), spool_audit._in_log

    def finish_and_look(records):
        keeper.step()
        keeper._release()
        return look(records)

    monkeypatch.setattr(spool_audit, "_in_log", finish_and_look)
    assert audit_spool(spool.root).broken is None
    assert Prediction.objects.count() == 2
    assert not SpoolCursor.objects.exists()
    assert not list(spool.root.rglob("*.seg"))


def ship_one_by_one(spool: Spool, *made_at: datetime) -> list[Prediction]:
    """Append a record of two rows for each instant, each shipped in a batch of its own; return their rows."""
    (version,) = ready()
    keeper = Keeper(spool.root)
    for moment in made_at:
        spool.append(encode_record(record(version, rows=2, made_at=int(moment.timestamp() * 1e9))))
        keeper.step()
    keeper._release()
    return list(Prediction.objects.order_by("pk"))


def test_D38_what_was_pruned_while_its_segment_lives_is_not_missing_and_what_was_lost_still_is(spool: Spool):
    now = datetime.now(tz=UTC)
    rows = ship_one_by_one(spool, now - timedelta(days=3), now, now - timedelta(days=3), now)
    prune_log(now - timedelta(days=1), actor="cli:ana")
    assert Prediction.objects.count() == 4
    assert audit_spool(spool.root) == (4, 0, None)

    lost = rows[3]
    Prediction.objects.filter(pk=lost.pk).delete()
    broken = audit_spool(spool.root).broken
    assert broken is not None
    assert (broken.kind, broken.place) == ("missing", f"row {lost.public_id}")


def test_D38_what_is_pruned_while_it_is_looked_for_is_not_missing(spool: Spool, monkeypatch: pytest.MonkeyPatch):
    from trivet.serving import spool_audit

    now = datetime.now(tz=UTC)
    monkeypatch.setattr(spool_audit, "RECORDS_AT_ONCE", 1)
    ship_one_by_one(spool, now - timedelta(days=9), now - timedelta(days=3), now)
    prune_log(now - timedelta(days=5), actor="cli:ana")
    look, looks = spool_audit._in_log, []

    def look_and_prune(records):
        looks.append(len(records))
        if len(looks) == 2:  # the links were read for the record before
            prune_log(now - timedelta(days=1), actor="cli:ana")
        return look(records)

    monkeypatch.setattr(spool_audit, "_in_log", look_and_prune)
    assert audit_spool(spool.root) == (3, 0, None)


def test_no_spool_is_no_break(home: Path):
    assert audit_spool(home / "nowhere") == (0, 0, None)
