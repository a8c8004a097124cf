"""D38: what is taken out of the log is gone, is told by an Event, and the chain holds."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from tests.django.worlds import bundle, ready, record, registered
from tests.scale import scaled
from trivet import conf
from trivet.control.predictions import auditing
from trivet.control.predictions.auditing import audit_log
from trivet.control.predictions.forgetting import digest_of
from trivet.control.predictions.models import ForgottenEntity, LogLink, Prediction
from trivet.control.predictions.pruning import beyond_retention, forget, prune_log
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions, bundle_pruning
from trivet.control.registry.actions import versions
from trivet.control.registry.bundle_pruning import prune_bundles, superfluous_bundles
from trivet.control.registry.history import audit_history
from trivet.control.registry.models import BundleClaim, Event, ModelVersion, VersionStatus
from trivet.control.registry.storage import (
    bundle_storage,
    fetch_bundle,
    store_bundle,
    store_signature,
    stored_digests,
    stored_name,
)
from trivet.control.registry.verifying import versions_to_verify
from trivet.core.errors import BundleError, Conflict, InvalidRequest, Refused
from trivet.core.records import encode_record
from trivet.dataplane.spool import Spool
from trivet.serving.keeper import Keeper

pytestmark = pytest.mark.django_db
CANARY = "canary-7f3a"
NOW_NS = int(timezone.now().timestamp() * 1e9)
DAY_NS = 24 * 3600 * 10**9


def dump() -> str:
    """Return all that the database holds of Trivet's tables, as text."""
    tables = [name for name in connection.introspection.table_names() if name.startswith("trivet_")]
    found = []
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {table}")
            found += [repr(row) for row in cursor.fetchall()]
    return "\n".join(found)


def intact() -> bool:
    return audit_log().broken is None and audit_history().broken is None


def about(version, key: str, **changes):
    given = {"entity_key": key, "route_key": key, "campaign": CANARY}
    inputs = [[41.0], [CANARY]]
    return record(version, entity_key=key, caller_id=key, parameters=given, inputs=inputs, made_at=NOW_NS, **changes)


def test_D38_somebody_is_forgotten_and_the_chain_holds():
    (version,) = ready()
    ship([about(version, f"customers.customer:{CANARY}"), record(version, entity_key="customers.customer:1")])
    ship([about(version, f"customers.customer:{CANARY}", cached=True, inputs_sha256=CANARY)])
    assert CANARY in dump()
    before = list(Prediction.objects.order_by("pk").values_list("decision", "score", "prediction_id"))

    event = forget(f"customers.customer:{CANARY}", actor="cli:ana", reason="article 17")

    assert CANARY not in dump()
    assert event.after["rows"] == 2
    assert list(Prediction.objects.order_by("pk").values_list("decision", "score", "prediction_id")) == before
    assert Prediction.objects.get(entity_key="customers.customer:1").inputs == {"age": 41.0, "plan": "pro"}
    assert (audit_log().erased, intact()) == (2, True)

    Prediction.objects.filter(erased_by=event.generation).update(inputs={"age": 1})
    assert audit_log().broken.kind == "edited"


def test_D38_more_erased_in_an_events_name_than_it_tells_of_is_named():
    (version,) = ready()
    ship([about(version, "c-1"), about(version, "c-2")])
    event = forget("c-1", actor="cli:ana")
    rest = {"inputs": None, "parameters": None, "entity_key": "", "caller_id": "", "salt": ""}
    Prediction.objects.filter(entity_key="c-2").update(**rest, erased_by=event.generation)
    assert audit_log().broken.place == f"Event {event.generation}"


def test_D38_what_is_erased_in_the_place_of_what_was_pruned_is_named():
    (version,) = ready()
    ship([about(version, "c-1")])
    event = forget("c-1", actor="cli:ana")
    prune_log(timezone.now() + timedelta(days=1), actor="cli:ana")
    ship([about(version, "c-2")])
    assert intact()
    rest = {"inputs": None, "parameters": None, "entity_key": "", "caller_id": "", "salt": ""}
    Prediction.objects.filter(entity_key="c-2").update(**rest, erased_by=event.generation)
    assert audit_log().broken.place == f"Event {event.generation}"


def test_D38_what_a_spool_still_holds_is_shipped_without_them(home):
    (version,) = ready()
    spool = Spool(home / "spool", "w", segment_bytes=4 * 1024 * 1024)
    key = f"c-{CANARY}"
    spool.append(encode_record(about(version, key)))
    several = record(version, rows=2, entity_keys=["c-1", key], inputs=[[1.0, 2.0], ["pro", CANARY]], made_at=NOW_NS)
    spool.append(encode_record(several))
    later = about(version, key, request_id="later")
    spool.append(encode_record(record(version, entity_key=key, request_id="later", made_at=NOW_NS + DAY_NS)))
    forget(key, actor="cli:ana")
    keeper = Keeper(home / "spool")
    assert keeper.step() == 3
    keeper._release()
    spool.close()

    rows = list(Prediction.objects.order_by("pk").values_list("entity_key", "inputs", "request_id"))
    assert rows[:3] == [("", None, ""), ("c-1", {"age": 1.0, "plan": "pro"}, ""), ("", None, "")]
    assert rows[3][0] == later.entity_key  # asked about again, a day later
    Prediction.objects.filter(request_id="later").delete()
    assert CANARY not in dump()


def test_D38_one_who_is_forgotten_while_their_record_is_made_ready_is_forgotten(monkeypatch):
    from trivet.control.predictions import shipping

    (version,) = ready()
    real, asked = shipping.forgotten_rows, []

    def late(records, database):
        asked.append(len(list(records)))
        return real(records, database)

    monkeypatch.setattr(shipping, "forgotten_rows", late)
    lines = shipping._Batch.lines

    def lines_and_then_forget(batch):
        made = lines(batch)
        if not ForgottenEntity.objects.exists():
            forget("c-1", actor="cli:ana")
        return made

    monkeypatch.setattr(shipping._Batch, "lines", lines_and_then_forget)
    ship([about(version, "c-1")])
    assert Prediction.objects.get().inputs is None
    assert asked == [1]
    assert intact()


def test_D38_a_forgotten_key_is_known_under_a_pepper_that_was_changed(settings):
    (version,) = ready()
    forget("c-1", actor="cli:ana")
    settings.TRIVET_KEY_PEPPER_FALLBACKS = [settings.SECRET_KEY]
    settings.TRIVET_KEY_PEPPER = "another pepper"
    assert not ForgottenEntity.objects.filter(pk=digest_of("c-1", conf.peppers()[0])).exists()
    ship([about(version, "c-1")])
    assert Prediction.objects.get().entity_key == ""


def test_D38_what_is_beyond_retention_goes_link_by_link_and_the_chain_holds(settings):
    (version,) = ready()
    for age in (500, 450, 10):
        ship([record(version, rows=3, made_at=NOW_NS - age * DAY_NS)])
    ship([record(version, made_at=NOW_NS - 500 * DAY_NS), record(version, made_at=NOW_NS)])  # not all of it is old
    before = timezone.now() - timedelta(days=400)
    assert beyond_retention(before) == (6, 0)
    (event,) = prune_log(before, actor="cli:ana")
    assert event.after["rows"] == 6
    assert Prediction.objects.count() == 5
    assert LogLink.objects.count() == 4
    assert (audit_log().rows, intact()) == (5, True)
    assert prune_log(before, actor="cli:ana") == []

    Event.objects.filter(pk=event.pk).delete()
    assert audit_log().broken.place == f"Event {event.generation}"


def test_D38_rows_that_were_pruned_and_are_there_again_are_named():
    (version,) = ready()
    ship([record(version, rows=2, made_at=NOW_NS - 500 * DAY_NS)])
    ship([record(version)])
    kept_elsewhere = list(Prediction.objects.filter(link=1))
    prune_log(timezone.now() - timedelta(days=400), actor="cli:ana")
    assert intact()
    Prediction.objects.bulk_create(kept_elsewhere)
    assert audit_log().broken.kind == "inserted"
    assert "its link was pruned" in audit_log().broken.text


def test_D38_links_that_begin_with_the_same_row_are_all_read(monkeypatch):
    monkeypatch.setattr(auditing, "PAGE", 1)
    (version,) = ready()
    for _ in range(3):  # a database that has no rows may begin its numbers anew
        ship([record(version, rows=2, made_at=NOW_NS - 500 * DAY_NS)])
        prune_log(timezone.now() - timedelta(days=400), actor="cli:ana")
    ship([record(version)])
    assert intact()


def test_D38_what_is_pruned_between_the_reading_of_rows_and_of_links_breaks_nothing(monkeypatch):
    (version,) = ready()
    for age in (500, 450, 10):
        ship([record(version, rows=2, made_at=NOW_NS - age * DAY_NS)])
    in_order, pruned = auditing._Audit._in_order, []

    def prune_before_links_are_read(audit, field, after):
        if field == "first_id" and not pruned:  # the first rows have been read
            pruned.extend(prune_log(timezone.now() - timedelta(days=400), actor="cli:ana"))
        yield from in_order(audit, field, after)

    monkeypatch.setattr(auditing._Audit, "_in_order", prune_before_links_are_read)
    assert audit_log().broken is None
    assert pruned

    monkeypatch.undo()
    rows = list(Prediction.objects.values())
    Prediction.objects.create(**{**rows[0], "id": LogLink.objects.get(number=1).first_id, "link": 1, "row": 7})
    assert audit_log().broken.kind == "inserted"


def test_D38_forgotten_rows_may_be_pruned_later():
    (version,) = ready()
    ship([about(version, "c-1")])
    ship([about(version, "c-1")])
    forget("c-1", actor="cli:ana")
    LogLink.objects.filter(number=1)  # the first is old
    prune_log(datetime.now(tz=timezone.get_default_timezone()) + timedelta(days=1), actor="cli:ana")
    assert (Prediction.objects.count(), intact()) == (0, True)


def test_D38_a_large_log_goes_in_several_transactions(monkeypatch):
    from trivet.control.predictions import pruning

    monkeypatch.setattr(pruning, "LINKS_AT_ONCE", 2)
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 2)
    (version,) = ready()
    for _ in range(5):
        ship([record(version)])
    Prediction.objects.filter(link=1).update(link=None)
    LogLink.objects.filter(number=1).update(first_id=-1, last_id=-1)
    events = prune_log(timezone.now(), actor="cli:ana")
    assert [(event.after["rows"], event.after["older"]) for event in events] == [(2, 1), (2, 0), (1, 0)]
    assert Prediction.objects.count() == 0


def run(capsys, *words: str) -> dict:
    capsys.readouterr()
    call_command("trivet", "prune", *words, "--json")
    return json.loads(capsys.readouterr().out)


def test_D38_prune_is_a_plan_until_it_is_applied(capsys, settings):
    (version,) = ready()
    ship([about(version, "c-1"), record(version, made_at=NOW_NS - 500 * DAY_NS)])
    ship([record(version, made_at=NOW_NS - 500 * DAY_NS)])
    events = Event.objects.count()
    assert run(capsys, "--log", "--forget", "c-1")["log"]["rows"] == 1
    assert Event.objects.count() == events
    assert run(capsys, "--log", "--forget", "c-1", "--apply") == {
        "applied": True,
        "forget": {"rows": 1},
        "log": {"before": Event.objects.get(action="prune_log").after["before"], "rows": 1},
    }
    assert Event.objects.count() == events + 2
    settings.TRIVET_LOG_RETENTION_DAYS = None
    assert run(capsys, "--log") == {"applied": False, "log": {"before": None, "rows": 0}}
    with pytest.raises(SystemExit) as end:
        call_command("trivet", "prune")
    assert end.value.code == 2


def test_an_empty_entity_key_is_nobody():
    with pytest.raises(InvalidRequest):
        forget("", actor="cli:ana")


def age_of_bundles(monkeypatch, days: int) -> None:
    monkeypatch.setattr(
        type(bundle_storage()), "get_modified_time", lambda *_: timezone.now() - timedelta(days=days), raising=False
    )


def test_bundles_that_no_version_has_go_once_they_are_a_day_old(monkeypatch):
    ready()
    left = bundle("left by a push that was killed")
    store_bundle(left)
    assert not superfluous_bundles()
    age_of_bundles(monkeypatch, 2)
    assert superfluous_bundles().digests == (left.digest,)
    prune_bundles(actor="cli:ana")
    with pytest.raises(BundleError):
        fetch_bundle(left.digest)
    assert not superfluous_bundles()
    assert Event.objects.first().after == {"digests": [left.digest], "retired": []}


def test_with_keep_old_versions_that_are_not_in_use_are_retired_with_their_bundles():
    four = ready(4)
    actions.promote(model="churn", version=1, actor="cli:ana")
    shared = registered("churn graph 2", model="late")  # the same bundle under another name
    found = prune_bundles(keep=1, actor="cli:ana", reason="room")
    assert [version.number for version in found.versions] == [3, 2]
    assert found.digests == (four[2].digest,)
    assert shared.digest == four[1].digest
    for version in four:
        version.refresh_from_db()
    assert [version.status for version in four] == [VersionStatus.READY, "retired", "retired", "ready"]
    with pytest.raises(BundleError):
        fetch_bundle(four[2].digest)
    fetch_bundle(four[0].digest)
    assert versions_to_verify("churn", everything=True) == [four[0], four[3]]
    assert intact()


class Killed(BaseException):
    """A prune ends here."""


def killed(*_: object) -> None:
    raise Killed


def test_D38_what_a_killed_prune_left_goes_with_the_next(monkeypatch):
    three = ready(3)
    with monkeypatch.context() as patch:
        patch.setattr(bundle_pruning, "remove_bundle", killed)
        with pytest.raises(Killed):
            prune_bundles(keep=1, actor="cli:ana")
    old = {version.digest for version in three[:2]}
    assert all(map(fetch_bundle, old))
    assert set(superfluous_bundles().digests) == old
    assert set(prune_bundles(actor="cli:ana").digests) == old
    assert not superfluous_bundles()
    assert {digest for digest, _ in stored_digests(bundle_storage())} == {three[2].digest}


def test_D38_half_a_bundle_goes_once_it_is_a_day_old_with_what_was_being_written_and_its_signatures(home, monkeypatch):
    ready()
    left = bundle("left by a removal or a push that was killed")
    store_bundle(left)
    place = home / "bundles" / stored_name(left.digest, "manifest.json")
    place.unlink()
    (place.parent / ".model.onnx.0123456789abcdef").write_bytes(b"half")
    store_signature(left.digest, "ab" * 32, b"{}")
    assert not superfluous_bundles()
    age_of_bundles(monkeypatch, 2)
    assert superfluous_bundles().digests == (left.digest,)
    prune_bundles(actor="cli:ana")
    assert not list(place.parent.parent.iterdir())
    assert not superfluous_bundles()

    place.parent.mkdir()  # killed before the last step
    assert superfluous_bundles().digests == (left.digest,)
    prune_bundles(actor="cli:ana")
    assert not place.parent.exists()


def retired_version():
    first, _ = ready(2)
    prune_bundles(keep=1, actor="cli:ana")
    first.refresh_from_db()
    assert first.status == VersionStatus.RETIRED
    return first


def test_a_retired_version_that_is_pushed_again_is_registered_again_and_may_become_ready():
    retired = retired_version()
    with pytest.raises(Refused, match="Push it again"):
        actions.mark_ready(model="churn", version=1, actor="process:probe")
    again = actions.register_version(name="churn", bundle=bundle("churn graph 1"), actor="cli:ben", message="wanted")
    with pytest.raises(Refused, match="has not been probed yet"):
        actions.promote(model="churn", version=1, actor="cli:ben")
    assert (again.pk, again.number, again.status) == (retired.pk, 1, VersionStatus.REGISTERED)
    event = Event.objects.get(action="register_again")
    assert (event.actor, event.version, event.before, event.reason) == (
        "cli:ben",
        1,
        {"status": "retired"},
        "wanted",
    )
    assert event.after["status"] == "registered"
    assert actions.mark_ready(model="churn", version=1, actor="process:probe").is_ready
    assert fetch_bundle(again.digest).digest == retired.digest
    assert not again.routes.exists()
    assert not superfluous_bundles()
    assert intact()


def test_a_retired_version_whose_probe_fails_now_is_rejected():
    retired_version()
    registered("churn graph 1")
    found = actions.reject_version(model="churn", version=1, actor="process:probe", reason="it no longer loads")
    assert found.status == VersionStatus.REJECTED


def test_pruning_beside_a_push_of_a_bundle_that_lies_there_leaves_it_the_bundle(monkeypatch):
    left = bundle("left by a push that was killed")
    store_bundle(left)
    age_of_bundles(monkeypatch, 2)
    assert superfluous_bundles().digests == (left.digest,)

    def found_and_then_pruned(pushed):
        store_bundle(pushed)
        assert not superfluous_bundles()
        prune_bundles(actor="cli:ana")

    monkeypatch.setattr(versions, "store_bundle", found_and_then_pruned)
    version = registered("left by a push that was killed")
    assert fetch_bundle(version.digest) == left
    assert not BundleClaim.objects.exists()


def test_pruning_beside_a_push_under_another_name_leaves_it_the_bundle(monkeypatch):
    ready(2)

    def found_and_then_pruned(pushed):
        store_bundle(pushed)
        assert prune_bundles(keep=1, actor="cli:ana").versions

    monkeypatch.setattr(versions, "store_bundle", found_and_then_pruned)
    version = registered("churn graph 1", model="late")
    assert fetch_bundle(version.digest)
    assert version.status == VersionStatus.REGISTERED


def test_a_bundle_that_is_pushed_between_the_plan_and_the_removal_stays(monkeypatch):
    ready(2)
    change, pushed = bundle_pruning.changing, []

    @contextmanager
    def planned_and_then_pushed():
        with change() as changed:
            yield changed
        if not pushed:
            pushed.append("once")
            pushed[:] = [registered("churn graph 1")]

    monkeypatch.setattr(bundle_pruning, "changing", planned_and_then_pushed)
    assert prune_bundles(keep=1, actor="cli:ana").digests == ()
    (version,) = pushed
    assert fetch_bundle(version.digest)
    version.refresh_from_db()
    assert version.status == VersionStatus.REGISTERED


def test_a_push_that_lasted_longer_than_a_claim_is_refused_once_the_claim_was_cleared_away(monkeypatch):
    def for_a_day(pushed):
        store_bundle(pushed)
        BundleClaim.objects.update(at=timezone.now() - timedelta(days=2))
        prune_bundles(actor="cli:ana")

    monkeypatch.setattr(versions, "store_bundle", for_a_day)
    with pytest.raises(Conflict, match="push it again"):
        registered("slow")
    assert not ModelVersion.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_push_waits_for_a_removal_that_has_begun_and_stores_its_bundle_anew(monkeypatch):
    ready(2)
    asking = threading.Event()
    claim = versions.claim_bundle

    def asked(digest):
        asking.set()
        return claim(digest)

    monkeypatch.setattr(versions, "claim_bundle", asked)
    remove = bundle_pruning.remove_bundle
    pushed = []

    def push():
        try:
            pushed.append(registered("churn graph 1"))
        finally:
            connection.close()

    pushing = threading.Thread(target=push)

    def remove_while_somebody_pushes(storage, digest):
        storage.delete(stored_name(digest, "manifest.json"))
        pushing.start()
        assert asking.wait(60)
        pushing.join(0.5)  # it waits for the lock; one that did not would be through by now
        assert not pushed
        remove(storage, digest)

    monkeypatch.setattr(bundle_pruning, "remove_bundle", remove_while_somebody_pushes)
    prune_bundles(keep=1, actor="cli:ana")
    pushing.join(60)
    assert [version.status for version in pushed] == [VersionStatus.REGISTERED]
    assert fetch_bundle(pushed[0].digest)


@pytest.mark.django_db(transaction=True)
def test_pushes_and_prunes_that_race_leave_no_version_without_its_bundle():
    ready(2)
    rounds = scaled(test=6, ci=20, full=100, long=300)

    def push(_: int) -> None:
        try:
            version = registered("churn graph 1")
            actions.mark_ready(model="churn", version=version.number, actor="process:probe")
        except Refused:  # retired again before it was ready
            pass
        finally:
            connection.close()

    def prune(_: int) -> None:
        try:
            prune_bundles(keep=1, actor="cli:ana")
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            list(pool.map(lambda do: do(0), (push, prune)))
            for version in ModelVersion.objects.exclude(status=VersionStatus.RETIRED):
                assert fetch_bundle(version.digest)
    assert audit_history().broken is None
