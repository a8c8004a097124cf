"""As declared: an answer as a Predictor says that it is to be read, one number where its model gives one for each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from django.core.exceptions import ImproperlyConfigured

from trivet.control.registry.declarations import declared
from trivet.features.outputs import Probability
from trivet.serving.prediction import Prediction


def as_declared(model: str, predictions: list[Prediction]) -> list[Prediction]:
    """Return `predictions` of `model` with the probability of the class that its Predictor declares, where it declares one.

    Raises `ImproperlyConfigured` where the version that answered has no such class.
    """
    of = declared(model).probability_of
    return [_one_number(prediction, Probability(of)) for prediction in predictions] if of else predictions


def _one_number(prediction: Prediction, output: Probability) -> Prediction:
    if not isinstance(prediction.value, Mapping):
        return prediction
    try:
        return replace(prediction, value=output.among(prediction.value))
    except LookupError as error:
        raise ImproperlyConfigured(
            f"{prediction.model} {prediction.version} does not fit output = f.Probability({output.of!r}): {error}."
        ) from None
