"""What a Predictor says that its answers are: one number where its model gives one for each class, at every door of Python."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

import trivet
from tests.django.declared import declaring, predictor
from tests.django.test_predict_rows import here  # noqa: F401  (a live model `churn`)
from trivet import checks, f
from trivet.features.outputs import Probability
from trivet.testing import override_predictor

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("here")]
ROW = {"age": 30.0, "city": "Oslo"}


def test_an_answer_is_the_probability_of_the_class_that_is_declared_and_its_decision_stays():
    bare = trivet.predict("churn", ROW)
    for name, probability in bare.value.items():
        with declaring():
            predictor("Churn", output=f.Probability(name))
            risk = trivet.predict("churn", ROW)
            assert (float(risk), risk.decision, risk.value) == (probability, bare.decision, probability)
            assert risk > probability - 0.1
            assert [float(one) for one in trivet.predict_many("churn@1", [ROW, ROW])] == [probability] * 2
            assert float(async_to_sync(trivet.apredict)("churn", ROW)) == probability


def test_a_class_that_the_version_does_not_have_is_told():
    predictor("Churn", output=f.Probability("gone"))
    with pytest.raises(
        ImproperlyConfigured, match=r"^churn 1 does not fit output = f\.Probability\('gone'\): it has no class"
    ):
        trivet.predict("churn", ROW)


def test_what_a_test_or_a_fallback_answers_is_read_the_same_way(here):  # noqa: F811
    predictor("Churn", output=f.Probability("leaves"))
    shares = {"leaves": 0.25, "stays": 0.75}
    with override_predictor("churn", returns=shares):
        assert float(trivet.predict("churn", ROW)) == 0.25
    with override_predictor("churn", returns=0.93):
        assert float(trivet.predict("churn", ROW)) == 0.93

    here.plane.is_closed = True
    assert float(trivet.predict("churn", ROW, fallback=shares)) == 0.25


@pytest.mark.parametrize(
    ("of", "shares", "meant"),
    [
        ("b", {"a": 0.3, "b": 0.7}, 0.7),
        ("churned", {"0": 0.3, "1": 0.7}, 0.7),
        ("churned", {"False": 0.3, "True": 0.7}, 0.7),
        ("0", {"0": 0.3, "1": 0.7}, 0.3),
        ("churned", {"a": 0.3, "b": 0.7}, None),
        ("churned", {"0": 0.3, "1": 0.3, "2": 0.4}, None),
    ],
)
def test_yes_goes_by_any_name_where_classes_have_none(of: str, shares: dict[str, float], meant: float | None):
    if meant is None:
        with pytest.raises(LookupError, match="it has no class 'churned', but"):
            Probability(of).among(shares)
    else:
        assert Probability(of).among(shares) == meant


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (f.Probability("stays"), ""),
        (f.Probability("gone"), "it has no class 'gone', but"),
        (f.Choice(["stays", "churned"]), ""),
        (f.Choice(["stays", "churned", "waits"]), "its classes are churned, stays"),
        (f.Number("minutes"), "it answers a class"),
    ],
)
def test_W019_says_what_the_champion_does_not_answer(said: Any, problem: str):
    predictor("Churn", output=said)
    found = checks.check_declared_outputs(databases=["default"])
    assert [one.id for one in found] == (["trivet.W019"] if problem else [])
    if problem:
        assert found[0].msg.startswith(
            f"churn 1 does not fit output = f.{type(said).__name__} of its Predictor: {problem}"
        )
    assert checks.check_declared_outputs(databases=[]) == []


def test_a_stub_answers_a_number_or_the_first_class_where_that_is_declared():
    with override_settings(TRIVET_TESTS="stub"):
        for output, value in ((f.Number("minutes"), 0.0), (f.Choice(["low", "high"]), {"low": 1.0}), (None, 0.5)):
            predictor("Churn", output=output)
            assert trivet.predict("churn", ROW).value == value
        predictor("Churn", output=f.Choice(["low", "high"]), Meta=type("Meta", (), {"test_value": "high"}))
        assert trivet.predict("churn", ROW).value == {"high": 1.0}


@pytest.mark.parametrize(
    "said",
    ["churned", Probability, Probability(""), Probability(3), f.Choice([]), f.Choice("ab"), f.Choice(["a", "a"])],  # type: ignore[arg-type]
)
def test_what_is_no_output_is_found_by_check(said: Any):
    predictor("Churn", output=said)
    assert [message.id for message in checks.check_declared_names()] == ["trivet.E018"]
    assert trivet.predict("churn", ROW).value.keys(), "and does no harm"
