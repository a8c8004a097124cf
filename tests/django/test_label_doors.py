"""The doors by which somebody says what turned out true and waits for what becomes of it: Python and the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

import trivet
from tests.django.command_line import trivet as trivet_verb, verb
from tests.django.people import person
from tests.django.worlds import ready, ready_free, record
from tests.shop.models import Customer
from trivet.cli.verbs.label import value_in
from trivet.control.predictions.models import Label, Prediction as LoggedPrediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import InvalidRequest, NotFound, Refused
from trivet.core.records import PredictionRecord
from trivet.serving import process
from trivet.serving.prediction import Prediction

pytestmark = pytest.mark.django_db


class Kind(Enum):
    CHURNED = "churned"


def answered(version: ModelVersion, **changes: Any) -> PredictionRecord:
    made = int(timezone.now().timestamp() * 1e9) - 10**9
    one = record(version, **{"made_at": made, "entity_key": "shop.customer:17", **changes})
    ship([one])
    return one


@pytest.fixture
def answer() -> PredictionRecord:
    """One answer in the log, made a second ago, about shop.customer:17."""
    return answered(*ready())


def test_48_in_python_it_is_applied_before_the_call_returns(answer):
    said = trivet.label(answer.id, Kind.CHURNED, source="support")
    assert (said.prediction, said.model, said.value, said.revision, said.is_new) == (
        f"{answer.id}:0",
        "churn",
        "churned",
        1,
        True,
    )
    prediction = Prediction(0.5, "", "churn", 1, "", f"{answer.id}:0", "only")
    assert not trivet.label(prediction, "churned").is_new
    assert prediction.label == "churned"
    assert Prediction(0.5, "", "churn", 1, "", f"{answer.id}:1", "only").label is None
    assert trivet.label("shop.customer:17", "stays", model="churn", user="ben").revision == 2
    assert list(Label.objects.order_by("revision").values_list("source", "caller"))[1] == ("", "user:ben")


@pytest.mark.django_db
def test_48_an_instance_stands_for_its_entity_and_a_row_of_the_log_for_itself(answer):
    said = trivet.label(Customer(pk=17), "churned", model="churn")
    assert said.prediction == f"{answer.id}:0"
    logged = LoggedPrediction.objects.get(entity_key="shop.customer:17")
    assert not trivet.label(logged, "churned").is_new
    with pytest.raises(InvalidRequest, match="a saved instance, not 'Customer'"):
        trivet.label(Customer(), "churned", model="churn")


@pytest.mark.django_db
def test_48_a_model_that_is_nearly_one_is_named_to_who_may_know_them_all(answer, capsys):
    with pytest.raises(NotFound, match=r"no model 'chrun' here\. Did you mean 'churn'\?"):
        trivet.label("shop.customer:17", "churned", model="chrun")
    person(name="eva")
    assert trivet_verb("label", "shop.customer:17", "churned", "--model", "chrun", "--as", "eva") == 4
    assert "no model 'chrun' here.\n" in capsys.readouterr().err


def test_48_a_process_that_answers_counts_what_was_said_in_it(answer, monkeypatch):
    counted: list[tuple[str, str, int]] = []
    here = SimpleNamespace(count_labels=lambda *one: counted.append(one))
    monkeypatch.setattr(process, "_process", here)
    for value in ("stays", "stays", "churned"):
        trivet.label(answer.id, value)
    assert counted == [("churn", "applied", 1), ("churn", "repeated", 1), ("churn", "revised", 1)]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.float64(2.5), 2.5),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([1.5, 2.0]), [1.5, 2.0]),
        (("a", True), ["a", True]),
    ],
)
def test_48_values_of_numpy_are_taken_as_what_they_are(value: Any, kept: Any):
    answer = answered(ready_free())
    assert trivet.label(answer.id, value).value == kept
    assert Label.objects.get().value == kept


def test_48_what_cannot_be_applied_is_raised_and_leaves_nothing(answer):
    for wrong, error in (
        (lambda: trivet.label("019a0000-0000-7000-8000-000000000000", 1), NotFound),
        (lambda: trivet.label("shop.customer:18", 1, model="churn"), NotFound),
        (lambda: trivet.label("shop.customer:17", 1), InvalidRequest),
        (lambda: trivet.label("shop.customer:17", 1, model="churm"), NotFound),
        (lambda: trivet.label(answer.id, 1, model=ready(model="other")[0].model.name), Refused),
        (lambda: trivet.label(17, 1), InvalidRequest),
        (lambda: trivet.label(answer.id, None), InvalidRequest),
        (lambda: trivet.label(answer.id, {"a": 1}), InvalidRequest),
        (lambda: trivet.label(answer.id, float("nan")), InvalidRequest),
        (lambda: trivet.label(answer.id, ["x" * 1025]), InvalidRequest),
        (lambda: trivet.label(answer.id, 1, source="s" * 65), InvalidRequest),
        (lambda: trivet.label(answer.id, 1, observed_at=datetime(2026, 1, 1)), InvalidRequest),  # noqa: DTZ001
        (lambda: trivet.label(answer.id, 1, observed_at=datetime.now(UTC) + timedelta(days=2)), InvalidRequest),
    ):
        with pytest.raises(error):
            wrong()
    assert not Label.objects.exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("17", 17),
        ("-2.5e3", -2500.0),
        ("1e999", float("inf")),
        ("nan", "nan"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("churned", "churned"),
        ("١٧", "١٧"),
    ],
)
def test_48_what_a_text_on_the_command_line_stands_for(text: str, value: Any):
    assert (value_in(text), type(value_in(text))) == (value, type(value))


def test_48_the_verb_says_what_became_of_it(answer, capsys):
    code, said = verb(capsys, "label", answer.id, "churned", "--source", "support")
    assert (code, said["value"], said["revision"], said["is_new"]) == (0, "churned", 1, True)
    assert verb(capsys, "label", "shop.customer:17", "stays", "--model", "churn")[1]["revision"] == 2
    assert Label.objects.first().caller.startswith("cli:")
    for words, code in (
        (("label", answer.id), 2),
        (("label",), 2),
        (("label", answer.id, "1", "--file", "x.csv"), 2),
        (("label", "shop.customer:17", "1"), 2),
        (("label", "shop.customer:18", "1", "--model", "churn"), 4),
        (("label", answer.id, "1", "--model", "churm"), 4),
    ):
        assert verb(capsys, *words)[0] == code, words


def test_48_a_file_is_applied_line_by_line_and_what_is_refused_is_named(answer, capsys, tmp_path: Path):
    (other,) = ready(model="other")
    foreign = record(other)
    ship([foreign])
    path = tmp_path / "labels.csv"
    lines = [
        "\N{ZERO WIDTH NO-BREAK SPACE}prediction_id,entity_key,label,observed_at,source",
        f"{answer.id}:0,,churned,,billing",
        ",shop.customer:17,churned,,",
        ",shop.customer:17,stays,,",
        ",shop.customer:18,stays,,",
        f"{foreign.id},,stays,,",
        f"{answer.id},shop.customer:17,stays,,",
        f"{answer.id},,,,",
        "nobody,,stays,,",
        f"{answer.id},,stays,yesterday,",
        f"{answer.id},,stays,2026-01-01T00:00:00,",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    code, told = verb(capsys, "label", "--file", str(path), "--model", "churn")
    refused = told.pop("refused")
    assert (code, told) == (1, {"applied": 1, "revised": 1, "repeated": 1})
    assert sorted(one["line"] for one in refused) == [5, 6, 7, 8, 9, 10, 11]
    why = {one["line"]: one["error"] for one in refused}
    assert why[7] == "it names its prediction twice: give its prediction_id or its entity_key, not both."
    assert why[8] == "its label is empty: leave the line out while nobody knows."
    assert [label.value for label in Label.objects.order_by("revision")] == ["churned", "stays"]
    path.write_text(f"prediction_id,label\n{answer.id},stays\n", encoding="utf-8")
    assert verb(capsys, "label", "--file", str(path))[0] == 0


@pytest.mark.parametrize("content", [b"id,label\n", b"label\nx\n", b"prediction_id\nx\n", b"", b"\xff\xfe,\n"])
def test_48_a_file_that_is_none_of_labels_is_wrong_usage(answer, capsys, tmp_path: Path, content: bytes):
    (tmp_path / "labels.csv").write_bytes(content)
    assert verb(capsys, "label", "--file", str(tmp_path / "labels.csv"), "--model", "churn")[0] == 2
    assert verb(capsys, "label", "--file", str(tmp_path / "none.csv"), "--model", "churn")[0] == 2


def test_D44_the_verb_asks_what_the_person_may(answer, capsys):
    person(name="ben")
    person("view_registeredmodel", name="eva")
    person("label", "view_registeredmodel", name="ana")
    for name, code in (("ben", 4), ("eva", 3), ("ana", 0)):
        assert verb(capsys, "label", answer.id, "stays", "--as", name)[0] == code, name
        assert verb(capsys, "label", answer.id, "stays", "--model", "churn", "--as", name)[0] == code, name
    assert Label.objects.get().caller == "user:ana"
