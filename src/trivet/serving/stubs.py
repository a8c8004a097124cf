"""Stubs: what answers in place of models while a project's own tests run, so that these need no model.

Once Django's test environment is set up, `trivet.predict` and its like load no version: they answer what the test says
(`trivet.testing.override_predictor`), else what the model's Predictor says (`Meta.test_value`, or by its `output`), else 0.5,
and keep what was asked in `outbox`, as mail is kept. `TRIVET_TESTS` says otherwise: "raise" fails what no test has given an
answer for, "real" asks models.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.core import mail

from trivet import conf
from trivet.core.errors import quoted
from trivet.core.ids import new_prediction_id
from trivet.features.predictor import test_value_of
from trivet.serving.prediction import Prediction

Make = Callable[[Mapping[str, Any]], Any]  # features of a row to what a model would have said of it; it may raise

ROUTE = "stub"  # of a prediction that no model made
REAL, RAISE = "real", "raise"
TEST_VALUE = 0.5

overrides: dict[str, list[Make]] = {}  # by model; the last one is in force
modes: list[str] = []  # that stand in for TRIVET_TESTS; the last one is in force


@dataclass(frozen=True)
class Asked:
    """One row that a test had predicted: of which model, with which features, about whom, and what was answered.

    `selector` is the version or alias that was asked for, empty without one; `prediction` is None where a stub raised.
    """

    model: str
    selector: str
    features: Mapping[str, Any]
    entity_key: str
    caller: str
    prediction: Prediction | None


class Outbox(Sequence[Asked]):
    """What the running test had predicted, in order. It empties itself when the next test begins, as `mail.outbox` does."""

    def __init__(self) -> None:
        self._asked: list[Asked] = []
        self._mail: Any = None  # of the test that `_asked` is of: Django makes a new list for each

    def _of_this_test(self) -> list[Asked]:
        now = getattr(mail, "outbox", None)
        if now is not self._mail:
            self._asked, self._mail = [], now
        return self._asked

    def append(self, asked: Asked) -> None:
        """Keep one more."""
        self._of_this_test().append(asked)

    def clear(self) -> None:
        """Forget all."""
        self._of_this_test().clear()

    def __getitem__(self, index: Any) -> Any:
        return self._of_this_test()[index]

    def __len__(self) -> int:
        return len(self._of_this_test())

    def __repr__(self) -> str:
        return f"<Outbox {self._of_this_test()!r}>"


outbox = Outbox()


def in_place_of(model: str) -> Make | None:
    """Return what answers in place of `model` now; None outside of tests, and where models themselves are asked."""
    utils = sys.modules.get("django.test.utils")  # nobody has set up a test environment without it
    if utils is None or not hasattr(utils._TestState, "saved_data"):
        return None
    if said := overrides.get(model):
        return said[-1]
    mode = modes[-1] if modes else conf.TESTS()
    if mode == REAL:
        return None
    return _refuse(model) if mode == RAISE else _default(model)


def answered(
    make: Make,
    model: str,
    selector: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    entity_keys: Sequence[str],
    caller: str,
) -> list[Prediction]:
    """Return what `make` says of each row, and keep that it was asked; raises what it raises."""
    request, made = new_prediction_id(), []
    for number, features in enumerate(rows):
        key = entity_keys[number] if entity_keys else ""
        try:
            prediction = as_prediction(make(features), model, f"{request}:{number}", features)
        except BaseException:
            outbox.append(Asked(model, selector, features, key, caller, None))
            raise
        outbox.append(Asked(model, selector, features, key, caller, prediction))
        made.append(prediction)
    return made


def as_prediction(
    value: Any, model: str, row_id: str, features: Mapping[str, Any], *, who: str = "a stub", route: str = ROUTE
) -> Prediction:
    """Return the prediction that code means by a number, the name of a class, a mapping of classes to probabilities, or one.

    Raises `TypeError` for anything else.
    """
    if isinstance(value, Prediction):
        return replace(value, id=value.id or row_id)
    if isinstance(value, str):
        value = {value: 1.0}
    if isinstance(value, Mapping) and value:
        value, decision = dict(value), str(max(value, key=lambda name: value[name]))
    elif isinstance(value, numbers.Real | Decimal):
        value, decision = float(value), ""
    else:
        raise TypeError(
            f"{model}: {who} answers a number, the name of a class, a mapping of classes to probabilities or a "
            f"Prediction, not {quoted(str(value))}, a {type(value).__name__}."
        )
    return Prediction(
        value=value, decision=decision, model=model, version=0, digest="", id=row_id, route=route, features=features
    )


def _default(model: str) -> Make:
    value = test_value_of(model)
    return lambda _features: TEST_VALUE if value is None else value


def _refuse(model: str) -> Make:
    def refuse(_features: Mapping[str, Any]) -> Any:
        raise AssertionError(
            f"{model} was asked in a test that does not say what it answers: "
            f'override_predictor("{model}", returns=...) says it, TRIVET_TESTS = "stub" answers 0.5.'
        )

    return refuse
