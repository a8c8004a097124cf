"""The zoo: every case ends in the state written for it, and no compiled answer is wrong by the original's own word."""

import os

import pytest
from sklearn.utils import all_estimators
from tests.parity.zoo.cases import COMPILED, REFUSED, STATES, cases
from tests.parity.zoo.page import states_on_page
from tests.parity.zoo.running import run_zoo
from tests.scale import scaled

from trivet.model.compile import speed

LEAST_CASES = 150
LEAST_COMPILED = 0.85
NOT_IN_THE_ZOO = {  # and what is, and answers in the same way
    "CCA": "PLSRegression",
    "LabelPropagation": "LabelSpreading",
    "MultiTaskElasticNet": "ElasticNet",
    "MultiTaskElasticNetCV": "ElasticNetCV",
    "MultiTaskLasso": "Lasso",
    "MultiTaskLassoCV": "LassoCV",
    "PLSCanonical": "PLSRegression",
}
SHARE = int(
    os.environ.get("TRIVET_TEST_ZOO", scaled(test=6, ci=1, full=1))
)  # every how many-th case is run; what is refused always is


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The cases, pushed one after the other in this process and judged in another; speed is looked at briefly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "CALLS", 5)
        patch.setattr(speed, "WARM_UPS", 2)
        patch.setattr(speed, "MOST_SECONDS", 0.05)
        chosen = [case for place, case in enumerate(cases()) if place % SHARE == 0 or case.state == REFUSED]
        return run_zoo(chosen, tmp_path_factory.mktemp("zoo"))


@pytest.mark.timeout(600)
def test_A12_C9_no_case_is_silently_wrong(outcomes):
    assert [(outcome.case.name, outcome.wrong) for outcome in outcomes if outcome.wrong] == []


@pytest.mark.timeout(600)
def test_A12_C9_every_case_ends_in_the_state_written_for_it_and_says_why(outcomes):
    assert {o.state for o in outcomes} == set(STATES)
    assert [(o.case.name, o.state, o.reason) for o in outcomes if o.state != o.case.state] == []
    assert [o.case.name for o in outcomes if o.state != COMPILED and not o.reason] == []


@pytest.mark.timeout(600)
def test_compiled_answers_were_asked_for_on_many_rows_of_each_kind(outcomes):
    compiled = [outcome for outcome in outcomes if outcome.state == COMPILED]
    assert all(outcome.verdict.rows >= 50 for outcome in compiled)
    assert {kind for outcome in compiled for kind in outcome.verdict.kinds} == {
        "held",
        "missing",
        "unseen",
        "threshold",
        "large",
    }


def test_the_zoo_is_large_and_most_of_it_is_compiled():
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) >= LEAST_CASES
    assert sum(case.state == COMPILED for case in cases()) / len(names) >= LEAST_COMPILED


def kinds_of(model):
    """Return the names of the classes of an estimator and of those within it."""
    return {type(part).__name__ for part in (model, *model.get_params(deep=True).values())}


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_A12_every_classifier_and_regressor_of_scikit_learn_is_in_the_zoo(kind):
    """What becomes of each is written there, and `test_A12_C9_no_case_is_silently_wrong` asks the original about it."""
    kept = set().union(*(kinds_of(case.model) for case in cases()))
    assert {name for name, _ in all_estimators(type_filter=kind)} - kept - NOT_IN_THE_ZOO.keys() == set()


def test_the_page_of_models_names_every_case_with_its_state():
    assert states_on_page() == {case.name: case.state for case in cases()}, "run scripts/make_models_page.py"
