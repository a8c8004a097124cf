"""Scoring: what a model says of each row of a table, written into its columns once, whatever happens meanwhile."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import trivet
from tests.django.declared import declaring, feature_set, predictor
from tests.shop.ml import Renewal
from tests.shop.models import Customer, Insured, InsuredCustomer, Printed, Subscriber, Voucher
from trivet import f, signals
from trivet.control.scoring.models import SILENT_SECONDS, RunState, ScoringRun
from trivet.core.errors import Conflict, InvalidRequest, NotFound, Refused
from trivet.core.holders import this_holder
from trivet.serving.scoring import claims, scoring, writing
from trivet.serving.scoring.asked import Asked, asked
from trivet.serving.scoring.plan import HIDDEN, plan
from trivet.serving.scoring.target import check_key
from trivet.testing import outbox, override_predictor

pytestmark = pytest.mark.django_db


def seats_in_hundreds(features: Any) -> float:
    """What a stub answers in place of a model."""
    return float(features["seats"]) / 100


def subscribers(count: int) -> list[Subscriber]:
    return Subscriber.objects.bulk_create(Subscriber(seats=number) for number in range(1, count + 1))


def score(rows: Any = None, **said: Any) -> ScoringRun:
    return trivet.score(Subscriber.objects.all() if rows is None else rows, "renewal", **{"to": "staying", **said})


@pytest.fixture
def _stubbed():
    with override_predictor("renewal", returns=seats_in_hundreds):
        yield


@pytest.mark.usefixtures("_stubbed")
def test_each_row_has_its_number_the_version_and_the_time():
    subscribers(7)
    before = timezone.now()
    run = score(batch_size=3)
    assert (run.state, run.done, run.total, run.errors, run.eta) == (RunState.FINISHED, 7, 7, 0, timedelta())
    rows = list(Subscriber.objects.order_by("pk"))
    assert [row.staying for row in rows] == [number / 100 for number in range(1, 8)]
    assert {row.staying_version for row in rows} == {0}
    assert all(before <= row.staying_at <= timezone.now() for row in rows)
    assert {row.guess for row in rows} == {None}
    assert [asked.entity_key for asked in outbox] == [f"shop.subscriber:{row.pk}" for row in rows]


@pytest.mark.usefixtures("_stubbed")
def test_an_interrupted_run_goes_on_behind_its_last_page_when_the_same_is_asked(monkeypatch: Any):
    subscribers(10)
    stop_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        score(batch_size=3)
    (run,) = ScoringRun.objects.all()
    assert (run.state, run.done, run.problem) == (RunState.INTERRUPTED, 6, "KeyboardInterrupt")
    written = times()
    outbox.clear()
    monkeypatch.undo()
    again = score(batch_size=3)
    assert (again.pk, again.state, again.done, again.total) == (run.pk, RunState.FINISHED, 10, 10)
    assert len(outbox) == 4
    assert {key: at for key, at in times().items() if key in written} == written


@pytest.mark.usefixtures("_stubbed")
def test_what_asks_for_something_else_gives_an_interrupted_run_up(monkeypatch: Any):
    subscribers(10)
    stop_after(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        score(batch_size=3)
    monkeypatch.undo()
    other = score(Subscriber.objects.filter(seats__gt=5))
    assert other.done == 5
    assert [run.state for run in ScoringRun.objects.order_by("pk")] == [RunState.ABANDONED, RunState.FINISHED]


@pytest.mark.usefixtures("_stubbed")
def test_while_one_runs_another_is_told_who_it_is_until_it_is_killed_or_silent(monkeypatch: Any):
    subscribers(4)
    alive = unfinished_run(seen_at=timezone.now(), holder=this_holder())
    with pytest.raises(
        Conflict, match=rf"run {alive.pk}: .* is under way: user:ana began it at .* process {os.getpid()}"
    ):
        score()
    ScoringRun.objects.update(holder=this_holder() + "0")  # it began at another time, so the process is another one
    assert score().done == 4
    ScoringRun.objects.update(state=RunState.FINISHED)
    unfinished_run(seen_at=timezone.now() - timedelta(seconds=SILENT_SECONDS + 1), holder="elsewhere:12:3")
    assert score().done == 4


@pytest.mark.usefixtures("_stubbed")
def test_one_that_was_taken_over_writes_nothing_more(monkeypatch: Any):
    subscribers(6)

    def take(run: ScoringRun, **_: Any) -> None:
        ScoringRun.objects.update(claim=uuid4())

    with listening(signals.rows_scored, take), pytest.raises(Conflict, match="was taken over"):
        score(batch_size=2)
    assert Subscriber.objects.filter(staying__isnull=False).count() == 2
    (run,) = ScoringRun.objects.all()
    assert (run.state, run.done) == (RunState.RUNNING, 2)  # of whoever has it now


@pytest.mark.usefixtures("_stubbed")
def test_rows_that_a_feature_or_the_model_refuses_are_kept_as_errors_and_stay_as_they_are():
    rows = subscribers(9)
    Subscriber.objects.filter(pk=rows[3].pk).update(plan="gold", staying=0.5)
    Subscriber.objects.filter(pk=rows[6].pk).update(seats=None)
    with override_predictor("renewal", returns=refusing):
        run = score(batch_size=4)
    assert (run.state, run.done, run.errors) == (RunState.FINISHED, 7, 2)
    first, second = run.problems.all()
    assert (first.key, second.key) == (str(rows[3].pk), str(rows[6].pk))
    assert "'gold'" in first.message
    assert second.message == "renewal: seats are missing."
    assert Subscriber.objects.get(pk=rows[3].pk).staying == 0.5
    assert Subscriber.objects.filter(staying_at__isnull=False).count() == 7


def test_a_row_of_which_a_method_raises_is_named_and_the_others_are_scored():
    rows = subscribers(3)
    Subscriber.objects.filter(pk=rows[1].pk).update(seats=None)

    def get_twice(_self: Any, row: Subscriber) -> int:
        return row.seats + row.seats

    def seats_twice(*, sensitive: bool) -> Any:
        twice = f.Method(needs=["seats"], gives=int, sensitive=sensitive)
        return feature_set(Subscriber, "plan", twice=twice, get_twice=get_twice)

    with override_predictor("renewal", returns=0.3):
        for sensitive, said in ((False, ": unsupported operand type(s) for +: 'NoneType' and 'NoneType'"), (True, "")):
            with declaring():
                predictor("Renewal", features=seats_twice(sensitive=sensitive))
                run = score()
                assert (run.done, run.errors) == (2, 1)
                (problem,) = run.problems.all()
                what = f"ChurnFeatures.get_twice raised TypeError for Subscriber {rows[1].pk}{said}"
                assert (problem.key, problem.message) == (str(rows[1].pk), what)
                with pytest.raises(RuntimeError, match=r"get_twice raised TypeError") as raised:
                    trivet.predict("renewal", rows[1])
                assert isinstance(raised.value.__cause__, TypeError)


def test_of_a_row_that_is_refused_for_what_is_sensitive_the_value_is_not_kept():
    rows = subscribers(2)
    Subscriber.objects.filter(pk=rows[0].pk).update(plan="cancer")
    plans = f.Category("plan", choices=["free", "pro"], sensitive=True)
    with declaring(), override_predictor("renewal", returns=0.3):
        predictor("Renewal", features=feature_set(Subscriber, "seats", plan=plans))
        run = score()
    (problem,) = run.problems.all()
    assert problem.message == "ChurnFeatures: 'plan' is refused; it is sensitive, so its value is not told."


@pytest.mark.usefixtures("_stubbed")
def test_what_nobody_went_on_with_for_half_a_day_is_begun_anew(monkeypatch: Any):
    subscribers(10)
    stop_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        score(batch_size=3)
    monkeypatch.undo()
    ScoringRun.objects.update(seen_at=timezone.now() - timedelta(hours=13))
    again = score(batch_size=3)
    assert (again.state, again.done) == (RunState.FINISHED, 10)
    old = ScoringRun.objects.exclude(pk=again.pk).get()
    assert (old.state, old.done, old.problem) == (RunState.ABANDONED, 6, "nobody went on with it")


@pytest.mark.usefixtures("_stubbed")
def test_of_many_errors_the_first_are_kept_and_all_are_counted(monkeypatch: Any):
    subscribers(12)
    Subscriber.objects.update(plan="gold")
    monkeypatch.setattr(writing, "MAX_ERRORS_KEPT", 5)
    run = score(batch_size=3)
    assert (run.done, run.errors, run.problems.count()) == (0, 12, 5)


@pytest.mark.usefixtures("_stubbed")
def test_a_row_that_is_deleted_after_it_was_predicted_is_passed_over(monkeypatch: Any):
    rows = subscribers(5)
    real = scoring.answer

    def answer(*args: Any, **said: Any) -> Any:
        page = real(*args, **said)
        Subscriber.objects.filter(pk=rows[1].pk).delete()
        return page

    monkeypatch.setattr(scoring, "answer", answer)
    heard: list[Any] = []
    with listening(signals.rows_scored, lambda pks, **_: heard.extend(pks)):
        run = score()
    assert (run.done, run.gone) == (4, 1)
    assert heard == [row.pk for row in rows if row is not rows[1]]


@pytest.mark.usefixtures("_stubbed")
def test_each_page_sends_one_signal_when_it_is_written_and_a_receiver_that_fails_harms_nobody():
    rows = subscribers(5)
    heard: list[Any] = []

    def hear(run: ScoringRun, queryset_model: Any, pks: list[Any], **_: Any) -> None:
        heard.append((queryset_model, pks, Subscriber.objects.filter(pk__in=pks, staying__isnull=False).count()))
        raise ValueError("a receiver's own")

    with listening(signals.rows_scored, hear):
        assert score(batch_size=3).done == 5
    keys = [row.pk for row in rows]
    assert heard == [(Subscriber, keys[:3], 3), (Subscriber, keys[3:], 2)]


@pytest.mark.usefixtures("_stubbed")
def test_as_many_queries_for_a_page_of_two_as_for_one_of_twenty(django_assert_num_queries: Any):
    subscribers(2)
    with CaptureQueriesContext(connection) as few:
        score()
    Subscriber.objects.all().delete()
    subscribers(20)
    with CaptureQueriesContext(connection) as many:
        score()
    assert len(many) == len(few)


@pytest.mark.usefixtures("_stubbed")
def test_stale_is_what_another_version_wrote_what_was_asked_with_other_features_and_what_is_old(monkeypatch: Any):
    subscribers(4)
    assert score(only_stale=True).done == 4
    assert score(only_stale=True).done == 0
    first, second, *_ = Subscriber.objects.order_by("pk")
    Subscriber.objects.filter(pk=first.pk).update(staying_version=8)
    Subscriber.objects.filter(pk=second.pk).update(staying_at=timezone.now() - timedelta(days=8))
    assert score(only_stale=True).done == 1
    monkeypatch.setattr(Renewal, "Meta", type("Meta", (), {"max_age": timedelta(days=7)}), raising=False)
    assert score(only_stale=True).done == 1
    ScoringRun.objects.update(features_hash="of others")
    assert score(only_stale=True).done == 4
    assert score(only_stale=True).done == 0


@pytest.mark.usefixtures("_stubbed")
def test_a_limit_and_a_filter_bound_what_is_done():
    subscribers(9)
    assert score(limit=4, batch_size=3).done == 4
    assert score(only_stale=True, limit=4, batch_size=3).done == 4
    assert list(Subscriber.objects.filter(staying__isnull=True).values_list("seats", flat=True)) == [9]
    assert score(Subscriber.objects.filter(seats__lte=2)).done == 2
    assert score(Subscriber.objects.none()).done == 0


@pytest.mark.parametrize("table", [Voucher, Printed])
def test_keys_that_are_no_numbers_and_columns_of_a_parent_are_walked_through_as_well(table: Any):
    for number in range(1, 8):
        table.objects.create(worth=number / 10)
    with declaring():
        made = feature_set(table, "worth", name="VoucherFeatures")
        predictor("Cashed", features=made)
        with override_predictor("cashed", returns=lambda features: features["worth"]):
            run = trivet.score(table.objects.all(), "cashed", to="guess", batch_size=2)
    assert (run.done, run.total) == (7, 7)
    assert all(row.guess == row.worth for row in table.objects.all())


def test_a_row_that_inherits_is_named_by_the_table_of_the_features_as_predict_names_it():
    row = Printed.objects.create(worth=0.5)
    with declaring(), override_predictor("cashed", returns=0.3):
        predictor("Cashed", features=feature_set(Voucher, "worth", name="VoucherFeatures"))
        trivet.score(Printed.objects.all(), "cashed", to="guess")
        trivet.predict("cashed", row)
    assert {asked.entity_key for asked in outbox} == {f"shop.voucher:{row.pk}"}


@pytest.mark.usefixtures("_stubbed")
def test_what_does_not_fit_is_refused_before_anything_is_done():
    rows = Subscriber.objects.all()
    for said, error, told in (
        ({"to": "stayin"}, InvalidRequest, "no field 'stayin'. Did you mean 'staying'?"),
        ({"to": "seats"}, InvalidRequest, "Subscriber.seats is no column that may be written"),
        ({"to": "guess", "only_stale": True}, InvalidRequest, "nothing says what is stale"),
        ({"batch_size": 0}, InvalidRequest, "batch_size is 0"),
        ({"rows": rows[:3]}, InvalidRequest, "no slice"),
        ({"rows": rows.values("pk")}, InvalidRequest, "no slice"),
        ({"rows": [1]}, InvalidRequest, "takes a QuerySet, not 'list'"),
        ({"rows": Voucher.objects.all(), "to": "guess"}, InvalidRequest, "is of Subscriber, not of Voucher"),
    ):
        with pytest.raises(error, match=re.escape(told)):
            score(**said)
    with pytest.raises(InvalidRequest, match=r"Subscriber\.staying is of 'renewal', not of 'churn'"):
        trivet.score(rows, "churn", to="staying")
    with pytest.raises(NotFound, match=r"Predictor of 'renewl'.*Did you mean 'renewal'"):
        trivet.score(rows, "renewl", to="guess")
    assert not ScoringRun.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_stubbed")
def test_inside_a_transaction_it_is_refused():
    with transaction.atomic(), pytest.raises(Refused, match="inside a transaction"):
        score()


@pytest.mark.usefixtures("_stubbed")
def test_a_page_that_takes_long_is_written_in_several_transactions_and_the_cursor_moves_with_each(monkeypatch: Any):
    rows = subscribers(8)
    Subscriber.objects.filter(pk=rows[4].pk).update(plan="gold")
    monkeypatch.setattr(writing, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(writing, "SLICE_ROWS", 3)
    heard: list[Any] = []

    def hear(run: ScoringRun, pks: list[Any], **_: Any) -> None:
        stored = ScoringRun.objects.get(pk=run.pk)
        heard.append((len(pks), stored.cursor == str(rows[stored.handled - 1].pk), stored.done, stored.errors))

    with listening(signals.rows_scored, hear):
        score()
    assert heard == [(3, True, 3, 0), (2, True, 5, 1), (2, True, 7, 1)]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock for the whole database")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_stubbed")
def test_a_row_that_somebody_else_holds_keeps_nobody_from_the_rows_before_it(monkeypatch: Any):
    rows, held = subscribers(6), threading.Event()
    others = threading.Thread(target=hold_row, args=(rows[4].pk, held, let_go := threading.Event()))
    others.start()
    held.wait()
    paused: list[int] = []

    def pause(_seconds: float) -> None:
        with transaction.atomic():
            Subscriber.objects.select_for_update(nowait=True).get(pk=rows[0].pk)  # raises where it is held
        paused.append(1)
        let_go.set()
        others.join()

    monkeypatch.setattr(writing.time, "sleep", pause)
    assert score().done == 6
    assert paused == [1]
    assert Subscriber.objects.get(pk=rows[4].pk).seats == 77  # what they wrote meanwhile stays


def test_a_plain_column_is_written_alone():
    subscribers(2)
    with override_predictor("renewal", returns={"leaves": 0.25, "stays": 0.75}):
        score(to="guess")
    assert set(Subscriber.objects.values_list("guess", "staying", "staying_at")) == {(0.75, None, None)}


# --- the world --------------------------------------------------------------------------------------------------------


def refusing(features: Any) -> float:
    """A stub that takes no row without seats."""
    if features["seats"] is None:
        raise InvalidRequest("renewal: seats are missing.")
    return 0.25


def times() -> dict[Any, Any]:
    return dict(Subscriber.objects.filter(staying_at__isnull=False).values_list("pk", "staying_at"))


def stop_after(pages: int, monkeypatch: Any) -> None:
    """Let the person at the keyboard stop it when so many pages are written."""
    real, walked = scoring.write, iter(range(pages))

    def write(*args: Any) -> Any:
        if next(walked, None) is None:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(scoring, "write", write)


def hold_row(key: int, held: threading.Event, let_go: threading.Event) -> None:
    """Be somebody else, who changes a row in a long transaction."""
    try:
        with transaction.atomic():
            Subscriber.objects.filter(pk=key).update(seats=77)
            held.set()
            let_go.wait(30)
    finally:
        connection.close()


def unfinished_run(**said: Any) -> ScoringRun:
    """A run that somebody else has begun and not ended."""
    values = {"model": "renewal", "version": 0, "table": "shop.subscriber", "field": "staying", "actor": "user:ana"}
    return ScoringRun.objects.create(**values, batch_size=3, total=4, claim=uuid4(), **said)


@contextmanager
def listening(signal: Any, receiver: Any) -> Iterator[None]:
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def test_a_row_is_not_written_by_the_key_of_another_of_its_tables():
    check_key(InsuredCustomer, Customer, "the column is of")
    check_key(Printed, Voucher, "the column is of")
    with pytest.raises(InvalidRequest, match="is of Insured, of which the key is another than that of InsuredCustomer"):
        check_key(InsuredCustomer, Insured, "the column is of")


@pytest.mark.usefixtures("_stubbed")
def test_it_refuses_inside_a_transaction_of_the_rows_own_database(monkeypatch: Any):
    subscribers(1)
    monkeypatch.setattr(claims.router, "db_for_write", lambda _model: "elsewhere")  # where the runs are
    monkeypatch.setattr(Asked, "writes_to", "default")
    with transaction.atomic(), pytest.raises(Refused, match="inside a transaction"):
        score()
    assert not ScoringRun.objects.exists()


@pytest.mark.usefixtures("_stubbed")
def test_of_a_run_that_is_killed_no_row_is_younger_than_its_last_sign_of_life(monkeypatch: Any):
    subscribers(4)
    stop_after(1, monkeypatch)
    monkeypatch.setattr(scoring, "let_go", lambda *_: None)  # as of kill -9
    with pytest.raises(KeyboardInterrupt):
        score(batch_size=3)
    (run,) = ScoringRun.objects.all()
    assert run.done == 3
    assert not Subscriber.objects.filter(staying_at__gt=run.seen_at).exists()


@pytest.mark.usefixtures("_stubbed")
def test_distinct_by_columns_is_refused():
    with pytest.raises(InvalidRequest, match="distinct by columns"):
        score(Subscriber.objects.order_by("plan").distinct("plan"))


def test_what_is_sensitive_is_not_shown_by_a_plan():
    subscribers(2)
    hides = feature_set(Subscriber, "plan", seats=f.Column("seats", sensitive=True))
    with declaring(), override_predictor("renewal", returns=0.3):
        predictor("Renewal", features=hides)
        found = plan(asked(Subscriber.objects.all(), "renewal", to="staying"), user=None)
    assert [features["seats"] for _, features, _ in found.samples] == [HIDDEN, HIDDEN]
    assert [features["plan"] for _, features, _ in found.samples] == ["free", "free"]
