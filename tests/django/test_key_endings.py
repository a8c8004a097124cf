"""How an API key is rotated, when it was last used, and whom it ends with."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from tests.django.command_line import verb
from trivet import conf
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, Event
from trivet.control.registry.snapshots import build_snapshot, current_generation
from trivet.core.errors import InvalidRequest, Refused, Unauthenticated
from trivet.core.keys import parse_key
from trivet.dataplane import authentication
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.table import Table

pytestmark = pytest.mark.django_db
GRANTS = {"churn": ["predict"]}


@pytest.fixture
def ben():
    return get_user_model().objects.create_user("ben")


def issue(owner=None, **more):
    return actions.issue_key(name="k", grants=GRANTS, owner=owner, actor="cli:ana", **more)


def is_let_in(*keys):
    """Return for each text of a key whether a worker with the newest snapshot would let it in."""
    snapshot = build_snapshot()
    table = Table(snapshot, callers={key: Caller(f"key:{key}", entry.grants) for key, entry in snapshot.keys.items()})

    def ask(text):
        try:
            return authentication.authenticate(table, conf.peppers(), text) is table.callers[parse_key(text).id]
        except Unauthenticated:
            return False

    return [ask(key) for key in keys]


def test_D18_a_rotation_keeps_id_and_grants_and_both_secrets_until_its_end(monkeypatch):
    key, first = issue()
    same, second = actions.rotate_key(key=key.pk, actor="cli:ana", overlap=timedelta(hours=2), reason="yearly")
    assert (same.pk, same.grants, parse_key(second).id) == (key.pk, key.grants, key.pk)
    assert is_let_in(first, second) == [True, True]
    told = Event.objects.first()
    assert (told.action, told.after["key"], told.reason) == ("rotate_key", key.pk, "yearly")
    assert first not in json.dumps(told.after)
    assert second not in json.dumps(told.after)
    later = timezone.now().timestamp() + 2 * 3600 + 1
    monkeypatch.setattr(authentication.time, "time", lambda: later)
    assert is_let_in(first, second) == [False, True]


def test_D18_never_are_there_three_secrets():
    key, first = issue()
    _, second = actions.rotate_key(key=key.pk, actor="cli:ana")
    generation = current_generation()
    with pytest.raises(Refused, match="has two secrets until"):
        actions.rotate_key(key=key.pk, actor="cli:ana")
    assert current_generation() == generation
    _, third = actions.rotate_key(key=key.pk, actor="cli:ana", at_once=True)
    assert is_let_in(first, second, third) == [False, False, True]
    assert ApiKey.objects.get().previous_hash is None, "what is over is not kept"
    _, fourth = actions.rotate_key(key=key.pk, actor="cli:ana")
    assert is_let_in(second, third, fourth) == [False, True, True]
    ApiKey.objects.update(previous_until=timezone.now() - timedelta(seconds=1))
    _, fifth = actions.rotate_key(key=key.pk, actor="cli:ana")
    assert is_let_in(third, fourth, fifth) == [False, True, True]


def test_a_key_that_is_over_is_not_rotated():
    key, text = issue()
    actions.rotate_key(key=key.pk, actor="cli:ana")
    actions.revoke_key(key=key.pk, actor="cli:ana")
    assert is_let_in(text) == [False], "with both of its secrets"
    with pytest.raises(Refused, match="not valid any more"):
        actions.rotate_key(key=key.pk, actor="cli:ana")
    with pytest.raises(InvalidRequest):
        actions.rotate_key(key=key.pk, actor="cli:ana", overlap=timedelta())


def test_D15_an_expired_key_is_over_with_both_of_its_secrets(monkeypatch):
    key, first = issue(expires=timedelta(hours=1))
    _, second = actions.rotate_key(key=key.pk, actor="cli:ana", overlap=timedelta(days=7))
    later = timezone.now().timestamp() + 3601
    monkeypatch.setattr(authentication.time, "time", lambda: later)
    assert is_let_in(first, second) == [False, False]


def test_D15_a_key_ends_with_its_owner_and_only_theirs(ben, django_capture_on_commit_callbacks):
    (key, text), (_, others) = issue(ben), issue()
    assert is_let_in(text, others) == [True, True]
    ben.is_active = False
    with django_capture_on_commit_callbacks(execute=True):
        ben.save()
    assert is_let_in(text, others) == [False, True]
    told = Event.objects.first()
    assert (told.action, told.after["key"], told.reason) == ("revoke_key", key.pk, "its owner ben was disabled")
    ben.is_active = True
    ben.save()
    assert is_let_in(text) == [False], "who comes back gets a new one"


def test_D15_a_key_ends_with_an_owner_who_is_deleted(ben, django_capture_on_commit_callbacks):
    _, text = issue(ben)
    with django_capture_on_commit_callbacks(execute=True):
        ben.delete()
    assert is_let_in(text) == [False]
    key = ApiKey.objects.get()
    assert (key.owner, key.owner_name, Event.objects.first().reason) == (None, "ben", "its owner ben was deleted")


@pytest.mark.parametrize("deed", ["update", "delete"])
def test_D15_before_anybody_has_noticed_no_new_snapshot_has_it(ben, deed):
    key, text = issue(ben)
    users = get_user_model().objects.filter(pk=ben.pk)
    users.update(is_active=False) if deed == "update" else users.delete()
    assert is_let_in(text) == [False]
    assert not ApiKey.objects.get().is_usable
    with pytest.raises(Refused):
        actions.rotate_key(key=key.pk, actor="cli:ana")
    assert [one.pk for one in actions.revoke_orphaned_keys(actor="process:test")] == [key.pk]
    assert actions.revoke_orphaned_keys(actor="process:test") == [], "once"


def test_a_key_for_somebody_who_is_disabled_is_refused(ben):
    ben.is_active = False
    ben.save()
    with pytest.raises(Refused, match="'ben' is disabled"):
        issue(ben)


def test_D18_a_last_use_is_written_when_a_minute_has_passed_and_not_before():
    (key, _), (other, _) = issue(), issue()
    generation = current_generation()
    ApiKey.objects.all().note_use([key.pk])
    first = ApiKey.objects.get(pk=key.pk).last_used_at
    ApiKey.objects.all().note_use([key.pk])
    assert ApiKey.objects.get(pk=key.pk).last_used_at == first
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=first - timedelta(seconds=61))
    ApiKey.objects.all().note_use([key.pk])
    assert ApiKey.objects.get(pk=key.pk).last_used_at >= first
    assert ApiKey.objects.get(pk=other.pk).last_used_at is None
    assert current_generation() == generation, "no worker reads anything for it"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not connection.features.has_select_for_update_skip_locked, reason="this database locks no rows")
def test_D18_a_key_that_another_process_writes_just_now_is_left_to_it():
    (waited_for, _), (free, _) = issue(), issue()
    another = connection.copy()
    another.set_autocommit(False)
    try:
        with another.cursor() as cursor:
            cursor.execute("SELECT id FROM trivet_apikey WHERE id = %s FOR UPDATE", [waited_for.pk])
            ApiKey.objects.all().note_use([waited_for.pk, free.pk])  # else it would wait for ever
        assert ApiKey.objects.get(pk=waited_for.pk).last_used_at is None
        assert ApiKey.objects.get(pk=free.pk).last_used_at is not None
    finally:
        another.rollback()
        another.close()


def test_D18_one_process_writes_a_use_once_a_minute_and_asks_no_more_often(monkeypatch, transactional_db):
    from trivet.control.registry.models import WorkerKind
    from trivet.serving import process

    key, _ = issue()
    one = process.Process(WorkerKind.PROCESS)
    try:
        one.step()
        clock = [1000.0]
        monkeypatch.setattr(process.time, "monotonic", lambda: clock[0])
        asked = []
        monkeypatch.setattr(process.ApiKey.objects.all().__class__, "note_use", lambda _self, ids: asked.append(ids))
        for seconds in (0, 1, 30, 59, 60, 61, 121):
            clock[0] = 1000.0 + seconds
            one.plane.table.used.add(key.pk)
            one._look_after_keys()
            assert not one.plane.table.used
        assert asked == [[key.pk]] * 3, "at 0, at 60 and at 121 seconds"
    finally:
        monkeypatch.undo()
        one.stop()


def test_the_verb_makes_lists_and_rotates_the_key_of_somebody(ben, capsys):
    made = verb(capsys, "keys", "create", "notebook", "--model=churn", "--verb=predict", "--owner=ben")[1]
    assert verb(capsys, "keys", "create", "x", "--model=churn", "--verb=predict", "--owner=bem")[0] == 4
    (listed,) = verb(capsys, "keys", "list")[1]
    assert (listed["owner"], listed["state"], listed["last_used_at"]) == ("ben", "valid", None)
    code, rotated = verb(capsys, "keys", "rotate", made["id"], "--overlap=2h")
    assert (code, is_let_in(made["key"], rotated["key"])) == (0, [True, True])
    assert rotated["previous_until"] is not None
    assert verb(capsys, "keys", "rotate", made["id"])[0] == 3
    assert verb(capsys, "keys", "rotate", made["id"], "--at-once", "--overlap=2h")[0] == 2
    code, last = verb(capsys, "keys", "rotate", made["id"], "--at-once")
    assert (code, is_let_in(made["key"], rotated["key"], last["key"])) == (0, [False, False, True])
    get_user_model().objects.update(is_active=False)
    assert verb(capsys, "keys", "list")[1][0]["state"] == "owner is disabled"
