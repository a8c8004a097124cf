"""The original: the trained object as it is, asked for answers. Everything compiled is judged by what it says."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_outlier_detector, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from trivet.core.errors import CompileError
from trivet.core.signature import Task
from trivet.model.compile.converters.answers import class_labels, class_names
from trivet.model.compile.converters.ensembles import decision_threshold

THRESHOLD_CLASSIFIERS = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")


@dataclass(frozen=True)
class Answers:
    """Answers to some rows: `values` (rows, classes), (rows, 1) for regression or a single score, and a classifier's labels."""

    values: np.ndarray
    labels: np.ndarray | None = None

    def take(self, places: np.ndarray) -> Answers:
        """Return the answers at `places`."""
        return Answers(self.values[places], None if self.labels is None else self.labels[places])


class Original:
    """A fitted estimator. `answers` takes a DataFrame with the signature's fields and gives what the estimator says."""

    def __init__(self, model: Any, *, takes_matrix: bool) -> None:
        self.model = model
        self._takes_matrix = takes_matrix
        self.task: Task = _task_of(model)
        self.classes: np.ndarray | None = np.asarray(model.classes_) if self.task == "classification" else None
        if self.classes is not None:
            self.label_dtype = class_labels(self.classes).dtype
            self.class_names = class_names(self.classes)
        self.output_name = "prediction"
        if self.task == "classification":
            self.output_name = "probabilities" if hasattr(model, "predict_proba") else "scores"
            if self.output_name == "scores" and not hasattr(model, "decision_function"):
                raise CompileError(f"{type(model).__name__} answers with a class only, without any score to compare.")
        self.threshold = decision_threshold(model)[0] if type(model).__name__ in THRESHOLD_CLASSIFIERS else None

    def answers(self, frame: pd.DataFrame) -> Answers:
        """Return the estimator's answers; raises whatever the estimator raises for rows it refuses."""
        rows: Any = frame.to_numpy(np.float64) if self._takes_matrix else frame
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unseen categories, feature names: what it answers is the question
            if self.task == "regression":
                return Answers(_two_dimensional(self.model.predict(rows)))
            predicted = np.asarray(self.model.predict(rows))
            method = self.model.predict_proba if self.output_name == "probabilities" else self.model.decision_function
            values = _two_dimensional(method(rows))
        if predicted.ndim != 1:
            raise CompileError("several outputs in one model are not compiled yet; train one model for each.")
        return Answers(values, predicted.astype(self.label_dtype))


def check_fitted(model: Any) -> None:
    """Raise `CompileError` unless `model` is an estimator that was fitted and predicts."""
    kind = type(model)
    if isinstance(model, type) or not hasattr(model, "predict") or not hasattr(model, "get_params"):
        raise CompileError(
            f"a {kind.__module__}.{kind.__qualname__} is not a trained estimator: "
            "push an object with fit and predict (scikit-learn, XGBoost or LightGBM)."
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise CompileError(f"this {kind.__name__} is not fitted: call fit before pushing it.") from None
    except TypeError:
        raise CompileError(f"{kind.__name__} is not an estimator with fit and predict.") from None


def _task_of(model: Any) -> Task:
    if is_outlier_detector(model):
        raise CompileError(
            "outlier detectors are not compiled yet; that comes with native runtimes in a later release."
        )
    if hasattr(model, "classes_"):
        if isinstance(model.classes_, list):
            raise CompileError("several outputs in one model are not compiled yet; train one model for each.")
        return "classification"
    if is_regressor(model):
        return "regression"
    raise CompileError(
        f"{type(model).__name__} is neither a classifier nor a regressor; other kinds come in a later release."
    )


def _two_dimensional(values: Any) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim == 2 and array.shape[1] == 0:
        raise CompileError("the model answers with nothing.")
    return array.reshape(len(array), -1)
