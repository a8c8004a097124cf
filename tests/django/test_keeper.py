"""The keeper ships each record once, whatever is in the spool and whoever else ships."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from django.db import DataError, OperationalError

from tests.django import test_expected_errors as regressions
from tests.django.worlds import ready, record
from trivet.control.predictions.models import Prediction, SpoolCursor
from trivet.core.records import encode_record
from trivet.dataplane.spool import Spool, segments
from trivet.model.sandbox import tripwire
from trivet.serving import keeper as keeping
from trivet.serving.keeper import Keeper
from trivet.serving.spool_audit import audit_spool

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def spool(home: Path):
    spool = Spool(home / "spool", "w", segment_bytes=4 * 1024 * 1024)
    yield spool
    spool.close()


@pytest.fixture
def keeper(spool: Spool):
    keeper = Keeper(spool.folder.parent)
    yield keeper
    keeper._release()


def test_what_is_appended_is_shipped_and_a_dead_workers_segment_removed(spool: Spool, keeper: Keeper):
    (version,) = ready()
    for _ in range(3):
        spool.append(encode_record(record(version)))
    assert keeper.step() == 3
    spool.append(encode_record(record(version, rows=5)))
    assert keeper.step() == 1
    assert Prediction.objects.count() == 8
    spool.close()
    assert keeper.step() == 0
    assert not segments(spool.folder.parent)
    assert not SpoolCursor.objects.exists()


def test_what_a_worker_left_behind_that_died_making_a_segment_is_removed_once_that_is_sure(
    spool: Spool, keeper: Keeper
):
    folder = spool.root / "died"
    folder.mkdir(parents=True)
    partial = folder / "000000000001.new"
    partial.touch()
    keeper.step()
    assert partial.exists()
    os.utime(partial, (0, 0))
    before = sorted(spool.root.rglob("*"))
    assert audit_spool(spool.root) == (0, 0, None)
    assert segments(spool.root) == []
    assert sorted(spool.root.rglob("*")) == before, "whoever only looks changes nothing"
    keeper.step()
    assert not folder.exists()


def test_a_keeper_that_forgot_its_place_ships_nothing_twice(spool: Spool, keeper: Keeper):
    (version,) = ready()
    spool.append(encode_record(record(version)))
    keeper.step()
    keeper._offsets.clear()
    SpoolCursor.objects.all().delete()
    assert keeper.step() == 1
    assert Prediction.objects.count() == 1


def test_a_second_keeper_waits_for_the_first(spool: Spool, keeper: Keeper):
    (version,) = ready()
    spool.append(encode_record(record(version)))
    keeper._hold()
    second = Keeper(spool.folder.parent)
    assert second.step() == 0
    keeper._release()
    assert second.step() == 1
    second._release()


def test_a_transaction_is_bounded_by_rows_not_by_records(spool: Spool, keeper: Keeper, monkeypatch: pytest.MonkeyPatch):
    (version,) = ready()
    sizes = []
    real = keeping.ship
    monkeypatch.setattr(
        keeping, "ship", lambda records, **place: sizes.append(sum(r.rows for r in records)) or real(records, **place)
    )
    for _ in range(6):
        spool.append(encode_record(record(version, rows=400)))
    assert keeper.step() == 6
    assert sizes == [1200, 1200]


def test_a_record_of_another_release_is_kept_and_holds_nothing_up(spool: Spool, keeper: Keeper, home: Path):
    (version,) = ready()
    spool.append(b"\x93 not ours")
    spool.append(encode_record(record(version)))
    assert keeper.step() == 2
    assert Prediction.objects.count() == 1
    (kept,) = (spool.folder.parent.parent / keeping.UNREADABLE).iterdir()
    assert kept.read_bytes() == b"\x93 not ours"


@pytest.mark.parametrize("failure", [KeyError("strange"), DataError("a value that the database does not take")])
def test_a_segment_that_cannot_be_shipped_does_not_stop_the_others(
    failure: Exception,
    spool: Spool,
    keeper: Keeper,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    (version,) = ready()
    other = Spool(spool.folder.parent, "another", segment_bytes=4 * 1024 * 1024)
    spool.append(encode_record(record(version, model="broken")))
    other.append(encode_record(record(version)))
    real = keeping.ship

    def ship(records, **place):
        if any(r.model == "broken" for r in records):
            raise failure
        return real(records, **place)

    monkeypatch.setattr(keeping, "ship", ship)
    assert keeper.step() == 1
    assert "event=segment_not_shipped" in caplog.text
    assert keeper.step() == 0
    monkeypatch.setattr(keeping, "ship", real)
    keeper._set_aside.clear()
    assert keeper.step() == 1
    assert Prediction.objects.count() == 2
    other.close()


def test_a_database_that_goes_away_while_nothing_is_shipped_ends_no_keeper(keeper: Keeper, monkeypatch):
    def gone(*_: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    keeper._last_prune = -keeping.PRUNE_SECONDS * 2
    monkeypatch.setattr(keeping.Worker.objects.all().__class__, "prune", gone)
    assert keeper.step() == 0
    monkeypatch.undo()
    assert keeper.step() == 0
    assert not keeper._is_database_away


def test_what_a_keeper_expects_of_errors_trips_no_wire(spool: Spool, keeper: Keeper):
    """Frames of a keeper that start a program or unpickle end the process: the runtime of a loss model does neither."""
    version = regressions.champion()
    flats, _ = regressions.rents(300, 3)
    spool.append(encode_record(regressions.asked(version, flats)))
    found: list[str] = []
    is_over = False

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event in tripwire.EVENTS and not is_over:
            found.append(event)

    sys.addaudithook(look)  # it stays, and sees nothing more
    assert keeper.step() == 1
    is_over = True
    assert found == []
    assert regressions.counted(version)[0] == 300
