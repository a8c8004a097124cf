"""Measures by their names: which a version of each kind has, and which of those that are declared have no effect on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

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


def without_effect(said: Declaration, task: str) -> Iterator[str]:
    """Yield what was declared of a model and has no effect on a version of this task, each with what would have one."""
    if task not in OF_TASK:
        return
    kind, measures = OF_TASK[task]
    if said.metric is not None and said.metric not in measures:
        yield f"Monitoring.metric {said.metric!r} is no measure of a version {kind}: use one of {', '.join(measures)}."
    if said.floor is not None and said.metric is not None and said.metric not in measures:
        yield f"Monitoring.floor {said.floor:g} is of {said.metric!r}, so it raises no alert of a version {kind} either."
    elif said.floor is not None and task != "binary":
        yield (
            f"Monitoring.floor {said.floor:g} raises no alert of a version {kind}: a floor is held against what is estimated "
            "of two classes. Leave it out."
        )
