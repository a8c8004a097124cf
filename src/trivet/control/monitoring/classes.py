"""Versions of several classes: how right one was, how right it probably is, and what is bet about that.

Each class is held against all others together, as if there were two; figures of the version are means over its classes
(macro). A class has a place of its own where it is among the twenty that were decided most often (`core/profile/making`):
with at most twenty classes all have one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from trivet.control.monitoring.estimates import (
    ENOUGH_ROWS,
    NOT_A_PROBABILITY,
    Draws,
    Estimate,
    Estimates,
    calibrated,
    chances_of,
    estimate_of,
    expected_labels,
)
from trivet.control.monitoring.measures import mean_name
from trivet.control.monitoring.performance import (
    DRAWS,
    ENOUGH_LABELS,
    MEASURES,
    SEED,
    Figure,
    Figures,
    NoFigure,
    accuracy_figure,
    not_yet,
    percentiles,
    realised,
    wilson,
)
from trivet.control.monitoring.truths import Truths, shares
from trivet.core.calibration import Calibration

AREA = "auc"
CLASS_MEASURES = ("precision", "recall", "f1", AREA)  # of each class, and as means over classes

Window = tuple[np.ndarray, np.ndarray]  # counts and sums of a score, (bins, 2) each
Calibrations = Mapping[str, Calibration | None]


# What was


@dataclass(frozen=True)
class ClassFigures:
    """How right a version of several classes was: its accuracy, each class by itself, and means over the classes that have one.

    Micro precision, recall and F1 are all the accuracy.
    """

    accuracy: Figure | NoFigure
    by_class: dict[str, Figures] = field(default_factory=dict)
    macro: Figures = field(default_factory=dict)


def realised_classes(
    counts: np.ndarray,
    classes: Iterable[str],
    scored: Mapping[str, Truths],
    *,
    need: int = ENOUGH_LABELS,
) -> ClassFigures:
    """Return the figures of a confusion matrix: rows by predicted class, columns by true class, (classes + 1,) each way.

    The last row and column are of every class that has no name here. `scored` holds the truths of each class by its
    score, of which the AUC is read. Proportions have Wilson's interval, F1 and the means the percentiles of 500 Poisson
    bootstraps of the matrix; that of the mean AUC is the mean of the classes' intervals, which is too wide rather than
    too narrow, since areas of one version need not move together. A class that never occurred has no recall, one that was
    never predicted no precision, and neither counts in the mean.
    """
    counts, names = np.asarray(counts), list(classes)
    if counts.shape != (len(names) + 1, len(names) + 1):
        raise ValueError(
            f"{len(names)} classes have a matrix of a row and a column more, for all others, not of shape {counts.shape}."
        )
    labels = float(counts.sum())
    if labels < need or labels <= 0:
        return ClassFigures(not_yet(labels, need), {}, dict.fromkeys(CLASS_MEASURES, not_yet(labels, need)))
    draws = np.random.default_rng(SEED).poisson(counts, (DRAWS, *counts.shape))
    f1 = _f1(draws)
    areas: Figures = {name: realised(table, [AREA], need=need)[AREA] for name, table in scored.items()}
    return ClassFigures(
        realised_accuracy(counts, need=need),
        {
            name: _class_figures(counts, place, f1[:, place]) | ({AREA: areas[name]} if name in areas else {})
            for place, name in enumerate(names)
        },
        {name: _mean_figure(of, counts, draws) for name, of in RATES.items()}
        | {AREA: _mean_area(list(areas.values()))},
    )


def realised_accuracy(counts: np.ndarray, *, need: int = ENOUGH_LABELS) -> Figure | NoFigure:
    """Return the share of rows that are right, of those that were decided to be a class with a name."""
    labels, decided = float(counts.sum()), float(counts[:-1].sum())
    if labels < need or labels <= 0:
        return not_yet(labels, need)
    if decided <= 0:
        return NoFigure(f"none of {labels:.0f} rows was decided to be one of these classes")
    return accuracy_figure(float(np.trace(counts[:-1, :-1])), decided, need=0)


def class_values(counts: np.ndarray, scored: Mapping[str, Truths]) -> dict[str, float]:
    """Return the accuracy and the means over classes by name, without intervals; NaN where there is none."""
    areas = np.array([float(MEASURES[AREA].of(table)) for table in scored.values()])
    right, decided = float(np.trace(counts[:-1, :-1])), float(counts[:-1].sum())
    macro = {name: float(_mean(of(counts))) for name, of in RATES.items()} | {AREA: float(_mean(areas))}
    return {"accuracy": right / decided if decided else math.nan} | {mean_name(name): v for name, v in macro.items()}


def _precision(counts: np.ndarray) -> np.ndarray:
    return shares(_right(counts), counts[..., :-1, :].sum(-1))


def _recall(counts: np.ndarray) -> np.ndarray:
    return shares(_right(counts), counts[..., :-1].sum(-2))


def _f1(counts: np.ndarray) -> np.ndarray:
    return shares(2 * _right(counts), counts[..., :-1, :].sum(-1) + counts[..., :-1].sum(-2))


# Of each class, (..., classes), from matrices of shape (..., classes + 1, classes + 1).
RATES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"precision": _precision, "recall": _recall, "f1": _f1}


def _right(counts: np.ndarray) -> np.ndarray:
    return np.diagonal(counts, axis1=-2, axis2=-1)[..., :-1]


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the classes that have a value; NaN where none has."""
    return shares(np.nansum(values, axis=-1), np.isfinite(values).sum(-1))


def _class_figures(counts: np.ndarray, place: int, f1_draws: np.ndarray) -> Figures:
    labels = float(counts.sum())
    right, predicted, true = (
        float(part) for part in (counts[place, place], counts[place].sum(), counts[:, place].sum())
    )
    either = NoFigure(f"of {labels:.0f} rows none is of this class, in truth or as predicted")
    return {
        "precision": _proportion(right, predicted, f"none of {labels:.0f} rows was predicted to be of this class"),
        "recall": _proportion(right, true, f"none of {labels:.0f} labels is of this class"),
        "f1": Figure(2 * right / (true + predicted), *percentiles(f1_draws), labels) if true + predicted else either,
    }


def _proportion(part: float, whole: float, otherwise: str) -> Figure | NoFigure:
    return Figure(part / whole, *wilson(part, whole), whole) if whole > 0 else NoFigure(otherwise)


def _mean_figure(of: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, draws: np.ndarray) -> Figure | NoFigure:
    value = float(_mean(of(counts)))
    if math.isnan(value):
        return NoFigure("no class has one")
    return Figure(value, *percentiles(_mean(of(draws))), float(counts.sum()))


def _mean_area(areas: Sequence[Figure | NoFigure]) -> Figure | NoFigure:
    known = [area for area in areas if isinstance(area, Figure)]
    if not known:
        return next((area for area in areas if isinstance(area, NoFigure)), NoFigure("no class has a score"))
    return Figure(
        _average([area.value for area in known]) or 0.0,
        _average([area.low for area in known]),
        _average([area.high for area in known]),
        max(area.labels for area in known),
        _average([area.binning for area in known]),
    )


def _average(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where one is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


# What is to be expected


class ClassEstimates(NamedTuple):
    """What is expected of a version of several classes: its accuracy, each class against all others, means over classes."""

    accuracy: Estimate | NoFigure
    by_class: dict[str, Estimates]
    macro: Estimates


def estimated_classes(
    windows: Mapping[str, Window],
    calibrations: Calibrations,
    *,
    is_complete: bool = True,
    measures: Iterable[str] = CLASS_MEASURES,
    need: int = ENOUGH_ROWS,
) -> ClassEstimates:
    """Return the estimates of a window of several classes, from counts and sums of scores by class, (bins, 2) each.

    Each class has a calibration of its own (or None) and is estimated against all others. Where every class is among
    `windows` (`is_complete`), chances are scaled by one factor so that the expected rows of all classes are the rows
    there were: calibrated one by one they need not be. Row by row it could be done better, but rows are not kept. The
    accuracy is of the rows whose predicted class is among `windows`. The sampling error of a mean is the mean of the
    classes' errors: they need not move together, so it is at most that.
    """
    names = list(measures)
    decided = sum(float(np.sum(counts[:, 1])) for counts, _ in windows.values())
    if decided < need or decided <= 0:
        return _none(not_yet(decided, need, "rows"), names)
    try:
        tables = _expected(windows, calibrations)
    except ValueError:
        return _none(NoFigure(NOT_A_PROBABILITY), names)
    factor = _factor(tables) if is_complete else 1.0
    tables = {name: _scaled(table, factor) for name, table in tables.items()}
    by_class: dict[str, Estimates] = {
        name: {measure: estimate_of(measure, draws, draws.table.labels) for measure in names}
        for name, draws in ((name, Draws(table)) for name, table in tables.items())
    }
    right = sum(float(table.positives[:, 1].sum()) for table in tables.values())
    spread = sum(float((table.positives * (1 - chances_of(table)))[:, 1].sum()) for table in tables.values())
    return ClassEstimates(
        Estimate(right / decided, math.sqrt(spread) / decided, decided),
        by_class,
        {measure: _mean_estimate([of[measure] for of in by_class.values()]) for measure in names},
    )


def cells_of_classes(
    truths: Mapping[str, Truths], windows: Mapping[str, Window], calibrations: Calibrations, *, is_complete: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences and counts of a cohort, for `Trust.update`: each row once, where its predicted class is.

    A row that was decided to be a class is wrong (a loss of 1) unless it is of that class, and the chance of that was
    expected: of its bin's mean score, scaled as `estimated_classes` does for the cohort, `windows`. Raises `ValueError`
    where scores are no probabilities.
    """
    factor = _factor(_expected(windows, calibrations)) if is_complete else 1.0
    gaps, counts = [], []
    for name, table in truths.items():
        chances = np.minimum(calibrated(table.mean_scores[:, 1], calibrations.get(name)) * factor, 1.0)
        gaps += [chances - 1, chances]  # of those that were of the class, of those that were not
        counts += [table.positives[:, 1], table.negatives[:, 1]]
    return np.concatenate(gaps), np.concatenate(counts)


def _none(reason: NoFigure, measures: Iterable[str]) -> ClassEstimates:
    return ClassEstimates(reason, {}, dict.fromkeys(measures, reason))


def _expected(windows: Mapping[str, Window], calibrations: Calibrations) -> dict[str, Truths]:
    return {name: expected_labels(*window, calibrations.get(name)) for name, window in windows.items()}


def _factor(tables: Mapping[str, Truths]) -> float:
    """Return by what the chances of all classes are to be multiplied, so that as many rows are expected as there are."""
    expected = sum(float(table.positives.sum()) for table in tables.values())
    return max(table.labels for table in tables.values()) / expected if expected > 0 else 1.0


def _scaled(table: Truths, factor: float) -> Truths:
    positives = np.minimum(table.positives * factor, table.counts)
    return Truths(positives, table.counts - positives, table.score_sums)


def _mean_estimate(estimates: Sequence[Estimate | NoFigure]) -> Estimate | NoFigure:
    known = [estimate for estimate in estimates if isinstance(estimate, Estimate)]
    if not known:
        return next(
            (estimate for estimate in estimates if isinstance(estimate, NoFigure)), NoFigure("no class has one")
        )
    return Estimate(
        _average([estimate.value for estimate in known]) or 0.0,
        _average([estimate.sampling_error for estimate in known]),
        max(estimate.rows for estimate in known),
    )
