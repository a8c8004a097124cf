"""Tasks: in what a version can be right or wrong, what is read from its counts about that, and what is bet."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from trivet.control.monitoring.classes import (
    CLASS_MEASURES,
    Window,
    cells_of_classes,
    class_values,
    estimated_classes,
    realised_accuracy,
    realised_classes,
)
from trivet.control.monitoring.estimates import MEASURED, Estimate, Estimates, calibrated, estimated
from trivet.control.monitoring.measures import OF_A_NUMBER, OF_CLASSES, OF_TWO_CLASSES, mean_name
from trivet.control.monitoring.performance import MEASURES, Figures, NoFigure, realised
from trivet.control.monitoring.regression import EXPECTED, RegressionSums, estimated_regression, realised_regression
from trivet.control.monitoring.trust import cells
from trivet.control.monitoring.truths import Truths, classes_of, scores_of, truths_of
from trivet.core.calibration import Calibration
from trivet.core.profile.labels import LabelTable, empty_labels
from trivet.core.profile.losses import WHY_NONE
from trivet.core.profile.profile import Profile
from trivet.core.profile.reference import Reference

DRAWN = ("auc", "accuracy")  # of each cohort, besides its metric: the others draw samples, which takes a while


class Positives(NamedTuple):
    """How many labelled rows were of a class, and how many were likely to be."""

    name: str
    were: int
    likely: float


class Bets(NamedTuple):
    """The labels of a cohort: what they differ by from what was expected, and how many by how much; how many rows were wrong."""

    differences: np.ndarray
    counts: np.ndarray
    wrong: int
    positives: Positives | None = None  # of two classes

    @property
    def labels(self) -> int:
        """How many there are."""
        return round(float(self.counts.sum()))

    @property
    def expected(self) -> float:
        """How many rows were expected to be wrong."""
        return self.wrong - float((self.counts * self.differences).sum())


class OfClass(NamedTuple):
    """One of several classes against all others: how right it was, and probably is."""

    realised: Figures
    estimated: Estimates


@dataclass(frozen=True)
class Performance:
    """How right a version was, and probably is; of several classes also each by itself."""

    realised: Figures = field(default_factory=dict)
    estimated: Estimates = field(default_factory=dict)
    by_class: Mapping[str, OfClass] = field(default_factory=dict)


class Task:
    """What nobody can say whether it is right: a version without a score and classes."""

    name: ClassVar[str] = "none"
    metric: str = "accuracy"  # the one that a version is judged by, and that is drawn
    choices: ClassVar[Collection[str]] = ()  # of metrics, where another may be declared
    needs_hours: ClassVar[bool] = False  # of labels, where sums of days are not enough
    is_estimated: ClassVar[bool] = False  # from scores alone, so that labels can be held against the estimate
    is_error: ClassVar[bool] = False  # the higher its metric, the worse

    def __init__(self, reference: Reference, metric: str | None = None) -> None:
        """Read what is counted by `reference`; the metric is the one that was declared, where the task has that."""
        self.reference = reference
        if metric is not None and metric in self.choices:
            self.metric = metric

    def performance(self, counts: Profile, tables: Sequence[LabelTable]) -> Performance:  # noqa: ARG002  (of who has some)
        """Return all that is known of `counts` and of the labels of the same time: hour by hour where it `needs_hours`."""
        return Performance()

    def realised(self, counts: Profile, tables: Sequence[LabelTable]) -> Figures:
        """Return of that what was realised."""
        return self.performance(counts, tables).realised

    def drawn(self, counts: Profile, tables: Sequence[LabelTable]) -> Performance:
        """Return of a cohort what takes no time."""
        return self.performance(counts, tables)

    @property
    def is_watched(self) -> bool:
        """Whether somebody is told when the estimate of its metric is worse than usual: where false alarms were simulated."""
        return False

    def watched(self, counts: Profile) -> Estimate | NoFigure:  # noqa: ARG002
        """Return that estimate, of `counts`."""
        return NoFigure("nothing is estimated")

    def values(self, counts: Profile, table: LabelTable) -> dict[str, float]:  # noqa: ARG002
        """Return what was realised in a piece of the reference, without intervals."""
        return {}

    def bets(self, counts: Profile, table: LabelTable) -> Bets | None:  # noqa: ARG002
        """Return what labels differ by from what was expected, and how many by how much; None where nothing was expected."""
        return None


class Binary(Task):
    """Two classes, and a score that says how likely the second is."""

    name = "binary"
    metric = "auc"
    choices = MEASURES
    is_estimated = True

    def performance(self, counts: Profile, tables: Sequence[LabelTable]) -> Performance:
        """Return every measure."""
        return self._of(counts, tables, self._measures)

    def realised(self, counts: Profile, tables: Sequence[LabelTable]) -> Figures:
        """Return every measure, without drawing what might have been expected."""
        return realised(self._truths(counts, tables), self._measures)

    def drawn(self, counts: Profile, tables: Sequence[LabelTable]) -> Performance:
        """Return the metric, and the measures whose interval needs no draws."""
        return self._of(counts, tables, dict.fromkeys((*DRAWN, self.metric)))

    @property
    def is_watched(self) -> bool:
        """Where its metric is estimated."""
        return self.metric in MEASURED

    def watched(self, counts: Profile) -> Estimate | NoFigure:
        """Return the estimate of its metric alone."""
        return estimated(*scores_of(self.reference, counts), self.reference.calibration, [self.metric])[self.metric]

    def values(self, counts: Profile, table: LabelTable) -> dict[str, float]:
        """Return every measure."""
        truths = truths_of(self.reference, table, counts)
        return {name: float(MEASURES[name].of(truths)) for name in self._measures}

    def bets(self, counts: Profile, table: LabelTable) -> Bets | None:
        """Return the cells of the only score."""
        if not is_probability(self.reference, 0):
            return None
        truths, calibration = truths_of(self.reference, table, counts), self.reference.calibration
        wrong = truths.positives[..., 0].sum() + truths.negatives[..., 1].sum()
        likely = float((calibrated(truths.mean_scores, calibration) * truths.counts).sum())
        positives = Positives(self.reference.scores[0].name, int(truths.positives.sum()), likely)
        return Bets(*cells(truths, calibration), int(wrong), positives)

    @property
    def _measures(self) -> Collection[str]:
        return dict.fromkeys((*OF_TWO_CLASSES, self.metric))

    def _of(self, counts: Profile, tables: Sequence[LabelTable], measures: Collection[str]) -> Performance:
        truths = self._truths(counts, tables)
        of_both = [measure for measure in measures if measure in MEASURED]
        by_bin, sums = scores_of(self.reference, counts)
        return Performance(realised(truths, measures), estimated(by_bin, sums, self.reference.calibration, of_both))

    def _truths(self, counts: Profile, tables: Sequence[LabelTable]) -> Truths:
        return truths_of(self.reference, summed(self.reference, tables), counts)


class Classes(Task):
    """More than two classes; each that has a place has a score of its own."""

    name = "classes"
    choices = OF_CLASSES
    is_estimated = True

    def __init__(self, reference: Reference, metric: str | None = None) -> None:
        """Read what is counted by `reference`; of several classes a metric is its mean over them, but for accuracy."""
        super().__init__(reference, metric)
        if self.metric != Task.metric:
            self.metric = mean_name(self.metric)

    def performance(self, counts: Profile, tables: Sequence[LabelTable]) -> Performance:
        """Return the accuracy, means over classes, and each class by itself."""
        table = summed(self.reference, tables)
        matrix, names = classes_of(self.reference, table)
        was = realised_classes(matrix, names, self._truths(counts, table))
        probably = estimated_classes(self._windows(counts), self._calibrations, is_complete=self._is_complete)
        return Performance(
            {"accuracy": was.accuracy, **{mean_name(name): of for name, of in was.macro.items()}},
            {"accuracy": probably.accuracy, **{mean_name(name): of for name, of in probably.macro.items()}},
            {name: OfClass(was.by_class.get(name, {}), probably.by_class.get(name, {})) for name in names},
        )

    def drawn(self, counts: Profile, tables: Sequence[LabelTable]) -> Performance:
        """Return the accuracy, and the other measures where the metric is one of them."""
        if self.metric != Task.metric:
            return self.performance(counts, tables)
        matrix, _ = classes_of(self.reference, summed(self.reference, tables))
        probably = estimated_classes(
            self._windows(counts), self._calibrations, is_complete=self._is_complete, measures=()
        )
        return Performance({"accuracy": realised_accuracy(matrix)}, {"accuracy": probably.accuracy})

    @property
    def is_watched(self) -> bool:
        """Always: each metric that it may have is estimated."""
        return True

    def watched(self, counts: Profile) -> Estimate | NoFigure:
        """Return the estimate of its metric alone."""
        of_classes = [measure for measure in CLASS_MEASURES if mean_name(measure) == self.metric]
        found = estimated_classes(
            self._windows(counts), self._calibrations, is_complete=self._is_complete, measures=of_classes
        )
        return found.macro[of_classes[0]] if of_classes else found.accuracy

    def values(self, counts: Profile, table: LabelTable) -> dict[str, float]:
        """Return the accuracy and means over classes."""
        return class_values(classes_of(self.reference, table)[0], self._truths(counts, table))

    def bets(self, counts: Profile, table: LabelTable) -> Bets | None:
        """Return the cells of every score, each where its class was decided."""
        if not all(is_probability(self.reference, number) for number in range(len(self.reference.scores))):
            return None
        truths = self._truths(counts, table)
        gaps = cells_of_classes(truths, self._windows(counts), self._calibrations, is_complete=self._is_complete)
        return Bets(*gaps, sum(int(of.negatives[:, 1].sum()) for of in truths.values()))

    def _truths(self, counts: Profile, table: LabelTable) -> dict[str, Truths]:
        scores = self.reference.scores
        return {bins.name: truths_of(self.reference, table, counts, number) for number, bins in enumerate(scores)}

    def _windows(self, counts: Profile) -> dict[str, Window]:
        scores = self.reference.scores
        return {bins.name: scores_of(self.reference, counts, number) for number, bins in enumerate(scores)}

    @property
    def _calibrations(self) -> dict[str, Calibration | None]:
        known = self.reference.calibrations or (None,) * len(self.reference.scores)
        return {bins.name: calibration for bins, calibration in zip(self.reference.scores, known, strict=True)}

    @property
    def _is_complete(self) -> bool:
        return len(self.reference.scores) == len(self.reference.classes)


class Regression(Task):
    """A number; of several the first, which labels are of."""

    name = "regression"
    metric = "mae"
    choices = OF_A_NUMBER
    needs_hours = True  # its intervals are drawn from them
    is_error = True  # of what is watched

    def performance(self, counts: Profile, tables: Sequence[LabelTable]) -> Performance:
        """Return what the errors say, and what the loss model expects of them, or why there is none."""
        drawn = self.drawn(counts, tables)
        reason = NoFigure(f"no estimate: {self._why_none}")
        return Performance(drawn.realised, drawn.estimated or dict.fromkeys(EXPECTED, reason))

    def realised(self, counts: Profile, tables: Sequence[LabelTable]) -> Figures:  # noqa: ARG002
        """Return what the errors say."""
        unit = self.reference.scores[0].unit
        return realised_regression([_sums(table, unit) for table in tables])

    def drawn(self, counts: Profile, tables: Sequence[LabelTable]) -> Performance:
        """Return both, without a reason."""
        return Performance(self.realised(counts, tables), self._expected(counts))

    @property
    def is_watched(self) -> bool:
        """Where it has a loss model, of what that expects."""
        return self.reference.loss is not None and self.metric in EXPECTED

    def watched(self, counts: Profile) -> Estimate | NoFigure:
        """Return what the loss model expects."""
        return self._expected(counts)[self.metric]

    def values(self, counts: Profile, table: LabelTable) -> dict[str, float]:
        """Return the same."""
        figures = self.realised(counts, [table])
        return {name: getattr(figure, "value", math.nan) for name, figure in figures.items()}

    def _expected(self, counts: Profile) -> Estimates:
        if self.reference.loss is None:
            return {}
        return estimated_regression(counts.losses, self.reference.loss, self.reference.scores[0].unit)

    @property
    def _why_none(self) -> str:
        """Why nothing is expected of errors."""
        if self.reference.no_loss in WHY_NONE:
            return WHY_NONE[self.reference.no_loss]
        if self.reference.labels is None:
            return "nobody said what turned out true of the reference (push with --labels)"
        return "it was pushed before errors were learned (push it again)"


def _sums(table: LabelTable, unit: float) -> RegressionSums:
    rows, error, absolute, squared, truth, truth_squared = table.errors[0]
    return RegressionSums(rows, error, absolute, squared, truth, truth_squared, unit)


OF_TASK: dict[str, type[Task]] = {kind.name: kind for kind in (Binary, Classes, Regression)}


def task_of(reference: Reference, metric: str | None = None) -> Task:
    """Return what a version does, as far as it can be right or wrong; `metric` is what was declared of its model."""
    if not reference.scores:
        return Task(reference)
    return OF_TASK[reference.task](reference, metric)


def summed(reference: Reference, tables: Sequence[LabelTable]) -> LabelTable:
    """Return the table of all labels of `tables`."""
    return sum(tables, empty_labels(reference))


def is_probability(reference: Reference, number: int) -> bool:
    """Tell whether the score with `number` is one, or its calibration makes one of it."""
    if reference.calibrations and reference.calibrations[number] is not None:
        return True
    return reference.scores[number].is_share
