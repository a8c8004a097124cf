"""What is taken off a trained object before it is compiled, and what it may not hold: code that no other process has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sklearn import model_selection, pipeline, semi_supervised
from sklearn.feature_extraction import text

from trivet.core.errors import CompileError

_FITTED_INSIDE: dict[type, str] = {
    model_selection.GridSearchCV: "best_estimator_",
    model_selection.RandomizedSearchCV: "best_estimator_",
    semi_supervised.SelfTrainingClassifier: "estimator_",
}

_MEMBERS = (
    "calibrated_classifiers_",
    "estimator_",
    "estimators_",
    "estimator",
)  # what wrappers hand a row to, as it is


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


def positive_place(model: Any) -> int:
    """Return the place among the classes of the one that a threshold classifier decides on: 1, or 0 where it was told so."""
    positive = getattr(model, "pos_label", None)
    return 0 if positive is not None and positive == model.classes_[0] else 1


def decision_threshold(model: Any) -> tuple[float, bool]:
    """Return the threshold of a threshold classifier, and whether it is on the decision function."""
    by_score = model.response_method == "decision_function" or (
        model.response_method == "auto" and not hasattr(model.estimator_, "predict_proba")
    )
    chosen = getattr(model, "best_threshold_", None)
    if chosen is None:
        chosen = model.threshold if model.threshold != "auto" else (0.0 if by_score else 0.5)
    return float(chosen), by_score


def takes_texts(model: Any) -> bool:
    """Tell whether the first step that sees a row is a vectoriser of texts: then a row is a text, without columns."""
    model = unwrapped(model)
    if isinstance(model, pipeline.Pipeline):
        first = next((step for _, step in model.steps if step not in (None, "passthrough")), None)
        return takes_texts(first)
    if isinstance(model, pipeline.FeatureUnion):
        return any(takes_texts(inner) for _, inner in model.transformer_list)
    if isinstance(model, text.CountVectorizer | text.HashingVectorizer):
        return True
    inside = next((found for name in _MEMBERS if (found := getattr(model, name, None)) is not None), None)
    return inside is not None and takes_texts(inside[0] if isinstance(inside, list) and inside else inside)


def check_functions(model: Any) -> None:
    """Raise `CompileError` where `model` calls a function that only the process it was trained in knows.

    That is a lambda, a function inside another, or one of `__main__`: it can be neither compiled nor found again. Functions
    that only shaped the training do no harm.
    """
    for name, value in unwrapped(model).get_params().items():
        function = _innermost(value)
        if name.rpartition("__")[2] not in OF_TRAINING_ONLY and callable(function) and (told := _untold(function)):
            owner = name.rpartition("__")[0] or type(model).__name__
            raise CompileError(
                f"{owner!r} calls {told} ({name.rpartition('__')[2]}), which exists only where it was trained. Use one of "
                "NumPy's abs, exp, expm1, log, log1p, sqrt and square, or do the calculation before the model is asked: "
                "declare it in a FeatureSet."
            )


def _innermost(value: Any) -> Any:
    while isinstance(value, partial):
        value = value.func
    return value


def _untold(function: Callable[..., Any]) -> str:
    """Return what to call a function that cannot be imported; empty for one that can, and for a class."""
    path = getattr(function, "__qualname__", "")
    if isinstance(function, type) or not path:
        return ""
    if "<lambda>" in path:
        return "a lambda"
    if "<locals>" in path:
        return f"{path.rpartition('.')[2]}, a function inside another"
    return f"{path}, a function of __main__" if getattr(function, "__module__", "") == "__main__" else ""


MOST_WRAPPERS = 8
OF_TRAINING_ONLY = frozenset(
    {"callbacks", "cv", "eval_metric", "importance_getter", "objective", "refit", "score_func", "scoring"}
)


def _attribute_of(model: Any) -> str | None:
    kind = type(model)
    if kind.__name__.startswith("Halving") and issubclass(kind, model_selection.GridSearchCV.__mro__[1]):
        return "best_estimator_"
    return _FITTED_INSIDE.get(kind)
