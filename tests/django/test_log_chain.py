"""D35: whoever may write to the database directly cannot change what was recorded without `verify --log` naming it.

Each attack is one or two statements of SQL, as a superuser would type them with the triggers dropped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import connection
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from tests.django.worlds import MADE_AT, ready, record
from tests.scale import scaled
from trivet.control.predictions.auditing import audit_log
from trivet.control.predictions.models import LogHead, LogLink, Prediction
from trivet.control.predictions.sealing import link_sha256
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.history import audit_history, sha256_of
from trivet.control.registry.models import Event, RegistryState
from trivet.core.chain import canonical

pytestmark = pytest.mark.django_db
SECOND = 1_000_000_000


def sql(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def without_triggers() -> None:
    of_table = " ON trivet_event" if connection.vendor == "postgresql" else ""
    sql(f"DROP TRIGGER trivet_event_immutable{of_table}")


def shipped_world(batches: int = 3) -> None:
    """Three batches of three answers, two of them with two rows."""
    (version,) = ready()
    for batch in range(batches):
        moment = MADE_AT + batch * SECOND
        ship(
            [
                record(version, rows=rows, made_at=moment, entity_key="" if rows > 1 else f"c-{batch}")
                for rows in (1, 2, 2)
            ]
        )


def row(link: int, place: int) -> Prediction:
    return Prediction.objects.get(link=link, place=place)


def clone(prediction: Prediction, **changes: object) -> None:
    values = {field.attname: getattr(prediction, field.attname) for field in Prediction._meta.concrete_fields}
    Prediction.objects.bulk_create([Prediction(**{**values, "id": None, **changes})])


def exchange(
    one: Prediction, other: Prediction, *, but: set[str] = frozenset({"id", "link", "place", "sha256"})
) -> None:
    """Let two rows say what the other said, each in its place and with its hash."""
    names = {field.attname for field in Prediction._meta.concrete_fields} - but
    elsewhere = {"prediction_id": "0" * 32}  # a row is there once
    Prediction.objects.filter(pk=one.pk).update(**elsewhere)
    for row_id, theirs in ((other.pk, one), (one.pk, other)):
        Prediction.objects.filter(pk=row_id).update(**{name: getattr(theirs, name) for name in names})


def edit(column: str, value: str) -> Callable[[], None]:
    return lambda: sql(f"UPDATE trivet_prediction SET {column} = {value} WHERE link = 2 AND place = 3")


def reseal() -> None:
    """Edit a row and give it the hash that fits: the link knows better."""
    from trivet.control.predictions import auditing
    from trivet.control.predictions.sealing import row_sha256

    sql("UPDATE trivet_prediction SET decision = 'stays' WHERE link = 2 AND place = 3")
    edited = next(r for r in auditing._Audit(0)._read(auditing.FIRST_OF_ALL) if (r.link, r.place) == (2, 3))
    Prediction.objects.filter(pk=edited.id).update(sha256=row_sha256(edited.digest(), 2, 3))


def reseal_link() -> None:
    """Edit a link and give it the hash that fits: the link behind it knows better."""
    link, before = LogLink.objects.get(number=2), LogLink.objects.get(number=1)
    link.worker = "nobody"
    link.sha256 = link_sha256(link, before.sha256)
    link.save()


def restore_a_pruned_link() -> None:
    sql("UPDATE trivet_loglink SET pruned_by = 1 WHERE number = 2", "DELETE FROM trivet_prediction WHERE link = 2")


ATTACKS_ON_THE_LOG = {
    "decision": (edit("decision", "'stays'"), "edited", "link 2, place 3"),
    "score": (edit("score", "0.1"), "edited", "link 2, place 3"),
    "output": (edit("output", "'{}'"), "edited", "link 2, place 3"),
    "inputs": (edit("inputs", """'{"age": 1, "plan": "pro"}'"""), "edited", "link 2, place 3"),
    "inputs gone": (edit("inputs", "NULL"), "edited", "link 2, place 3"),
    "inputs and salt gone": (edit("salt", "'', inputs = NULL"), "edited", "link 2, place 3"),
    "salt": (edit("salt", f"'{'0' * 32}'"), "edited", "link 2, place 3"),
    "caller": (edit("caller", "'user:nobody'"), "edited", "link 2, place 3"),
    "time": (edit("made_at", "'2020-01-01 00:00:00'"), "edited", "link 2, place 3"),
    "version": (edit("version", "9"), "edited", "link 2, place 3"),
    "entity": (edit("entity_key", "'c-9'"), "edited", "link 2, place 3"),
    "its hash": (edit("sha256", f"'{'a' * 64}'"), "edited", "link 2, place 3"),
    "edited and resealed": (reseal, "edited", "link 2"),
    "said to be erased": (edit("erased_by", "99"), "edited", "link 2, place 3"),
    "erased without an Event": (edit("erased_by", "99, salt = '', inputs = NULL"), "edited", "Event 99"),
    "one row deleted": (
        lambda: sql("DELETE FROM trivet_prediction WHERE link = 2 AND place = 3"),
        "missing",
        "row of link 2, 3",
    ),
    "last row of a link deleted": (
        lambda: sql("DELETE FROM trivet_prediction WHERE link = 2 AND place = 4"),
        "missing",
        "row of link 2, 4",
    ),
    "rows of a link deleted": (
        lambda: sql("DELETE FROM trivet_prediction WHERE link = 2"),
        "missing",
        "row of link 2, 0",
    ),
    "the whole log deleted": (lambda: sql("DELETE FROM trivet_prediction"), "missing", "row of link 1, 0"),
    "pruned without an Event": (restore_a_pruned_link, "missing", "Event 1"),
    "exchanged": (lambda: exchange(row(2, 0), row(2, 1)), "out of order", "link 2, place 0"),
    "exchanged with another link": (lambda: exchange(row(1, 0), row(3, 0)), "edited", "link 1, place 0"),
    "exchanged, hashes too": (
        lambda: exchange(row(2, 0), row(2, 1), but={"id", "link", "place"}),
        "edited",
        "link 2, place 0",
    ),
    "moved in its link": (
        lambda: sql("UPDATE trivet_prediction SET place = 1 - place WHERE link = 2 AND place < 2"),
        "out of order",
        "link 2, place 1",
    ),
    "moved to another link": (
        lambda: sql("UPDATE trivet_prediction SET link = 1 WHERE link = 2 AND place = 4"),
        "inserted",
        ":1 (id",
    ),
    "a row at the end": (lambda: clone(row(3, 4), row=7), "inserted", ":7"),
    "a row without a link": (
        lambda: clone(row(3, 4), row=7, link=None, place=None, sha256=""),
        "not sealed",
        ":7",
    ),
    "a row of a link to come": (lambda: clone(row(3, 4), row=7, link=4, place=0), "inserted", ":7"),
    "link edited": (lambda: sql("UPDATE trivet_loglink SET rows = 4 WHERE number = 2"), "edited", "link 2"),
    "link edited and resealed": (reseal_link, "edited", "link 3"),
    "link deleted": (lambda: sql("DELETE FROM trivet_loglink WHERE number = 2"), "missing", "link 2"),
    "links exchanged": (
        lambda: sql(
            "UPDATE trivet_loglink SET number = 20 WHERE number = 2",
            "UPDATE trivet_loglink SET number = 2 WHERE number = 3",
            "UPDATE trivet_loglink SET number = 3 WHERE number = 20",
        ),
        "edited",
        "link 2",
    ),
    "the end cut off": (
        lambda: sql("DELETE FROM trivet_prediction WHERE link = 3", "DELETE FROM trivet_loglink WHERE number = 3"),
        "truncated",
        "link 3",
    ),
    "everything cut off": (
        lambda: sql("DELETE FROM trivet_prediction", "DELETE FROM trivet_loglink"),
        "truncated",
        "link 1",
    ),
    "the head replaced": (
        lambda: sql(f"UPDATE trivet_loghead SET sha256 = '{'b' * 64}'"),
        "edited",
        "link 3",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS_ON_THE_LOG, ids=str)
def test_D35_what_is_changed_in_the_log_is_named(attack: str):
    shipped_world()
    assert audit_log().broken is None
    change, kind, place = ATTACKS_ON_THE_LOG[attack]
    change()
    broken = audit_log().broken
    assert broken is not None
    assert (broken.kind, place in broken.place) == (kind, True), broken


def test_D35_every_column_of_a_row_is_under_its_seal():
    """One that a later release adds is named here, or in the record."""
    shipped_world()
    mine = row(2, 3)
    others = {"number": 77, "float": 77.5, "text": "elsewhere", "json": {"x": 1}, "bool": True}
    for field in Prediction._meta.concrete_fields:
        if field.name in {"id", "erased_by"}:  # where it stands is no part of what it says; erasure is told by Events
            continue
        kind = field.get_internal_type()
        word = "number" if "Integer" in kind else kind.removesuffix("Field").lower()
        value = {
            "char": "elsewhere"[: field.max_length],
            "uuid": "0" * 32,
            "datetime": row(1, 0).made_at,
            "boolean": True,
        }.get(word, others.get(word, "elsewhere"))
        Prediction.objects.filter(pk=mine.pk).update(**{field.name: value})
        assert audit_log().broken is not None, field.name
        Prediction.objects.filter(pk=mine.pk).update(**{field.name: getattr(mine, field.name)})
        assert audit_log().broken is None, field.name


@pytest.mark.parametrize("number", [0, -5])
@pytest.mark.parametrize("is_shipped", [True, False])
def test_D35_an_insertion_before_everything_is_found(number, is_shipped):
    shipped_world()
    forged = row(1, 0).prediction_id
    clone(row(1, 0), row=9, id=number, link=None, place=None, sha256="")
    if not is_shipped:
        LogLink.objects.all().delete()
        LogHead.objects.all().delete()
        Prediction.objects.filter(pk__gt=0).delete()
    broken = audit_log().broken
    assert broken is not None
    assert (broken.kind, f"{forged}:9" in broken.place) == ("not sealed", True)


def test_D35_an_insertion_where_older_rows_may_be_is_counted():
    (version,) = ready()
    ship([record(version) for _ in range(3)])
    Prediction.objects.update(link=None, place=None, sha256="", private_sha256="", salt="")
    LogLink.objects.all().delete()
    LogHead.objects.all().delete()
    ship([record(version)])
    first, second, *_ = Prediction.objects.order_by("pk")
    second.delete()
    assert (audit_log().older, audit_log().broken) == (2, None)
    clone(first, row=9, id=first.pk + 1)
    assert (audit_log().older, audit_log().broken) == (3, None)


def edit_event(assignment: str, generation: int = 2) -> Callable[[], None]:
    return lambda: sql(f"UPDATE trivet_event SET {assignment} WHERE generation = {generation}")


def insert_event() -> None:
    RegistryState.objects.update(generation=6)
    Event.objects.create(actor="user:mallory", action="promote", model="churn", version=1, generation=6)


def reseal_event() -> None:
    """Edit an Event and give it the hash that fits: the one behind it knows better."""
    event, before = Event.objects.get(generation=2), Event.objects.get(generation=1)
    event.actor = "nobody"
    Event.objects.filter(generation=2).update(actor="nobody", sha256=sha256_of(event, before.sha256))


ATTACKS_ON_THE_HISTORY = {
    "actor": (edit_event("actor = 'nobody'"), "edited", "Event 2"),
    "action": (edit_event("action = 'promote'"), "edited", "Event 2"),
    "before": (edit_event("""before = '{"x": 1}'"""), "edited", "Event 2"),
    "after": (edit_event("after = '{}'"), "edited", "Event 2"),
    "reason": (edit_event("reason = 'another'"), "edited", "Event 2"),
    "time": (edit_event("at = '2020-01-01 00:00:00'"), "edited", "Event 2"),
    "model": (edit_event("model = 'late'"), "edited", "Event 2"),
    "version": (edit_event("version = 7"), "edited", "Event 2"),
    "last one": (edit_event("actor = 'nobody'", 5), "edited", "Event 5"),
    "edited and resealed": (reseal_event, "edited", "Event 3"),
    "hash": (edit_event("sha256 = ''"), None, ""),  # it is folded into the next: nothing that was said has changed
    "edited, hash away": (edit_event("sha256 = '', actor = 'nobody'"), "edited", "Event 3"),
    "last one edited, hash away": (edit_event("sha256 = '', actor = 'nobody'", 5), "edited", "Event 5"),
    "deleted": (lambda: sql("DELETE FROM trivet_event WHERE generation = 2"), "missing", "Event 2"),
    "first deleted": (lambda: sql("DELETE FROM trivet_event WHERE generation = 1"), "missing", "Event 1"),
    "exchanged": (
        lambda: sql(
            "UPDATE trivet_event SET generation = 90 WHERE generation = 2",
            "UPDATE trivet_event SET generation = 2 WHERE generation = 3",
            "UPDATE trivet_event SET generation = 3 WHERE generation = 90",
        ),
        "edited",
        "Event 2",
    ),
    "inserted at the end": (insert_event, "not sealed", "Event 6"),
    "inserted beyond": (
        lambda: Event.objects.create(actor="user:mallory", action="promote", generation=9),
        "inserted",
        "Event 9",
    ),
    "inserted before": (
        lambda: Event.objects.create(actor="user:mallory", action="promote", generation=0),
        "inserted",
        "Event 0",
    ),
    "the end cut off": (lambda: sql("DELETE FROM trivet_event WHERE generation > 3"), "truncated", "Event 4"),
    "all cut off": (lambda: sql("DELETE FROM trivet_event"), "truncated", "Event 1"),
}


@pytest.mark.parametrize("attack", ATTACKS_ON_THE_HISTORY, ids=str)
def test_D35_what_is_changed_in_the_history_is_named(attack: str):
    for _ in range(2):
        ready(2)
    actions.set_anonymous(model="churn", anonymous=True, actor="cli:ana", reason="open day")
    assert audit_history().broken is None
    assert audit_history().events == 5
    without_triggers()
    change, kind, place = ATTACKS_ON_THE_HISTORY[attack]
    change()
    broken = audit_history().broken
    assert (broken and broken.kind, broken.place if broken else "") == (kind, place)


def head_of(capsys: pytest.CaptureFixture[str]) -> str:
    call_command("trivet", "verify", "--log", "--json")
    return str(json.loads(capsys.readouterr().out)["head"])


def verify(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    try:
        call_command("trivet", "verify", "--log", *words)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().out


def test_D35_a_head_that_was_kept_elsewhere_shows_a_log_made_anew(capsys):
    shipped_world()
    kept = head_of(capsys)
    (version,) = ready()
    ship([record(version)])
    assert verify(capsys, "--expect", kept)[0] == 0  # the log has grown since

    LogLink.objects.filter(number__gte=3).delete()  # cut off, and the head moved back: the chain holds by itself
    Prediction.objects.filter(link__gte=3).delete()
    LogHead.objects.update(links=2, sha256=LogLink.objects.get(number=2).sha256)
    assert verify(capsys)[0] == 0
    code, out = verify(capsys, "--expect", kept)
    assert (code, "truncated: links 3 to 3 are gone" in out) == (1, True)

    ship([record(version)])  # and another third link
    code, out = verify(capsys, "--expect", kept)
    assert (code, "not as expected" in out) == (1, True)
    assert verify(capsys, "--expect", "7")[0] == 2


def test_D35_a_head_that_got_lost_on_the_way_is_no_head_that_fits(capsys):
    shipped_world()
    assert verify(capsys, "--expect", "")[0] == 2  # as `--expect "$(cat head)"` gives, where there is no such file


@pytest.mark.parametrize("also", [["churn"], ["--all"]])
def test_the_log_of_one_model_alone_is_not_pretended_to_be_verified(capsys, also):
    shipped_world()
    assert verify(capsys, *also)[0] == 2


def test_D35_the_verb_names_the_first_break_and_ends_with_1(capsys):
    shipped_world()
    code, out = verify(capsys)
    assert (code, "15 predictions in 3 links of one chain" in out, "head 2." in out) == (0, True, True)
    edit("decision", "'stays'")()
    code, out = verify(capsys)
    assert code == 1
    assert f"edited: row {row(2, 3).public_id} (link 2, place 3) is not what was written" in out


def test_rows_that_are_there_already_are_in_one_link_only():
    (version,) = ready()
    first, second = record(version, rows=2), record(version)
    ship([first])
    ship([first, second, second, first])
    ship([first, second])
    assert list(LogLink.objects.order_by("number").values_list("rows", flat=True)) == [2, 1]
    assert audit_log()[:3] == (2, 3, 0)
    assert audit_log().broken is None


def test_rows_of_a_release_without_the_chain_are_told_apart():
    (version,) = ready()
    ship([record(version)])
    Prediction.objects.update(link=None, place=None, sha256="", private_sha256="", salt="")
    LogLink.objects.all().delete()
    LogHead.objects.all().delete()
    assert (audit_log().older, audit_log().rows, audit_log().broken) == (1, 0, None)
    ship([record(version)])
    assert (audit_log().older, audit_log().rows, audit_log().broken) == (1, 1, None)


def test_events_of_a_release_without_the_chain_are_taken_in_with_the_next():
    ready()
    state = RegistryState.objects.get()
    Event.objects.create(actor="cli:old", action="promote", model="churn", generation=3)
    RegistryState.objects.update(generation=3)
    assert audit_history().broken.kind == "not sealed"
    actions.set_anonymous(model="churn", anonymous=True, actor="cli:ana")
    assert audit_history().broken is None
    assert audit_history().events == 4
    without_triggers()
    sql("UPDATE trivet_event SET actor = 'cli:other' WHERE generation = 3")
    assert audit_history().broken.kind == "edited"
    assert state.head_generation == 2


floats = st.floats() | st.sampled_from([-0.0, 1e16, 1e17, -1e22, 1.5e300, 5e-324, 1e-7, 12345678901234567.0, 2.0**63])
numbers = floats | st.integers(-(2**63), 2**64 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.sampled_from(["1e16", "-0.0", "e1", "1e5x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def finite(value: object) -> object:
    """Return `value` as the log keeps it: NaN and infinities are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: finite(element) for name, element in value.items()}
    return [finite(element) for element in value] if isinstance(value, list) else value


@given(value=values)
@hypothesis_settings(
    max_examples=scaled(test=60, ci=500, full=5000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_D35_what_a_database_gives_back_has_the_form_of_what_it_took(value):
    (version,) = ready()
    Prediction.objects.all().delete()
    LogLink.objects.all().delete()
    LogHead.objects.all().delete()
    sent = record(version, digest="f" * 64, inputs=[[value]], outputs=[[value]], output_names=["prediction"])
    ship([sent])
    kept = Prediction.objects.get()
    assert canonical(kept.inputs["input_0"]) == canonical([finite(value)])
    assert audit_log().broken is None
