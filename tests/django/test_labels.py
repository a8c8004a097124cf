"""What turned out true: joined to its prediction, once, corrected by revisions, and refused to whom it is not."""

from __future__ import annotations

import itertools
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.django.declared import declaring
from tests.django.people import grant, person
from tests.django.turns import hurry
from tests.django.worlds import ready, ready_free, record
from tests.scale import scaled
from trivet import signals
from trivet.control.predictions import joining, labelling
from trivet.control.predictions.joining import is_same
from trivet.control.predictions.labelling import (
    APPLIED,
    REFUSED,
    REPEATED,
    REVISED,
    WAITING,
    LabelChange,
    apply_labels,
    apply_waiting,
    retry_waiting,
    say,
)
from trivet.control.predictions.models import Label, LabelState, Prediction
from trivet.control.predictions.pruning import forget, prune_log
from trivet.control.predictions.shipping import ship, shipped_offset
from trivet.control.registry import actions
from trivet.control.registry.declarations import Declaration
from trivet.control.registry.models import Event, ModelVersion
from trivet.core.errors import InvalidRequest, NotFound, PermissionDenied, Refused
from trivet.core.ids import new_prediction_id
from trivet.core.records import LabelRecord, PredictionRecord, SaidLabel, encode_record
from trivet.dataplane.metrics.tally import Tally
from trivet.dataplane.spool import Spool
from trivet.serving.keeper import Keeper, counting_of_keeper

pytestmark = pytest.mark.django_db

OWN = "key:abcdefgh"  # the caller of `record`
SECOND = 10**9
DAY = 24 * 3600 * SECOND
_later = itertools.count(1)


def now_ns() -> int:
    return int(timezone.now().timestamp() * 1e9)


def said(*labels: SaidLabel, model: str = "churn", caller: str = OWN, received_at: int = 0) -> LabelRecord:
    """Return what one request brought, each a little later than the one before."""
    return LabelRecord(new_prediction_id(), received_at or now_ns() + next(_later), model, caller, list(labels))


def of(answer: PredictionRecord, value: Any, row: int = 0, **fields: Any) -> SaidLabel:
    return SaidLabel(value, answer.id, row, **fields)


def asked(version: ModelVersion, rows: int = 1, **changes: Any) -> PredictionRecord:
    """Ship an answer that was just given."""
    answer = record(version, rows, **{"made_at": now_ns() - SECOND, **changes})
    ship([answer])
    return answer


def results(*records: LabelRecord, **options: Any) -> dict[str, int]:
    """Apply labels; return how many came to what."""
    return {result: count for (_, result), count in apply_labels(records, **options).items()}


def applied(answer: PredictionRecord, row: int = 0) -> list[tuple[int, Any]]:
    rows = Label.objects.filter(state=LabelState.APPLIED, prediction_id=answer.id, row=row)
    return list(rows.order_by("revision").values_list("revision", "value"))


@pytest.fixture
def version() -> ModelVersion:
    (version,) = ready()
    return version


@pytest.fixture
def free() -> ModelVersion:
    """A version without classes, of which anything may turn out true."""
    return ready_free()


# --- join, repeat, correct --------------------------------------------------------------------------------------------


def test_48_a_label_stands_beside_its_row_and_moves_the_cursor_with_it(version, django_capture_on_commit_callbacks):
    answer = asked(version, rows=3)
    heard: list[dict[str, Any]] = []
    signals.label_recorded.connect(receiver := lambda **told: heard.append(told))
    observed = now_ns() - SECOND // 2
    with django_capture_on_commit_callbacks(execute=True):
        labels = said(of(answer, "churned", 2, observed_at=observed, source="tower"))
        assert results(labels, cursor=("w", 1, 99)) == {APPLIED: 1}
    signals.label_recorded.disconnect(receiver)

    label = Label.objects.get()
    assert (str(label.prediction_id), label.row, label.value, label.revision) == (answer.id, 2, "churned", 1)
    assert (label.model, label.caller, label.source, str(label.receipt)) == ("churn", OWN, "tower", labels.receipt)
    assert label.observed_at < label.received_at
    assert shipped_offset("w", 1) == 99
    (told,) = heard
    assert (told["prediction"].public_id, told["value"], told["source"], told["revision"]) == (
        f"{answer.id}:2",
        "churned",
        "tower",
        1,
    )


def test_48_the_same_again_changes_nothing_and_another_value_is_a_revision(version):
    answer = asked(version)
    assert results(said(of(answer, "churned"))) == {APPLIED: 1}
    assert results(said(of(answer, "churned")), said(of(answer, "churned", source="other"))) == {REPEATED: 2}
    assert results(said(of(answer, "stays"), of(answer, "stays"), of(answer, "churned"))) == {REVISED: 2, REPEATED: 1}
    assert applied(answer) == [(1, "churned"), (2, "stays"), (3, "churned")]


def test_48_beside_hears_what_was_taken_away_and_what_was_added(version):
    answer, heard = asked(version), []
    observed = now_ns() - SECOND // 2
    apply_labels([said(of(answer, "churned", observed_at=observed, weight=2.0))], beside=heard.extend)
    apply_labels([said(of(answer, "churned"), of(answer, "stays"))], beside=heard.extend)
    first, second = heard
    row = Prediction.objects.get()
    assert first == LabelChange(
        model="churn",
        version=1,
        digest=version.digest,
        kind="predict",
        made_at=row.made_at,
        score=0.75,
        decision="churned",
        old_value=None,
        new_value="churned",
        observed_at=Label.objects.get(revision=1).observed_at,
        weight=2.0,
        prediction_id=row.prediction_id,
        row=0,
    )
    assert (second.old_value, second.new_value) == ("churned", "stays")
    assert (second.old_observed_at, second.old_weight) == (first.observed_at, 2.0)


def test_48_nothing_is_left_where_beside_fails(version):
    answer = asked(version)

    def fails(_changes):
        raise KeyError("strange")

    with pytest.raises(KeyError):
        apply_labels([said(of(answer, "churned"))], cursor=("w", 1, 9), beside=fails)
    assert (Label.objects.count(), shipped_offset("w", 1)) == (0, 0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (True, True, True),
        (True, 1, False),
        (1, 1.0, True),
        (10**300, 1e300, True),
        ("1", 1, False),
        ([1, "a"], [1.0, "a"], True),
        ([1, "a"], [True, "a"], False),
        ([1], [1, 1], False),
        ([], False, False),
    ],
)
def test_48_what_counts_as_the_same(one: Any, other: Any, same: bool):
    assert is_same(one, other) is is_same(other, one) is same


def test_48_an_entity_key_finds_the_newest_prediction_before_what_was_observed(version):
    now = now_ns()
    first, second, third = (asked(version, entity_key="c-17", made_at=now - days * DAY) for days in (30, 20, 10))
    asked(version, entity_key="c-18", made_at=now - 16 * DAY)
    assert results(said(SaidLabel("stays", entity_key="c-17", observed_at=now - 15 * DAY))) == {APPLIED: 1}
    assert (applied(first), applied(second), applied(third)) == ([], [(1, "stays")], [])
    assert Label.objects.get().entity_key == "c-17"
    assert results(said(SaidLabel("churned", entity_key="c-17"))) == {APPLIED: 1}
    assert applied(third) == [(1, "churned")]


@pytest.mark.parametrize(("days", "came_to"), [(89, APPLIED), (91, WAITING)])
def test_48_an_entity_key_finds_nothing_beyond_the_horizon(version, days: int, came_to: str):
    now = now_ns()
    asked(version, entity_key="c-17", made_at=now - days * DAY)
    assert results(said(SaidLabel("stays", entity_key="c-17", observed_at=now))) == {came_to: 1}
    with declaring("churn", Declaration(matures=timedelta(days=days + 1))):
        later = results(said(SaidLabel("churned", entity_key="c-17", observed_at=now)))
    assert later.keys() <= {APPLIED, REVISED}
    with declaring("churn", Declaration(matures=timedelta(hours=36))):
        assert results(said(SaidLabel("stays", entity_key="c-17", observed_at=now))) == {WAITING: 1}


def test_48_a_host_whose_clock_is_behind_still_joins_what_it_says_nothing_of(version):
    answer = asked(version, entity_key="c-17", made_at=now_ns() + 20 * SECOND)
    assert results(said(SaidLabel("stays", entity_key="c-17"))) == {APPLIED: 1}
    assert applied(answer) == [(1, "stays")]


def test_48_an_entity_with_many_predictions_is_found_alike(free, monkeypatch):
    now = now_ns()
    answers = [asked(free, entity_key="c-17", made_at=now - minutes * 60 * SECOND) for minutes in (9, 8, 7, 6)]
    foreign = asked(free, entity_key="c-17", made_at=now - 330 * SECOND, caller="key:zzzzzzzz")
    for few in (50, 2):
        monkeypatch.setattr(joining, "FEW", few)
        Label.objects.all().delete()
        labels = [SaidLabel(n, entity_key="c-17", observed_at=now - n * 60 * SECOND) for n in (5, 7, 8, 20)]
        assert results(said(*labels)) == {APPLIED: 3, WAITING: 1}
        assert [applied(answer) for answer in (*answers, foreign)] == [[], [(1, 8)], [(1, 7)], [(1, 5)], []]
        assert results(said(SaidLabel(1, entity_key="c-17"), caller="key:99999999")) == {REFUSED: 1}


def test_48_a_thousand_labels_of_entities_take_few_queries(version):
    asked(version, entity_key="c-17")
    labels = said(*(SaidLabel("stays", entity_key=f"c-{n}") for n in range(1000)))
    with CaptureQueriesContext(connection) as queries:
        assert results(labels) == {APPLIED: 1, WAITING: 999}
    assert len([query for query in queries if "SELECT" in query["sql"]]) < 12


def test_48_an_index_finds_what_an_entity_key_is_about(version):
    asked(version, entity_key="c-17")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        apply_labels([said(SaidLabel("stays", entity_key="c-17"))])
    looks = [query["sql"] for query in queries if "'c-17'" in query["sql"] and query["sql"].startswith("SELECT")]
    assert len(looks) == 2
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for look in looks:
                cursor.execute(f"EXPLAIN QUERY PLAN {look}")
                assert "trivet_prediction_of_entity" in str(cursor.fetchall())


def test_48_values_no_database_keeps_are_kept_all_the_same(free):
    answer = asked(free, entity_key="k\0")
    assert results(said(of(answer, ["a\0"], source="\0"), SaidLabel(2**64 - 1, entity_key="k\0"))) == {
        APPLIED: 1,
        REVISED: 1,
    }
    assert applied(answer) == [(1, ["a␀"]), (2, 2**64 - 1)]


def test_48_shadows_have_no_labels_and_ids_of_another_model_are_refused(version):
    shadow = asked(version, kind="shadow")
    assert results(said(of(shadow, True))) == {WAITING: 1}
    assert results(said(of(asked(version), True), model="other")) == {REFUSED: 1}
    assert Label.objects.get(state=REFUSED).reason == "the prediction is another model's."


VALUES = st.lists(st.sampled_from([True, False, 1, 0, 1.0, "a", "b", ["a"], ["a", 1]]), min_size=1, max_size=12)


@settings(
    max_examples=scaled(test=20, ci=100, full=300),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_48_whatever_is_said_in_whatever_parts_the_last_value_stands_and_changes_add_up(free, data):
    answer, changes = asked(free), []
    values = data.draw(VALUES)
    parts = data.draw(st.lists(st.integers(1, 4), max_size=12))
    rest = list(values)
    while rest:
        size = parts.pop() if parts else len(rest)
        labels, rest = rest[:size], rest[size:]
        apply_labels([said(*(of(answer, value) for value in labels))], beside=changes.extend)
    distinct = [value for value, before in zip(values, [None, *values], strict=False) if not is_same(value, before)]
    kept = applied(answer)
    assert [revision for revision, _ in kept] == list(range(1, len(distinct) + 1))
    assert all(is_same(one, other) for (_, one), other in zip(kept, distinct, strict=True))
    assert [change.new_value for change in changes] == distinct
    assert [change.old_value for change in changes] == [None, *distinct[:-1]]


# --- whose predictions ------------------------------------------------------------------------------------------------


def key_of(name: str, owner: Any = None) -> str:
    key, _ = actions.issue_key(name=name, grants={"churn": ["predict", "label"]}, actor="cli:ana", owner=owner)
    return f"key:{key.pk}"


def test_D44_a_key_labels_what_was_asked_by_keys_of_its_owner_and_nothing_else(version):
    ben, eva = person(name="ben"), person(name="eva")
    bens, bens_other, evas = key_of("a", ben), key_of("b", ben), key_of("c", eva)
    alone, another = key_of("d"), key_of("e")
    callers = (bens, bens_other, evas, alone, another, "user:ben", "process:root", "anonymous")
    answers = {caller: asked(version, caller=caller, entity_key=f"of {caller}") for caller in callers}
    for labeller, may in (
        (bens, {bens, bens_other, "user:ben"}),
        (evas, {evas}),
        (alone, {alone}),
        ("key:00000000", set()),
        ("user:eva", set(callers)),
        ("process:root", set(callers)),
    ):
        Label.objects.all().delete()
        labels = [of(answer, "churned") for answer in answers.values()]
        came = results(said(*labels, caller=labeller))
        assert {answer.id for answer in answers.values() if applied(answer)} == {answers[one].id for one in may}
        assert came.get(REFUSED, 0) == len(callers) - len(may)
        Label.objects.all().delete()
        results(said(*(SaidLabel("stays", entity_key=f"of {caller}") for caller in callers), caller=labeller))
        assert {answer.id for answer in answers.values() if applied(answer)} == {answers[one].id for one in may}
    assert set(Label.objects.values_list("reason", flat=True)) <= {"", labelling.OF_OTHERS}


def test_D44_an_entity_of_several_owners_is_labelled_where_it_is_ones_own(version):
    own = asked(version, entity_key="c-17", made_at=now_ns() - 9 * SECOND)
    other = asked(version, entity_key="c-17", caller="key:zzzzzzzz")
    assert results(said(SaidLabel("stays", entity_key="c-17"))) == {APPLIED: 1}
    assert (applied(own), applied(other)) == ([(1, "stays")], [])


# --- before its prediction, and never -----------------------------------------------------------------------------------


def test_48_a_row_that_the_request_had_not_is_refused_at_once_and_tells_others_nothing(version):
    answer, another = asked(version, rows=2), ready(model="other")[0].model.name
    assert results(said(of(answer, "stays", 1), of(answer, "stays", 2))) == {APPLIED: 1, REFUSED: 1}
    assert Label.objects.get(state=REFUSED).reason == labelling.NO_SUCH_ROW
    assert results(said(of(answer, "stays", 2), caller=key_of("e"))) == {REFUSED: 1}
    assert Label.objects.filter(reason=labelling.OF_OTHERS).count() == 1
    (told,) = say([of(answer, "stays", 5)], actor="process:root")
    assert isinstance(told, Refused)
    assert told.message == f"{answer.id}:5: the prediction has fewer rows; the first is 0."
    (told,) = say([of(answer, "stays", 5)], actor="process:root", model=another)
    assert "another model" in told.message
    with pytest.raises(NotFound):
        say([of(answer, "stays", 5)], actor=person(name="ana"))
    late = record(version, 2)
    assert results(said(of(late, "stays", 2))) == {WAITING: 1}
    ship([late])
    assert apply_waiting([late]) == {("churn", REFUSED): 1}


def test_48_a_label_that_overtakes_its_prediction_waits_and_is_applied_when_that_comes(version):
    late = record(version, 2, made_at=now_ns(), entity_key="c-17")
    labels = said(of(late, "stays", 1), SaidLabel("churned", entity_key="c-17"), of(record(version), "never"))
    assert results(labels) == {WAITING: 3}
    assert set(Label.objects.values_list("state", "reason")) == {("waiting", labelling.NOT_THERE)}
    heard: list[LabelChange] = []
    ship([late])
    assert apply_waiting([late], beside=heard.extend) == {("churn", APPLIED): 1, ("churn", REVISED): 1}
    assert applied(late, 1) == [(1, "stays"), (2, "churned")]
    assert [change.new_value for change in heard] == ["stays", "churned"]
    assert apply_waiting([late]) == {}
    assert Label.objects.filter(state=WAITING).count() == 1


def test_48_where_nothing_waits_a_batch_costs_one_look(version, django_assert_num_queries):
    answer = asked(version)
    with django_assert_num_queries(1):
        apply_waiting([answer])


def test_48_a_label_that_waits_and_was_overtaken_by_a_correction_does_not_undo_it(version):
    late = record(version, made_at=now_ns())
    apply_labels([said(of(late, "stays"))])
    ship([late])
    apply_labels([said(of(late, "churned"))])
    assert apply_waiting([late]) == {("churn", REFUSED): 1}
    assert applied(late) == [(1, "churned")]


def test_48_a_repeat_that_waited_leaves_no_row(version):
    late = record(version, made_at=now_ns())
    apply_labels([said(of(late, "stays")), said(of(late, "stays"))])
    ship([late])
    assert apply_waiting([late]) == {("churn", APPLIED): 1, ("churn", REPEATED): 1}
    assert Label.objects.count() == 1


def test_D44_an_unknown_id_is_refused_after_seven_days_and_not_before(version):
    forged = SaidLabel(True, str(uuid.uuid4()))
    old, young = (said(forged, received_at=now_ns() - age) for age in (7 * DAY + SECOND, 7 * DAY - 60 * SECOND))
    assert results(old, young) == {WAITING: 2}
    assert sum(retry_waiting(), start=labelling.Counter()) == {("churn", REFUSED): 1}
    refused = Label.objects.get(state=REFUSED)
    assert (str(refused.receipt), refused.reason) == (old.receipt, labelling.NEVER_CAME)
    assert sum(retry_waiting(), start=labelling.Counter()) == {}


def test_D44_what_came_late_is_found_by_the_nightly_pass(version):
    late = record(version, made_at=now_ns(), entity_key="c-17")
    apply_labels([said(SaidLabel("churned", entity_key="c-17"), of(record(version), 1))])
    ship([late])
    assert sum(retry_waiting(), start=labelling.Counter()) == {("churn", APPLIED): 1}
    assert applied(late) == [(1, "churned")]


# --- who is forgotten, what is pruned -------------------------------------------------------------------------------------


def test_D38_whom_one_forgets_is_in_no_label_but_what_became_of_answers_stays(version):
    answer = asked(version, entity_key="canary-7f3a")
    waits = SaidLabel("canary value", entity_key="canary-7f3a", observed_at=now_ns() - DAY)
    assert results(said(SaidLabel("churned", entity_key="canary-7f3a"), waits)) == {APPLIED: 1, WAITING: 1}
    in_a_spool = said(SaidLabel("canary later", entity_key="canary-7f3a"), of(answer, "stays"))
    forget("canary-7f3a", actor="cli:ana")
    assert results(in_a_spool) == {REFUSED: 1, REVISED: 1}
    assert applied(answer) == [(1, "churned"), (2, "stays")]
    assert "canary" not in str(list(Label.objects.values()))
    assert not list(retry_waiting())


def test_D38_labels_outlive_their_predictions_and_a_correction_then_is_refused(version):
    answer = asked(version)
    apply_labels([said(of(answer, "stays"))])
    prune_log(timezone.now(), actor="cli:ana")
    assert not Prediction.objects.exists()
    assert results(said(of(answer, "churned"))) == {REFUSED: 1}
    assert Label.objects.get(state=REFUSED).reason == labelling.PRUNED
    assert applied(answer) == [(1, "stays")]


# --- who waits for an answer ----------------------------------------------------------------------------------------------


def test_48_who_waits_is_told_what_became_of_each(version):
    answer = asked(version, entity_key="c-17")
    first, again, corrected, unknown = say(
        [
            of(answer, "churned"),
            SaidLabel("churned", entity_key="c-17"),
            of(answer, "stays"),
            of(record(version), True),
        ],
        actor="process:root",
        model="churn",
    )
    assert (first.prediction, first.model, first.revision, first.is_new) == (f"{answer.id}:0", "churn", 1, True)
    assert (again.revision, again.is_new) == (1, False)
    assert (corrected.value, corrected.revision) == ("stays", 2)
    assert isinstance(unknown, NotFound)
    assert Label.objects.filter(state=APPLIED).count() == Label.objects.count() == 2
    (other,) = say([of(answer, "churned")], actor="process:root")
    assert other.revision == 3
    (refused,) = say([of(answer, "churned")], actor="process:root", model=ready(model="other")[0].model.name)
    assert isinstance(refused, Refused)
    with pytest.raises(NotFound, match="no model"):
        say([of(answer, "churned")], actor="process:root", model="made-up")
    with pytest.raises(InvalidRequest, match="name the model"):
        say([SaidLabel("churned", entity_key="c-17")], actor="process:root")


def test_D44_a_person_labels_what_they_may_and_else_learns_nothing(version):
    answer = asked(version, caller="key:zzzzzzzz")
    eva = person("label", "view_registeredmodel", name="eva")
    ben, ana = person("view_registeredmodel", name="ben"), person(name="ana")
    (done,) = say([of(answer, "churned")], actor=eva)
    assert (done.revision, Label.objects.get().caller) == (1, "user:eva")
    with pytest.raises(PermissionDenied):
        say([of(answer, "stays")], actor=ben)
    assert Event.objects.filter(actor="user:ben").exists()
    with pytest.raises(NotFound) as unknown:
        say([of(answer, "stays")], actor=ana)
    assert "churn" not in unknown.value.message
    grant("user:ana", "churn", "label")
    (done,) = say([of(answer, "stays")], actor=type(ana).objects.get(pk=ana.pk))
    assert (done.revision, applied(answer)) == (2, [(1, "churned"), (2, "stays")])


class Heard(Tally):
    """Keeps in `told` what became of labels."""

    def __init__(self, told: list[tuple[str, str, int]]) -> None:
        super().__init__()
        self.told = told

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        if name == "trivet_labels_total":
            self.told.append((*labels, by))


# --- the keeper -----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_48_the_keeper_applies_labels_with_the_predictions_around_them_once(home: Path):
    (version,) = ready()
    early, late = record(version, made_at=now_ns()), record(version, made_at=now_ns())
    told: list[tuple[str, str, int]] = []
    keeper = Keeper(home / "spool", counting=Heard(told))
    first, second = (Spool(home / "spool", worker, segment_bytes=4 * 1024 * 1024) for worker in ("a", "b"))
    first.append(encode_record(early))
    first.append(encode_record(said(of(early, "stays"), of(late, "churned"))))
    first.append(encode_record(said(of(early, "churned"))))
    assert keeper.step() == 3
    assert sorted(told) == [("churn", APPLIED, 1), ("churn", REVISED, 1), ("churn", WAITING, 1)]
    second.append(encode_record(late))
    assert keeper.step() == 1
    assert (applied(early), applied(late)) == ([(1, "stays"), (2, "churned")], [(1, "churned")])
    first.append(encode_record(said(of(late, "churned"))))
    assert keeper.step() == 1
    assert told[-2:] == [("churn", APPLIED, 1), ("churn", REPEATED, 1)]
    keeper._offsets.clear()
    Label.objects.exclude(state=APPLIED).delete()
    first.close()
    second.close()
    keeper.step()
    keeper._release()
    assert (applied(early), applied(late)) == ([(1, "stays"), (2, "churned")], [(1, "churned")])


@pytest.mark.django_db(transaction=True)
def test_48_a_nightly_pass_of_the_keeper_gives_up_what_never_came(home: Path):
    ready()
    keeper = Keeper(home / "spool", counting=Heard(counted := []))
    apply_labels([said(SaidLabel(True, str(uuid.uuid4())), received_at=now_ns() - 8 * DAY)])
    hurry(keeper._chores[2])
    keeper.step()
    keeper.step()
    keeper._release()
    assert counted == [("churn", REFUSED, 1)]


def test_a_keeper_that_counts_nothing_else_counts_labels_where_workers_read_them(home: Path):
    from trivet.dataplane.metrics import host

    counting = counting_of_keeper()
    counting.count("trivet_labels_total", "churn", APPLIED, by=2)
    counting.count("trivet_labels_total", "churn", APPLIED, by=3)
    assert host.read(home / "metrics")["count", "trivet_labels_total", "churn", APPLIED] == [5]


def test_what_is_applied_is_as_old_as_it_says(version):
    answer = asked(version)
    apply_labels([said(of(answer, "churned", observed_at=1_769_905_800_250_000_000))])
    assert Label.objects.get().observed_at == datetime.fromisoformat("2026-02-01T00:30:00.25+00:00")
