"""What the data plane may know."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.django.worlds import CHURN, ready, registered
from trivet.control.registry import actions, snapshots
from trivet.control.registry.models import ApiKey, Event, Worker, workers
from trivet.control.registry.snapshots import build_snapshot, current_generation
from trivet.core.boot import seconds_since_boot
from trivet.core.errors import Unavailable
from trivet.core.keys import hash_secret
from trivet.core.rates import Rate
from trivet.core.snapshot import Route, Snapshot
from trivet.serving.acknowledgement import wait_for_workers

pytestmark = pytest.mark.django_db


def test_an_empty_registry_is_generation_0():
    assert build_snapshot() == Snapshot(generation=0)


def test_it_holds_ready_versions_with_their_routes_and_aliases(settings):
    settings.TRIVET_REQUIRE_KEY = False
    ready(2)
    registered("not ready")
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.set_routes(model="churn", routes={1: 90, 2: 10}, actor="user:ana")
    actions.set_anonymous(model="churn", anonymous=True, actor="user:ana")

    snapshot = build_snapshot()

    churn = snapshot.models["churn"]
    assert snapshot.generation == current_generation()
    assert list(churn.versions) == [1, 2]
    assert churn.versions[1].signature == CHURN
    assert churn.versions[1].runtime == "onnx"
    assert churn.routes == (Route(version=1, weight=90), Route(version=2, weight=10))
    assert churn.aliases == {"champion": 1}
    assert churn.anonymous

    settings.TRIVET_REQUIRE_KEY = True
    assert not build_snapshot().models["churn"].anonymous


def test_it_keeps_loaded_what_is_routed_aliased_or_the_way_back():
    ready(5)
    for number in (1, 2, 3):
        actions.promote(model="churn", version=number, actor="user:ana")
    actions.set_alias(model="churn", alias="challenger", version=4, actor="user:ana")

    versions = build_snapshot().models["churn"].versions

    assert {number: entry.keep_loaded for number, entry in versions.items()} == {
        1: False,
        2: True,
        3: True,
        4: True,
        5: False,
    }


def test_it_holds_only_keys_that_may_still_be_used():
    key, plaintext = actions.issue_key(name="a", grants={"churn": ["predict"]}, expires=timedelta(days=1), actor="u")
    revoked, _ = actions.issue_key(name="b", grants={"*": ["view"]}, actor="u")
    expired, _ = actions.issue_key(name="c", grants={"*": ["view"]}, expires=timedelta(days=1), actor="u")
    actions.revoke_key(key=revoked.pk, actor="u")
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())

    keys = build_snapshot().keys

    assert list(keys) == [key.pk]
    assert keys[key.pk].grants == {"churn": {"predict", "view"}}
    assert keys[key.pk].expires_at == key.expires_at.timestamp()
    from trivet.conf import peppers

    assert keys[key.pk].hash == hash_secret(peppers()[0], plaintext)


def test_a_key_is_limited_by_what_it_says_itself_and_else_by_the_setting(settings):
    plain, _ = actions.issue_key(name="a", grants={"*": ["predict"]}, actor="u")
    own, _ = actions.issue_key(name="b", grants={"*": ["predict"]}, limits={"*": "5/s, 90/d"}, actor="u")
    of_model, _ = actions.issue_key(name="c", grants={"*": ["predict"]}, limits={"churn": "1/m"}, actor="u")

    assert {key.id: key.limits for key in build_snapshot().keys.values()} == {
        plain.pk: {},
        own.pk: {"*": (Rate(5, 1), Rate(90, 86_400))},
        of_model.pk: {"churn": (Rate(1, 60),)},
    }
    settings.TRIVET_RATE_LIMIT = "100/s"
    found = build_snapshot()
    assert found.keys[plain.pk].limits == found.keyless_limits == {"*": (Rate(100, 1),)}
    assert found.keys[own.pk].limits == {"*": (Rate(5, 1), Rate(90, 86_400))}
    assert found.keys[of_model.pk].limits == {"*": (Rate(100, 1),), "churn": (Rate(1, 60),)}


def test_a_limit_that_changes_is_in_the_next_snapshot():
    key, _ = actions.issue_key(name="a", grants={"*": ["predict"]}, actor="u")
    before = build_snapshot()
    actions.limit_key(key=key.pk, limits={"*": "5/s"}, actor="u")
    assert build_snapshot(before).keys[key.pk].limits == {"*": (Rate(5, 1),)}


def test_its_cost_does_not_grow_with_the_registry(django_assert_num_queries, django_assert_max_num_queries):
    def build():
        with django_assert_max_num_queries(9) as queries:
            build_snapshot()
        return len(queries)

    ready(1)
    few = build()
    for name in ("late", "fraud", "ocr"):
        ready(3, model=name)
        actions.promote(model=name, version=2, actor="user:ana")
        actions.issue_key(name=name, grants={name: ["predict"]}, actor="user:ana")
    assert build() == few
    with django_assert_num_queries(1):
        current_generation()


def test_a_change_while_it_is_read_makes_it_read_again(monkeypatch):
    ready()
    read_keys = snapshots._read_keys
    changes = iter(["once"])

    def meanwhile(database, ids=None):
        for _ in changes:
            actions.promote(model="churn", version=1, actor="user:ana")
        return read_keys(database, ids)

    monkeypatch.setattr(snapshots, "_read_keys", meanwhile)
    snapshot = build_snapshot()
    assert snapshot.generation == current_generation()
    assert snapshot.models["churn"].aliases == {"champion": 1}


def test_with_the_one_before_only_what_has_changed_is_read_again():
    for name in ("churn", "late", "fraud"):
        ready(2, model=name)
    kept, _ = actions.issue_key(name="kept", grants={"*": ["view"]}, actor="u")
    leaves, _ = actions.issue_key(name="leaves", grants={"*": ["view"]}, actor="u")
    before = build_snapshot()

    assert build_snapshot(before) == before
    actions.promote(model="late", version=2, actor="u")
    ready(1, model="new")
    comes, _ = actions.issue_key(name="comes", grants={"*": ["view"]}, actor="u")
    actions.revoke_key(key=leaves.pk, actor="u")
    after = build_snapshot(before)

    assert after == build_snapshot()
    assert set(after.keys) == {kept.pk, comes.pk}
    assert {name for name, model in after.models.items() if model is before.models.get(name)} == {"churn", "fraud"}
    assert after.keys[kept.pk] is before.keys[kept.pk]


@pytest.mark.parametrize("doubt", ["an Event is missing", "another database", "an older one", "long ago"])
def test_where_it_is_not_known_what_has_changed_all_is_read_again(doubt, monkeypatch):
    ready(3)
    before = build_snapshot()
    ready(1, model="late")
    actions.promote(model="churn", version=1, actor="u")
    now = build_snapshot()
    wrong = msgspec.structs.replace(before, models={}, keys={})
    match doubt:
        case "an Event is missing":
            monkeypatch.setattr(
                Event.objects, "using", lambda database: Event.objects.db_manager(database).exclude(action="promote")
            )
        case "another database":
            wrong = msgspec.structs.replace(wrong, changed_at=1.0)
        case "an older one":
            wrong = msgspec.structs.replace(wrong, generation=now.generation + 1)
        case "long ago":
            monkeypatch.setattr(snapshots, "FEW_CHANGES", 1)
    assert build_snapshot(wrong).models == now.models


def test_a_registry_that_never_rests_is_reported(monkeypatch):
    generations = iter(range(100))
    monkeypatch.setattr(snapshots, "current_generation", lambda _database: next(generations))
    with pytest.raises(Unavailable):
        build_snapshot()


def test_a_silent_worker_is_not_waited_for():
    now = timezone.now()
    Worker.objects.beat("a/1", generation=4, kind="web", host="a", pid=1)
    Worker.objects.beat("a/2", generation=3, kind="web", host="a", pid=2)
    Worker.objects.filter(pk="a/1").update(seen_at=now - timedelta(seconds=6))
    Worker.objects.beat("a/2", generation=5)

    assert [worker.pk for worker in Worker.objects.live(5, now)] == ["a/2"]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_worker_on_a_host_whose_clock_is_wrong_is_live_and_waited_for(monkeypatch: pytest.MonkeyPatch, hours: int):
    with monkeypatch.context() as patched:
        patched.setattr(timezone, "now", lambda: datetime.now(UTC) + timedelta(hours=hours))
        Worker.objects.beat("a/1", generation=4, kind="web", host="a", pid=1)
        Worker.objects.beat("a/1", generation=5)
    assert [worker.generation for worker in Worker.objects.live(5)] == [5]
    silent = timezone.now() - timedelta(seconds=6)
    Worker.objects.filter(pk="a/1").update(seen_at=silent, seen_since_boot=seconds_since_boot() - 6)
    assert not Worker.objects.live(5)
    with monkeypatch.context() as patched:
        patched.setattr(timezone, "now", lambda: silent)
        assert not Worker.objects.live(5), "whoever asks has a clock of its own too"


def test_a_worker_that_was_killed_is_forgotten_after_ten_leases():
    now = timezone.now()
    for place, seconds in enumerate((0, 49, 51)):
        Worker.objects.beat(f"a/{place}", generation=1, kind="web", host="a", pid=place)
        Worker.objects.filter(pk=f"a/{place}").update(seen_at=now - timedelta(seconds=seconds))

    assert Worker.objects.all().prune(5, now) == 1
    assert set(Worker.objects.values_list("pk", flat=True)) == {"a/0", "a/1"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the clock of a database of its own judges")
@pytest.mark.parametrize("hours", [-1, 24])
def test_F26_a_step_of_the_clock_ends_and_prolongs_no_lease_on_sqlite(hours: int):
    Worker.objects.beat("lives", generation=4, kind="web", host="a", pid=1)
    Worker.objects.beat("silent", generation=4, kind="web", host="a", pid=2)
    Worker.objects.filter(pk="silent").update(seen_since_boot=F("seen_since_boot") - 6)
    Worker.objects.update(seen_at=timezone.now() - timedelta(hours=hours))  # as they stand once the clock was set
    assert [worker.pk for worker in Worker.objects.live(5)] == ["lives"]
    assert Worker.objects.all().prune(5) == 0
    Worker.objects.filter(pk="silent").update(seen_since_boot=F("seen_since_boot") - 45)
    assert Worker.objects.all().prune(5) == 1
    assert wait_for_workers(4).live == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the clock of a database of its own judges")
def test_F26_a_worker_from_before_the_machine_was_started_again_is_judged_by_the_clock(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setattr(workers, "boot_id", lambda: "another start")
        patched.setattr(workers, "seconds_since_boot", lambda: 1e9)
        Worker.objects.beat("a/1", generation=4, kind="web", host="a", pid=1)
    assert Worker.objects.live(5).exists()
    Worker.objects.update(seen_at=timezone.now() - timedelta(seconds=6))
    assert not Worker.objects.live(5).exists()


@pytest.mark.django_db(transaction=True)
def test_reading_it_takes_no_lock():
    ready()
    with CaptureQueriesContext(connection) as queries:
        build_snapshot()
    assert all(query["sql"].startswith("SELECT") for query in queries)
