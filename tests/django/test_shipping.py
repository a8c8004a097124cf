"""From records to rows: each once, whatever happens."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, transaction

from tests.django.worlds import CHURN, MADE_AT, ready, record, registered
from trivet import signals
from trivet.control.predictions import shipping
from trivet.control.predictions.models import Prediction, SpoolCursor
from trivet.control.predictions.shipping import forget_segment, ship, shipped_offset
from trivet.core.signature import Input, Output, Signature

pytestmark = pytest.mark.django_db


def test_a_record_becomes_one_row_per_input_row():
    (version,) = ready()
    sent = record(version, rows=3, flags={1: {"age": "above_high"}}, request_id="r-1", entity_key="c-17")

    assert ship([sent]) == 3

    rows = Prediction.objects.order_by("row")
    assert [row.public_id for row in rows] == [f"{sent.id}:{i}" for i in range(3)]
    assert [row.inputs for row in rows] == [{"age": 41.0 + i, "plan": "pro"} for i in range(3)]
    assert [row.flags for row in rows] == [{}, {"age": "above_high"}, {}]
    first = rows[0]
    assert first.output == {"label": "churned", "probabilities": {"stays": 0.25, "churned": 0.75}}
    assert (first.score, first.decision) == (0.75, "churned")
    assert first.made_at == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=MADE_AT // 1000)
    assert (first.model, first.version, first.digest) == ("churn", 1, version.digest)
    assert (first.route, first.caller, first.door, first.latency_us) == ("only", "key:abcdefgh", "rest", 120)
    assert (first.request_id, first.entity_key, first.generation) == ("r-1", "c-17", 5)


def test_44_45_each_row_keeps_its_own_key_and_its_place_in_the_request(django_capture_on_commit_callbacks):
    (version,) = ready()
    told: list[list[str]] = []
    signals.predictions_recorded.connect(receiver := lambda ids, **_: told.append(ids))
    sent = record(version, rows=2, entity_keys=["c-1", "c-4"], places=[1, 4], flags={1: {"age": "above_high"}})
    with django_capture_on_commit_callbacks(execute=True):
        ship([sent])
    signals.predictions_recorded.disconnect(receiver)

    rows = Prediction.objects.order_by("row")
    assert [(row.row, row.entity_key, row.flags) for row in rows] == [
        (1, "c-1", {}),
        (4, "c-4", {"age": "above_high"}),
    ]
    assert told == [[f"{sent.id}:1", f"{sent.id}:4"]]


def test_shipping_again_changes_nothing():
    (version,) = ready()
    records = [record(version, rows=2), record(version)]
    ship(records)
    before = list(Prediction.objects.values())
    ship([*records, *records, record(version)])
    assert list(Prediction.objects.values())[:3] == before
    assert Prediction.objects.count() == 4


def test_rows_and_cursor_move_together_or_not_at_all(monkeypatch):
    (version,) = ready()
    ship([record(version)], cursor=("a", 7, 100))
    assert shipped_offset("a", 7) == 100

    def killed(cursor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shipping, "move_cursor", killed)
        with pytest.raises(KeyboardInterrupt):
            ship([record(version)], cursor=("a", 7, 200))
    assert (Prediction.objects.count(), shipped_offset("a", 7)) == (1, 100)

    ship([record(version)], cursor=("a", 7, 200))
    assert (Prediction.objects.count(), shipped_offset("a", 7), SpoolCursor.objects.count()) == (2, 200, 1)
    forget_segment("a", 7)
    assert shipped_offset("a", 7) == 0


def test_an_empty_batch_moves_the_cursor():
    assert ship([], cursor=("a", 1, 64)) == 0
    assert shipped_offset("a", 1) == 64


def test_no_row_is_dropped_in_silence():
    (version,) = ready()
    with pytest.raises((DatabaseError, TypeError, ValueError)), transaction.atomic():
        ship([record(version, version=None)])
    assert not Prediction.objects.exists()


def test_values_no_database_keeps_do_not_hold_up_the_log():
    (version,) = ready()
    odd = record(
        version,
        inputs=[[float("nan")], ["a\0b"]],
        outputs=[["x\0"], [float("inf"), float("nan")]],
        request_id="r" * 300,
        caller="user:" + "é" * 400,
        entity_key="k\0",
        latency_us=2**40,
    )
    ship([odd])
    row = Prediction.objects.get()
    assert row.inputs == {"age": None, "plan": "a␀b"}
    assert row.output == {"label": "x␀", "probabilities": {"stays": None, "churned": None}}
    assert (row.score, row.decision, row.entity_key) == (None, "x␀", "k␀")
    assert (len(row.request_id), len(row.caller)) == (128, 200)


def test_the_parameters_of_a_request_are_kept_with_each_of_its_rows_and_null_where_there_were_none():
    (version,) = ready()
    ship([record(version, rows=2, parameters={"campaign\0": "spring\0", "route_key": "a", "cache": False})])
    kept = {"campaign␀": "spring␀", "route_key": "a", "cache": False}
    assert [row.parameters for row in Prediction.objects.all()] == [kept, kept]
    Prediction.objects.all().delete()
    ship([record(version)])
    assert Prediction.objects.get().parameters is None


def test_inputs_that_were_not_kept_are_null():
    (version,) = ready()
    ship([record(version, inputs=None, inputs_sha256="ab" * 32, rows=2, outputs=[["stays"] * 2, [1, 0] * 2])])
    assert list(Prediction.objects.values_list("inputs", "inputs_sha256")) == [(None, "ab" * 32)] * 2


def test_a_matrix_is_cut_into_its_columns():
    matrix = Signature(
        inputs=(
            Input(name="x", datatype="FP32", shape=(-1, 2), columns=("height", "width")),
            Input(name="image", datatype="FP32", shape=(-1, 2, 2)),
            Input(name="z", datatype="FP32", shape=(-1, 3)),
        ),
        outputs=(Output(name="prediction", datatype="FP64", shape=(-1, 1), unit="EUR"),),
        task="regression",
    )
    version = registered("matrix", signature=matrix)
    inputs = [[1, 2, 3, 4], list(range(8)), [7, 8, 9, 10, 11, 12]]
    ship([record(version, rows=2, inputs=inputs, outputs=[[10.5, 20.5]], output_names=["prediction"])])

    rows = Prediction.objects.order_by("row")
    assert rows[0].inputs == {"height": 1, "width": 2, "image": [0, 1, 2, 3], "x0": 7, "x1": 8, "x2": 9}
    assert rows[1].inputs == {"height": 3, "width": 4, "image": [4, 5, 6, 7], "x0": 10, "x1": 11, "x2": 12}
    assert [(row.output, row.score, row.decision) for row in rows] == [
        ({"prediction": 10.5}, 10.5, ""),
        ({"prediction": 20.5}, 20.5, ""),
    ]


def test_whole_numbers_and_fractions_are_shipped_together():
    target = Output(name="prediction", datatype="FP64", shape=(-1,))
    version = registered("numbers", signature=Signature(inputs=(), outputs=(target,), task="regression"))
    answers = [[1], [2.5], [None], [2**60]]
    ship([record(version, inputs=[], outputs=[answer], output_names=["prediction"]) for answer in answers])
    assert list(Prediction.objects.order_by("pk").values_list("score", flat=True)) == [1.0, 2.5, None, 2.0**60]


def test_a_text_that_looks_like_an_escaped_nul_stays_as_it_is():
    (version,) = ready()
    ship([record(version, inputs=[[1.0], [r"\u0000"]])])
    assert Prediction.objects.get().inputs["plan"] == r"\u0000"


def test_a_version_that_is_not_registered_here_is_logged_without_names():
    (version,) = ready()
    ship([record(version, digest="f" * 64)])
    row = Prediction.objects.get()
    assert row.inputs == {"input_0": [41.0], "input_1": ["pro"]}
    assert row.output == {"label": "churned", "probabilities": [0.25, 0.75]}


def test_each_model_is_told_of_its_batch(django_capture_on_commit_callbacks):
    (churn,), (late,) = ready(), ready(model="late")
    told = {}

    def receiver(model, ids, **_):
        told[model] = ids

    signals.predictions_recorded.connect(receiver)
    try:
        records = [record(churn, rows=2), record(late)]
        with django_capture_on_commit_callbacks(execute=True):
            ship(records)
    finally:
        signals.predictions_recorded.disconnect(receiver)
    assert told == {"churn": [f"{records[0].id}:0", f"{records[0].id}:1"], "late": [f"{records[1].id}:0"]}


def test_a_listener_that_fails_harms_nobody(django_capture_on_commit_callbacks, caplog):
    (version,) = ready()

    def receiver(**_):
        raise RuntimeError("a listener's bug")

    signals.predictions_recorded.connect(receiver)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            ship([record(version)])
    finally:
        signals.predictions_recorded.disconnect(receiver)
    assert Prediction.objects.count() == 1
    assert "a listener's bug" in caplog.text


def test_the_log_is_read_by_model_and_time():
    (churn,), (late,) = ready(), ready(model="late")
    ship([record(churn), record(late), record(late, made_at=MADE_AT + 60_000_000_000)])
    minute = datetime.fromtimestamp(MADE_AT // 10**9, UTC) + timedelta(seconds=30)
    assert Prediction.objects.of_model("late").count() == 2
    assert Prediction.objects.of_model("late").since(minute).count() == 1


def test_a_large_batch_is_one_transaction_of_few_statements(django_assert_max_num_queries):
    (version,) = ready()
    ship([record(version)])
    with django_assert_max_num_queries(14):
        ship([record(version, rows=30) for _ in range(100)])
    assert Prediction.objects.count() == 3001


def test_the_signature_is_that_of_the_digest_not_of_the_number():
    version = registered("a", signature=CHURN)
    other = registered("b", signature=Signature(inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),), outputs=()))
    ship([record(version), record(other, inputs=[[1.0]], outputs=[], output_names=[], id=str(uuid.uuid4()))])
    assert [row.inputs for row in Prediction.objects.order_by("version")] == [{"age": 41.0, "plan": "pro"}, {"x": 1.0}]
