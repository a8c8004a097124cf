"""The original: the trained object as it is, asked for answers. Everything compiled is judged by what it says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClusterMixin, is_outlier_detector, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from trivet.core.errors import CompileError
from trivet.core.signature import Output, Task
from trivet.model.compile.converters.answers import class_labels, class_names
from trivet.model.compile.lowering import decision_threshold, final_estimator, positive_place
from trivet.model.runtimes.native.rows import categorised

THRESHOLD_CLASSIFIERS = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
LABEL, PREDICTION, PROBABILITIES, SCORES, DISTANCES = "label", "prediction", "probabilities", "scores", "distances"
METHODS = {PROBABILITIES: "predict_proba", SCORES: "decision_function", DISTANCES: "transform"}
NUMBERS_OF_TASK: dict[Task, tuple[str, ...]] = {
    "classification": (PROBABILITIES, SCORES),
    "outlier": (SCORES,),
    "cluster": (PROBABILITIES, DISTANCES),
}
OUTLIER_LABELS = np.array([-1, 1], np.int64)
BINARY = np.array([0, 1])


@dataclass(frozen=True)
class Answers:
    """Answers to some rows: `values` (rows, columns) and `labels`, (rows,) or (rows, targets), None without decisions.

    Columns are the classes, clusters or targets; there are none where the model gives a label alone. With several
    targets that have classes, `widths` says how many columns each has, side by side.
    """

    values: np.ndarray
    labels: np.ndarray | None = None
    widths: tuple[int, ...] = ()

    def take(self, places: np.ndarray) -> Answers:
        """Return the answers at `places`."""
        return Answers(self.values[places], None if self.labels is None else self.labels[places], self.widths)


@dataclass(frozen=True)
class Target:
    """One of the things a model says of a row. `suffix` tells several apart (`_0`, `_1`); a single one has none.

    `numbers` is what its columns are called (`probabilities`, `scores`, `distances`, `prediction`), None for a label
    alone. `labels` are the values a label may take, as they travel, None where there is no label; `names` those for people.
    """

    suffix: str
    numbers: str | None
    first: int  # place of its first column in `Answers.values`
    width: int
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    is_flat: bool = False

    @property
    def columns(self) -> slice:
        """The target's places in `Answers.values`."""
        return slice(self.first, self.first + self.width)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The tensors of the signature: the label, then the numbers."""
        found = []
        if self.labels is not None:
            kind = "BYTES" if self.labels.dtype.kind == "O" else "INT64"
            names = self.names or None
            found.append(Output(name=LABEL + self.suffix, datatype=kind, shape=(-1,), classes=names))
        if self.numbers is not None:
            shape = (-1,) if self.is_flat else (-1, self.width)
            found.append(Output(name=self.numbers + self.suffix, datatype="FP64", shape=shape, classes=self._shown()))
        return tuple(found)

    def _shown(self) -> tuple[str, ...] | None:
        """Return the names of the columns: all classes, the second alone, or none (one column for a pair of classes)."""
        if self.is_flat or not self.names:
            return None
        return {len(self.names): self.names, 1: self.names[-1:]}.get(self.width)


class Original:
    """A fitted estimator. `answers` takes a DataFrame with the signature's fields and gives what the estimator says."""

    def __init__(self, model: Any, *, takes_matrix: bool, takes_texts: bool = False) -> None:
        self.model = model
        self._takes_matrix = takes_matrix
        self._takes_texts = takes_texts
        self._final = final_estimator(model)
        self.task: Task = _task_of(model, self._final)
        classes = model.classes_ if self.task == "classification" else None
        self.classes: np.ndarray | None = None  # of a classifier with one target
        if classes is not None and not isinstance(classes, list):
            self.classes = np.asarray(classes)
            self.label_dtype = class_labels(self.classes).dtype
            self.class_names = class_names(self.classes)
        self.numbers = _numbers_of(model, self._final, self.task)
        self.threshold = _threshold_of(self._final, self.numbers)

    def answers(self, frame: pd.DataFrame) -> Answers:
        """Return the estimator's answers; raises whatever the estimator raises for rows it refuses."""
        rows = self._rows(frame)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unseen categories, feature names: what it answers is the question
            predicted = _dense(self.model.predict(rows))
            if self.task == "regression":
                return Answers(_two_dimensional(predicted))
            given = None if self.numbers is None else getattr(self.model, METHODS[self.numbers])(rows)
        if self.task == "classification" and predicted.ndim == 2 and (predicted.shape[1] > 1 or self.classes is None):
            return _several(predicted, given, self.numbers)
        values = np.zeros((len(predicted), 0)) if given is None else _two_dimensional(_dense(given))
        return Answers(values, predicted.reshape(-1).astype(self._label_dtype()))

    def gives_list(self, frame: pd.DataFrame) -> bool:
        """True where the numbers of several targets are an array each, and not columns of one."""
        if self.numbers is None or self.task == "regression":
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return isinstance(getattr(self.model, METHODS[self.numbers])(self._rows(frame)), list)

    def _rows(self, frame: pd.DataFrame) -> Any:  # as the estimator takes them
        if self._takes_texts:
            return frame.iloc[:, 0].to_numpy(object)
        if self._takes_matrix:
            return frame.to_numpy(np.float64)
        return categorised(frame) if type(self.model).__module__.partition(".")[0] == "lightgbm" else frame

    def targets(self, answers: Answers) -> tuple[Target, ...]:
        """Return what the model says of a row, as its `answers` to some rows show."""
        width = answers.values.shape[1]
        if self.task == "regression":
            suffixes = [""] if width == 1 else [f"_{i}" for i in range(width)]
            return tuple(Target(suffix, PREDICTION, i, 1, is_flat=True) for i, suffix in enumerate(suffixes))
        if self.task == "outlier":
            return (Target("", self.numbers, 0, width, OUTLIER_LABELS, ("-1", "1"), is_flat=True),)
        if self.task == "cluster":
            clusters = np.arange(width, dtype=np.int64)
            return (Target("", self.numbers, 0, width, clusters, tuple(map(str, clusters.tolist()))),)
        if answers.labels is None or answers.labels.ndim == 1:
            assert self.classes is not None  # noqa: S101  (one target has one list of classes)
            return (Target("", self.numbers, 0, width, class_labels(self.classes), self.class_names),)
        firsts = np.cumsum([0, *answers.widths]).tolist()
        classes = _classes_by_target(self.model, self._final, answers.labels.shape[1])
        return tuple(
            Target(f"_{i}", self.numbers, firsts[i], answers.widths[i], class_labels(own), class_names(own))
            for i, own in enumerate(classes)
        )

    def _label_dtype(self) -> Any:
        return self.label_dtype if self.classes is not None else np.int64


def as_answers(targets: Sequence[Target], tensors: Mapping[str, np.ndarray], rows: int) -> Answers:
    """Return the output `tensors` of `rows` rows as answers."""
    values = [tensors[t.numbers + t.suffix].reshape(rows, -1) for t in targets if t.numbers is not None]
    joined = np.concatenate(values, axis=1).astype(np.float64, copy=False) if values else np.zeros((rows, 0))
    labels = [tensors[LABEL + t.suffix].reshape(rows) for t in targets if t.labels is not None]
    if len(targets) == 1 or not labels:
        return Answers(joined, labels[0] if labels else None)
    together = np.stack([column.astype(object) for column in labels], axis=1)
    return Answers(joined, together, tuple(t.width for t in targets))


def check_fitted(model: Any) -> None:
    """Raise `CompileError` unless `model` is an estimator that was fitted and predicts."""
    kind = type(model)
    if hasattr(model, "fit_predict") and hasattr(model, "get_params") and not hasattr(model, "predict"):
        raise CompileError(
            f"this {kind.__name__} only labels the rows it was fitted on: it has no predict for new ones. "
            "Use novelty=True with LocalOutlierFactor, or KMeans in place of a clustering without predict."
        )
    if isinstance(model, type) or not hasattr(model, "predict") or not hasattr(model, "get_params"):
        raise CompileError(
            f"a {kind.__module__}.{kind.__qualname__} is not a trained estimator: "
            "push an object with fit and predict (scikit-learn, XGBoost or LightGBM). "
            "`trivet inspect FILE` says what a file asks for."
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise CompileError(f"this {kind.__name__} is not fitted: call fit before pushing it.") from None
    except TypeError:
        raise CompileError(f"{kind.__name__} is not an estimator with fit and predict.") from None


def _task_of(model: Any, final: Any) -> Task:
    if is_outlier_detector(model):
        return "outlier"
    if hasattr(model, "classes_") and not is_regressor(model):  # CatBoost's regressors have an empty list of them
        return "classification"
    if is_regressor(model) or type(final).__name__.endswith("Ranker"):
        return "regression"
    if isinstance(final, ClusterMixin) or (hasattr(model, "predict_proba") and hasattr(final, "weights_")):
        return "cluster"  # a mixture assigns rows to its components
    raise CompileError(
        f"{type(model).__name__} is no classifier, regressor, outlier detector or cluster model: "
        "inherit from one of scikit-learn's mixins, so that its answers have a meaning."
    )


def _numbers_of(model: Any, final: Any, task: Task) -> str | None:
    """Return what the estimator's numbers are called; None where it answers with a label alone."""
    if task == "regression":
        return PREDICTION
    for name in NUMBERS_OF_TASK[task]:
        if name == DISTANCES and not hasattr(final, "cluster_centers_"):
            continue  # Birch: distances to its subclusters, which are no labels
        if hasattr(model, METHODS[name]):
            return name
    return None


def _threshold_of(final: Any, numbers: str | None) -> float | None:
    """Return the threshold on the second class, where it is on the very numbers that the estimator shows."""
    if type(final).__name__ not in THRESHOLD_CLASSIFIERS:
        return None
    threshold, by_score = decision_threshold(final)
    is_on_the_second = positive_place(final) == 1  # else the label alone tells
    return threshold if is_on_the_second and by_score == (numbers == SCORES) else None


def _several(predicted: np.ndarray, given: Any, numbers: str | None) -> Answers:
    """Return the answers of several targets, from a list of arrays or one column a target."""
    labels = predicted.astype(object)
    targets = labels.shape[1]
    if given is None:
        return Answers(np.zeros((len(labels), 0)), labels, (0,) * targets)
    if isinstance(given, list):
        parts = [_two_dimensional(part) for part in given]
    else:
        array = _two_dimensional(_dense(given))
        parts = [array[:, i : i + 1] for i in range(array.shape[1])]
        if numbers == PROBABILITIES:  # of the label's being set
            parts = [np.concatenate([1.0 - part, part], axis=1) for part in parts]
    if len(parts) != targets:
        raise CompileError(f"the model predicts {targets} targets, but gives numbers for {len(parts)}.")
    return Answers(np.concatenate(parts, axis=1), labels, tuple(part.shape[1] for part in parts))


def _classes_by_target(model: Any, final: Any, targets: int) -> list[Any]:
    """Return the classes of each target; labels that are set or not have 0 and 1."""
    classes = model.classes_
    if not isinstance(classes, list):
        return [BINARY] * targets
    order = list(getattr(final, "order_", range(targets)))  # a chain lists them in the order of its links
    return [classes[order.index(i)] for i in range(targets)]


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _two_dimensional(values: Any) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim == 2 and array.shape[1] == 0:
        raise CompileError("the model answers with nothing.")
    return array.reshape(len(array), -1)
