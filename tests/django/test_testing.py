"""trivet.testing: answers in place of models, what was asked, and assertions; in this suite switched on test by test."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from typing import Any
from unittest import TestCase

import numpy as np
import pytest
from django.core import mail
from django.test import override_settings

import trivet
from tests.django.declared import declaring, predictor
from tests.shop.models import Customer
from trivet.core.errors import NotFound, Unavailable
from trivet.serving.stubs import in_place_of
from trivet.testing import PredictionAssertions, outbox, override_predictor, real_predictions

ROW = {"tenure_months": 3, "plan": "monthly"}


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with override_settings(TRIVET_TESTS="stub"), declaring():
        outbox.clear()
        yield


class Tests(PredictionAssertions, TestCase):
    """A user's test case."""


asserting = Tests()


def test_a_stub_answers_a_half_where_nobody_says_otherwise_and_the_outbox_has_it():
    prediction = trivet.predict("churn@challenger", ROW, user="anna", entity_key="shop.customer:7")
    assert (prediction.value, prediction.decision, prediction.route) == (0.5, "", "stub")
    assert (prediction.model, prediction.version, prediction.features) == ("churn", 0, ROW)
    (asked,) = outbox
    assert (asked.model, asked.selector, asked.features) == ("churn", "challenger", ROW)
    assert (asked.entity_key, asked.caller, asked.prediction) == ("shop.customer:7", "user:anna", prediction)


def test_where_no_test_environment_is_set_up_no_stub_answers(monkeypatch: pytest.MonkeyPatch):
    with override_predictor("churn", returns=0.7):
        assert in_place_of("churn") is not None
        monkeypatch.delattr("django.test.utils._TestState.saved_data")  # as in a process that serves
        assert (in_place_of("churn"), in_place_of("late")) == (None, None)
        monkeypatch.undo()


def test_a_predictor_says_what_its_model_answers_in_tests():
    predictor("Churn", Meta=type("Meta", (), {"test_value": {"stays": 0.2, "leaves": 0.8}}))
    predictor("Price", Meta=type("Meta", (), {"test_value": 12}))
    predictor("Kind", Meta=type("Meta", (), {"test_value": "cat"}))
    churn, price, kind = (trivet.predict(name, ROW) for name in ("churn", "price", "kind"))
    assert (churn.value, churn.decision) == ({"stays": 0.2, "leaves": 0.8}, "leaves")
    assert price == 12.0
    assert (kind.value, kind.decision) == ({"cat": 1.0}, "cat")


@override_predictor("churn", returns=0.93, decision="leaves")
def test_a_test_says_what_a_model_answers_and_the_innermost_holds():
    prediction = trivet.predict("churn", ROW)
    assert (float(prediction), prediction.decision) == (0.93, "leaves")
    with override_predictor("churn", returns=lambda features: features["tenure_months"] / 10):
        assert [float(one) for one in trivet.predict_many("churn", [ROW, {**ROW, "tenure_months": 4}])] == [0.3, 0.4]
    assert trivet.predict("churn", ROW) == 0.93
    assert trivet.predict("late", ROW) == 0.5


@pytest.mark.parametrize("number", [Decimal("0.25"), np.float32(0.25), 0.25])
def test_a_number_may_be_of_any_type_that_projects_have(number: Any):
    with override_predictor("churn", returns=number):
        value = trivet.predict("churn", ROW).value
    assert (value, type(value)) == (0.25, float)


def test_of_two_that_overlap_the_one_that_is_left_holds():
    first, second = override_predictor("churn", returns=0.1), override_predictor("churn", returns=0.2)
    first.enable()
    second.enable()
    first.disable()
    assert trivet.predict("churn", ROW) == 0.2
    second.disable()
    assert trivet.predict("churn", ROW) == 0.5


def test_one_that_is_entered_while_it_holds_ends_once():
    seats = override_predictor("churn", returns=lambda _features: 0.7)
    with seats:
        with seats:
            assert trivet.predict("churn", ROW) == 0.7
        assert trivet.predict("churn", ROW) == 0.7
    assert trivet.predict("churn", ROW) == 0.5


def test_a_list_answers_a_row_each_and_a_row_too_many_is_told():
    with override_predictor("churn", returns=[0.1, 0.2]):
        assert [float(one) for one in trivet.predict_many("churn", [ROW, ROW])] == [0.1, 0.2]
        with pytest.raises(AssertionError, match="churn was asked for more than the 2 rows"):
            trivet.predict("churn", ROW)
    assert [asked.prediction is None for asked in outbox] == [False, False, True]


@pytest.mark.parametrize("raises", [Unavailable, Unavailable("it is away", code="OVERLOADED")])
def test_a_test_lets_a_model_fail(raises: Any):
    with override_predictor("churn", raises=raises), pytest.raises(Unavailable):
        trivet.predict("churn", ROW)
    (asked,) = outbox
    assert asked.prediction is None


def test_coroutines_are_answered_too_as_functions_and_as_decorated_ones():
    @override_predictor("churn", returns=0.7)
    async def asks() -> float:
        return float(await trivet.apredict("churn", ROW))

    assert asyncio.run(asks()) == 0.7
    assert trivet.predict("churn", ROW) == 0.5


def test_a_class_of_tests_is_decorated_as_by_django():
    @override_predictor("churn", returns=0.7)
    class Decorated(TestCase):
        def test_it(self) -> None:
            assert float(trivet.predict("churn", ROW)) == 0.7

    result = Decorated("test_it").run()
    assert result is not None
    assert result.wasSuccessful(), result.failures + result.errors
    assert trivet.predict("churn", ROW) == 0.5


def test_what_is_no_answer_is_refused_with_what_is():
    with override_predictor("churn", returns=object()), pytest.raises(TypeError, match="a number, the name of a class"):
        trivet.predict("churn", ROW)
    with override_predictor("churn", returns={}), pytest.raises(TypeError, match=r"not '\{\}', a dict"):
        trivet.predict("churn", ROW)
    with pytest.raises(TypeError, match="say what it returns, or what it raises"):
        override_predictor("churn")
    with pytest.raises(TypeError, match="say what it returns, or what it raises"):
        override_predictor("churn", returns=1, raises=Unavailable)
    with pytest.raises(ValueError, match="say 'churn'"):
        override_predictor("churn@2", returns=1)


def test_the_outbox_empties_itself_for_the_next_test_as_that_of_mail_does(monkeypatch: pytest.MonkeyPatch):
    trivet.predict("churn", ROW)
    assert len(outbox) == 1
    monkeypatch.setattr(mail, "outbox", [])  # as each test of Django's begins
    assert not outbox
    assert list(outbox) == []


@pytest.mark.django_db
def test_assertions_tell_what_was_asked_instead():
    customer = Customer.objects.create()
    trivet.predict("churn", ROW, entity_key=customer)
    trivet.predict("churn", ROW, entity_key="shop.customer:0")
    asserting.assertPredicted("churn")
    asserting.assertPredicted("churn", instance=customer, times=1, plan="monthly")
    asserting.assertNotPredicted("late")
    asserting.assertNotPredicted("churn", plan="yearly")
    asserting.assertNotPredicted("churn", nothing=None)
    asserting.assertPredictionCount(2)
    asserting.assertPredictionCount(0, "late")
    with pytest.raises(
        AssertionError, match=r"late was to be asked at least once, and was never\. Asked was:\n  churn"
    ):
        asserting.assertPredicted("late")
    with pytest.raises(AssertionError, match=f"asked 2 times about shop.customer:{customer.pk}, and was once"):
        asserting.assertPredicted("churn", instance=customer, times=2)
    with pytest.raises(AssertionError, match="was not to be asked with plan='monthly', and was 2 times"):
        asserting.assertNotPredicted("churn", plan="monthly")
    with pytest.raises(AssertionError, match="3 rows were to be predicted by churn, and 2 were"):
        asserting.assertPredictionCount(3, "churn")
    outbox.clear()
    with pytest.raises(AssertionError, match="Nothing was asked"):
        asserting.assertPredictionCount(1)


def test_a_suite_may_fail_what_no_test_answers_for():
    with override_settings(TRIVET_TESTS="raise"):
        with pytest.raises(AssertionError, match=r'override_predictor\("churn", returns=...\) says it'):
            trivet.predict("churn", ROW)
        with override_predictor("churn", returns=0.7):
            assert trivet.predict("churn", ROW) == 0.7


def test_models_themselves_are_asked_where_a_test_wants_it(monkeypatch: pytest.MonkeyPatch):
    def asked() -> None:
        raise NotFound("the process that holds models was asked.")

    monkeypatch.setattr("trivet.serving.predict.this_process", asked)
    with real_predictions(), pytest.raises(NotFound, match="holds models was asked"):
        trivet.predict("churn", ROW)
    assert not outbox
    assert trivet.predict("churn", ROW) == 0.5


def test_what_a_test_says_holds_over_real_predictions_and_these_over_the_setting(monkeypatch: pytest.MonkeyPatch):
    def asked() -> None:
        raise NotFound("the process that holds models was asked.")

    @real_predictions()
    def asks() -> float:
        return float(trivet.predict("churn", ROW))

    monkeypatch.setattr("trivet.serving.predict.this_process", asked)
    for mode in ("stub", "raise", "real"):
        with override_settings(TRIVET_TESTS=mode):
            with pytest.raises(NotFound, match="holds models was asked"):
                asks()
            with override_predictor("churn", returns=0.7):
                assert asks() == 0.7
    with override_settings(TRIVET_TESTS="real"), pytest.raises(NotFound, match="holds models was asked"):
        trivet.predict("churn", ROW)


def test_fixtures_come_by_themselves(stub_predictor: Any, prediction_outbox: Any):
    stub_predictor("churn", returns=0.8)
    assert trivet.predict("churn", ROW) == 0.8
    assert len(prediction_outbox) == 1


BLOCKED = """
    import sys

    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {"onnxruntime", "sklearn", "skl2onnx", "onnx", "joblib", "pandas", "xgboost"}:
                raise ImportError(f"{name} is not installed")

    sys.meta_path.insert(0, Blocked())
"""
SITE = """
    SECRET_KEY = "for this test"
    INSTALLED_APPS = ["trivet", "django.contrib.auth", "django.contrib.contenttypes"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
    USE_TZ = True
"""
SUITE = """
    import trivet
    from django.test import TestCase
    from trivet.testing import PredictionAssertions, override_predictor

    class First(PredictionAssertions, TestCase):
        @override_predictor("churn", returns=0.93)
        def test_risk(self):
            self.assertGreater(trivet.predict("churn", {"plan": "monthly"}), 0.8)
            self.assertPredicted("churn", times=1, plan="monthly")

    class Second(PredictionAssertions, TestCase):
        def test_nothing_is_left_of_another(self):
            self.assertPredictionCount(0)
            self.assertEqual(trivet.predict("churn", {}), 0.5)
            self.assertPredictionCount(1)
"""


@pytest.mark.parametrize("options", [[], ["--parallel", "2"]], ids=["alone", "parallel"])
def test_a_suite_of_a_project_needs_no_model_and_nothing_that_runs_one(tmp_path: Path, options: list[str]):
    for name, text in (("site_settings", BLOCKED + SITE), ("test_renewals", SUITE)):
        (tmp_path / f"{name}.py").write_text(dedent(text))
    done = subprocess.run(
        [sys.executable, "-m", "django", "test", "--settings", "site_settings", "--pythonpath", ".", *options],
        cwd=tmp_path,
        env={"PATH": "", "TRIVET_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 2 tests" in done.stderr


WITH_PYTEST = """
    from unittest import TestCase

    import trivet
    from trivet.testing import PredictionAssertions, outbox

    def test_first():
        trivet.predict("churn", {})
        assert len(outbox) == 1

    def test_nothing_is_left_of_another():
        assert not outbox
        trivet.predict("churn", {})

    class Third(PredictionAssertions, TestCase):
        def test_nothing_is_left_of_another(self):
            self.assertPredictionCount(0)
"""
WITHOUT_DJANGO = """
    import sys

    def test_nobody_imported_django():
        assert "django" not in sys.modules
"""


@pytest.mark.parametrize(
    ("suite", "options"),
    [(WITH_PYTEST, ["--ds=site_settings"]), (WITHOUT_DJANGO, ["-p", "no:django"]), (WITHOUT_DJANGO, [])],
    ids=["without-a-database", "no-pytest-django", "no-settings"],
)
def test_pytest_empties_the_outbox_between_tests_and_starts_in_projects_without_django(
    tmp_path: Path, suite: str, options: list[str]
):
    for name, text in (("site_settings", SITE), ("test_renewals", suite)):
        (tmp_path / f"{name}.py").write_text(dedent(text))
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *options],
        cwd=tmp_path,
        env={"PATH": "", "TRIVET_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
