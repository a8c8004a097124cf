"""Overriding: what a model answers for as long as a test, a class of tests or a block runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from django.test.utils import TestContextDecorator

from trivet.core.errors import TrivetError
from trivet.serving.prediction import Prediction
from trivet.serving.stubs import REAL, Make, as_prediction, modes, overrides


class override_predictor(TestContextDecorator):  # noqa: N801  (as Django's own override_settings)
    """Let the model of this name answer what a test says: a decorator of functions and of test classes, and a context manager.

    `returns` is a number, the name of a class, a mapping of classes to probabilities or a `Prediction`, for every row; or a
    list of such, a row each, in order; or a callable, which is given the features of a row. `raises` is raised instead: an
    exception or its class. `decision` is the label in words of a number. Of nested ones the innermost holds.
    """

    def __init__(
        self,
        model: str,
        *,
        returns: Any = ...,
        raises: BaseException | type[BaseException] | None = None,
        decision: str = "",
    ) -> None:
        """Raises `TypeError` where not one of `returns` and `raises` is given, `ValueError` for a model with a selector."""
        super().__init__()
        if (returns is ...) == (raises is None):
            raise TypeError(f"override_predictor({model!r}): say what it returns, or what it raises.")
        name, selected, _ = model.partition("@")
        if selected:
            raise ValueError(f"override_predictor({model!r}): all versions answer the same; say {name!r}.")
        self._model, self._returns, self._raises, self._decision = model, returns, raises, decision
        self._held: list[Make] = []  # of this one, which may be entered while it holds

    def enable(self) -> None:
        """Let it hold."""
        make = _raiser(self._raises) if self._raises is not None else _maker(self._model, self._returns)
        if self._decision:
            make = _deciding(make, self._model, self._decision)
        self._held.append(make)
        overrides.setdefault(self._model, []).append(make)

    def disable(self) -> None:
        """Let it hold no longer, and the innermost of those that are left, in whichever order they end."""
        made = self._held.pop()
        left = [one for one in overrides[self._model] if one is not made]
        overrides[self._model] = left
        if not left:
            del overrides[self._model]


class real_predictions(TestContextDecorator):  # noqa: N801
    """Ask models themselves while a test, a class of tests or a block runs: versions of the test's own database."""

    def enable(self) -> None:
        """Let it hold."""
        modes.append(REAL)

    def disable(self) -> None:
        """Let what held before hold again."""
        modes.pop()


def _maker(model: str, returns: Any) -> Make:
    if callable(returns):
        return partial(returns)  # an object of its own, by which `disable` finds it
    if not isinstance(returns, list):
        return lambda _features: returns
    left, lock = iter(returns), threading.Lock()

    def next_one(_features: Mapping[str, Any]) -> Any:
        with lock:
            for value in left:
                return value
        raise AssertionError(
            f"{model} was asked for more than the {len(returns)} rows that override_predictor answers."
        )

    return next_one


def _raiser(error: BaseException | type[BaseException]) -> Make:
    def fail(_features: Mapping[str, Any]) -> Any:
        if isinstance(error, type) and issubclass(error, TrivetError):
            raise error("override_predictor raises it.")  # which has no error without words
        raise error

    return fail


def _deciding(make: Make, model: str, decision: str) -> Make:
    def decide(features: Mapping[str, Any]) -> Prediction:
        return replace(as_prediction(make(features), model, "", features), decision=decision)

    return decide
