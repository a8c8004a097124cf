"""Answers whose records are handed to who asked, and the turn of whoever watches by another clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.django.turns import hurry, is_idle
from tests.django.watched import count, watched_version
from tests.django.worlds import live_model
from trivet import conf
from trivet.control.monitoring.models import Monitor
from trivet.dataplane.metrics.tally import Tally
from trivet.demo.replay import read_flights
from trivet.serving import process
from trivet.serving.aside import Aside
from trivet.serving.chores import Chore, chores, watching_alone
from trivet.serving.keeper import Keeper, spool_root
from trivet.serving.predict import predict_many

ROW = {"age": 41.0, "city": "Oslo"}


@pytest.fixture
def here(settings) -> Iterator[process.Process]:
    """This process, which answers for `churn` and ships nothing."""
    settings.TRIVET_KEEPER = "external"
    live_model("churn")
    process._process = here = process.Process(process.WorkerKind.PROCESS)
    here.step()
    yield here
    process._process = None
    here.stop()


@pytest.mark.django_db(transaction=True)
def test_what_was_answered_aside_is_handed_over_once_and_no_keeper_ships_it(here: process.Process):
    folder, keeper = conf.HOME() / "aside", Keeper(spool_root())
    with Aside(folder) as aside:
        first = aside.predict_many("churn", [ROW, ROW], user="replay")
        (record,) = aside.records()
        assert (f"{record.id}:1", record.rows, record.caller) == (first[1].id, 2, "user:replay")
        second = aside.predict_many("churn", [ROW], user="replay")
        assert [f"{one.id}:0" for one in aside.records()] == [second[0].id]
        assert list(aside.records()) == []
        assert keeper.step() == 0
    assert not folder.exists()
    predict_many("churn", [ROW])
    assert keeper.step() == 1  # it is recorded where it was before


def test_one_process_of_a_machine_watches_at_a_time():
    with watching_alone() as first, watching_alone() as second:
        assert (first, second) == (True, False)
    with watching_alone() as third:
        assert third


@pytest.mark.django_db
def test_a_keeper_leaves_out_its_turn_to_watch_while_another_does():
    version = watched_version()
    count(version, datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=30), 500)
    watching = chores(lambda _counts: None, Tally())[3]
    with watching_alone():
        turn(watching)
        assert not Monitor.objects.exists()
    turn(watching)
    assert Monitor.objects.filter(version=version).exists()


def turn(chore: Chore) -> None:
    """Begin, and go on until it is done."""
    hurry(chore)
    chore.step()
    while not is_idle(chore):
        chore.step()


CSV = """flight_id,scheduled_at,arrived_at,late,dest,seats
a,2013-07-01T05:15,2013-07-01T08:30,on time,IAH,149
b,2013-07-01T05:45,2013-07-01T09:00,late,ANC,
c,2013-07-02T06:00,2013-07-02T09:05,on time,MIA,99
d,2013-12-31T23:50,2014-01-01T02:10,on time,BOS,200
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "replay.csv"
    path.write_text(CSV)
    return path


def test_flights_move_by_whole_days_so_that_the_last_has_landed(written: Path):
    now = datetime(2026, 11, 30, 2, 9, tzinfo=UTC)
    flights, by = read_flights(written, {"dest": "BYTES", "seats": "INT64"}, now, None)
    assert by % timedelta(days=1) == timedelta(0)
    assert now - timedelta(days=1) < flights[-1].landed_at <= now
    first = flights[0]
    assert (first.asked_at - by, first.landed_at - by) == (
        datetime(2013, 7, 1, 5, tzinfo=UTC),
        datetime(2013, 7, 1, 8, 30, tzinfo=UTC),
    )
    assert (first.features, first.outcome) == ({"dest": "IAH", "seats": 149}, "on time")
    assert flights[1].features == {"dest": "ANC", "seats": None}


def test_fewer_flights_are_spread_over_all_and_moved_as_far(written: Path):
    now = datetime(2026, 11, 30, tzinfo=UTC)
    all_of_them, by = read_flights(written, {"dest": "BYTES"}, now, None)
    some, moved = read_flights(written, {"dest": "BYTES"}, now, 2)
    assert (some, moved) == ([all_of_them[0], all_of_them[2]], by)
