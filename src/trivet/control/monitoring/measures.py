"""Measures by their names: which a version of each kind has, between what each can lie, and which are declared in vain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the mathematics goes by these names too, and needs no Django
    from trivet.control.registry.declarations import Declaration

OF_TWO_CLASSES = (  # that are always told
    *("auc", "average_precision", "accuracy", "precision", "recall", "f1"),
    *("brier", "log_loss", "calibration_error"),
)
OF_ONE_CLASS = ("average_precision", "precision", "recall", "specificity", "f1")  # of two classes the second's alone
OF_CLASSES = ("accuracy", "precision", "recall", "f1", "auc")  # of several; but for accuracy, means over classes
OF_A_NUMBER = ("mae", "rmse", "me", "r2")
TO_BE_ASKED = (*OF_TWO_CLASSES, "specificity")
METRICS = (*TO_BE_ASKED, *OF_A_NUMBER)  # that may be declared

OF_TASK: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "binary": ("of two classes", TO_BE_ASKED),
    "classes": ("of several classes", OF_CLASSES),
    "regression": ("that gives a number", OF_A_NUMBER),
}

MEAN = "macro_"


class Range(NamedTuple):
    """Between what a measure lies whatever the rows are; infinite where it has no end."""

    low: float
    high: float

    def clip(self, value: float) -> float:
        """Return `value`, or the end of the range that it is beyond."""
        return min(max(value, self.low), self.high)


RANGES: Mapping[str, Range] = {
    **dict.fromkeys(TO_BE_ASKED, Range(0.0, 1.0)),
    "log_loss": Range(0.0, math.inf),
    "mae": Range(0.0, math.inf),
    "rmse": Range(0.0, math.inf),
    "me": Range(-math.inf, math.inf),
    "r2": Range(-math.inf, 1.0),
}


def range_of(measure: str) -> Range:
    """Return between what `measure` lies; a mean over classes lies between what the measure of each does."""
    return RANGES[measure.removeprefix(MEAN)]


def mean_name(measure: str) -> str:
    """Return the name of the mean of `measure` over classes."""
    return MEAN + measure


def is_of(measure: str, said: str) -> bool:
    """Tell whether `measure` of a version is what was declared as `said`: of several classes that is a mean over them."""
    return measure.removeprefix(MEAN) == said


def without_effect(said: Declaration, task: str) -> Iterator[str]:
    """Yield what was declared of a model and has no effect on a version of this task, each with what would have one."""
    if task not in OF_TASK:
        return
    kind, measures = OF_TASK[task]
    if said.metric is not None and said.metric not in measures:
        yield f"Monitoring.metric {said.metric!r} is no measure of a version {kind}: use one of {', '.join(measures)}."
    if said.floor is not None and said.metric is not None and said.metric not in measures:
        yield f"Monitoring.floor {said.floor:g} is of {said.metric!r}, so it raises no alert of a version {kind} either."
    elif said.floor is not None and task == "regression":
        yield (
            f"Monitoring.floor {said.floor:g} raises no alert of a version {kind}: a floor is held against what is estimated "
            "of classes. Leave it out."
        )
