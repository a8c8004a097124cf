"""What is taken off a trained object before it is compiled: wrappers that only searched or decided how to train."""

from __future__ import annotations

from typing import Any

from sklearn import model_selection, pipeline, semi_supervised

_FITTED_INSIDE: dict[type, str] = {
    model_selection.GridSearchCV: "best_estimator_",
    model_selection.RandomizedSearchCV: "best_estimator_",
    semi_supervised.SelfTrainingClassifier: "estimator_",
}


def unwrapped(model: Any) -> Any:
    """Return the fitted estimator inside search and self-training objects, or `model` itself."""
    seen = 0
    while (attribute := _attribute_of(model)) and hasattr(model, attribute) and seen < MOST_WRAPPERS:
        model = getattr(model, attribute)
        seen += 1
    return model


def final_estimator(model: Any) -> Any:
    """Return the estimator that gives the answer: inside wrappers, the last step of a pipeline."""
    model = unwrapped(model)
    while isinstance(model, pipeline.Pipeline) and model.steps:
        model = unwrapped(model.steps[-1][1])
    return model


MOST_WRAPPERS = 8


def _attribute_of(model: Any) -> str | None:
    kind = type(model)
    if kind.__name__.startswith("Halving") and issubclass(kind, model_selection.GridSearchCV.__mro__[1]):
        return "best_estimator_"
    return _FITTED_INSIDE.get(kind)
