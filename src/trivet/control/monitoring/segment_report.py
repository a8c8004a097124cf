"""The report of segments: how right a version is for each value of a column, and whether it treats them alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeGuard

import numpy as np

from trivet.control.monitoring.dimensions import dimensions_of, why_not
from trivet.control.monitoring.gaps import RATES, Gap, Scored, Share, calibration_gaps, rate_gaps, selection_ratios
from trivet.control.monitoring.models import Arm, LabelProfile, Profile
from trivet.control.monitoring.packing import total_of, total_of_labels
from trivet.control.monitoring.performance import (
    Figure,
    NoFigure,
    accuracy_figure,
    area_figure,
)
from trivet.control.monitoring.references import Watched
from trivet.control.monitoring.regression import RegressionSums, realised_regression
from trivet.control.monitoring.truths import Confusion
from trivet.control.predictions.shipping import moment_of
from trivet.control.registry.declarations import declared
from trivet.core.profile.labels import LabelTable
from trivet.core.profile.profile import Profile as Counts
from trivet.core.profile.reference import BINARY, CLASSES, Reference
from trivet.core.profile.scores import ScoreBins
from trivet.core.profile.segments import RIGHT, WRONG, Dimension, SegmentLayout

SELECTION, CALIBRATION = "selection_ratio", "calibration"
GAPS = (SELECTION, *RATES, CALIBRATION)  # in the order in which they are shown
SOON = "nothing is counted by it yet: that begins with the next predictions."

Gaps = Mapping[str, Gap | NoFigure]


@dataclass(frozen=True)
class Segment:
    """The rows of one value of a column, or of those that have none of the values that are counted apart (`is_value`).

    `gaps` is how far they are from the others, of two classes: how often they are selected as a multiple of the others, and
    how much oftener, as shares, they are found and wrongly selected; and by how much their mean score is beside the truth.
    """

    title: str
    is_value: bool
    rows: int
    labels: int
    figure: Figure | NoFigure
    gaps: Gaps


class Standing(StrEnum):
    """What is to be said of the segments of a column, all in all."""

    EMPTY = "empty"  # no rows
    APART = "apart"  # some are beyond a limit, and not by chance
    ALIKE = "alike"
    FEW = "few"  # rows or labels
    NOT_COMPARED = "not compared"  # but of two classes


@dataclass(frozen=True)
class Segmentation:
    """A column by whose values rows are told apart; `problem` says why there are none.

    `since` is where counting began later than the version's first prediction.
    """

    name: str
    problem: str
    since: datetime | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def flagged(self) -> tuple[Segment, ...]:
        """The segments with a gap that is beyond its limit, and not by chance."""
        return tuple(one for one in self.segments if any(gap.is_flagged for gap in one.gaps.values() if _is_gap(gap)))

    @property
    def standing(self) -> Standing:
        """What is to be said of them all."""
        gaps = [gap for segment in self.segments for gap in segment.gaps.values()]
        if not self.segments:
            return Standing.EMPTY
        if not gaps:
            return Standing.NOT_COMPARED
        if self.flagged:
            return Standing.APART
        return Standing.ALIKE if any(map(_is_gap, gaps)) else Standing.FEW


def _is_gap(gap: Gap | NoFigure) -> TypeGuard[Gap]:
    return isinstance(gap, Gap)


def without_values(told: Iterable[Segmentation]) -> tuple[Segmentation, ...]:
    """Return `told` as it may be read by who may see the model and not its inputs, of which all values are."""
    return tuple(
        one if one.problem else Segmentation(one.name, "its values are shown to who may see inputs.") for one in told
    )


def segmentations(found: Watched, start: datetime, end: datetime) -> tuple[Segmentation, ...]:
    """Return the segments of the champion's answers between two days, for each column that its model declares.

    Nothing is said of fewer rows, or labels, than `min_segment_rows` of the declaration.
    """
    declaration = declared(found.version.model.name)
    if not declaration.segments:
        return ()
    counted = {dimension.name: dimension for dimension in dimensions_of(found.version)}
    rows, labels = _counted(Profile, found, counted, start, end), _counted(LabelProfile, found, counted, start, end)
    told = []
    for name in dict.fromkeys(declaration.segments):
        problem = why_not(found, name) or ("" if name in counted else SOON)
        if problem:
            told.append(Segmentation(name, problem))
            continue
        dimension = counted[name]
        layout = SegmentLayout(found.reference, dimension)
        profile = total_of(rows.get(name, ()), layout.empty)
        table = total_of_labels(labels.get(name, ()), layout.empty_labels)
        segments = _segments(found.reference, dimension, profile, table, declaration.min_segment_rows)
        told.append(Segmentation(name, "", moment_of(dimension.since) if dimension.since else None, tuple(segments)))
    return tuple(told)


def _counted(
    table: type[Profile | LabelProfile], found: Watched, names: Iterable[str], start: datetime, end: datetime
) -> dict[str, list[bytes | memoryview]]:
    """Return the payloads of each of `names`."""
    rows = table.objects.filter(
        version=found.version, arm=Arm.CHAMPION, segment__in=list(names), start__gte=start, start__lt=end
    )
    payloads: dict[str, list[bytes | memoryview]] = {}
    for name, payload in rows.values_list("segment", "payload"):
        payloads.setdefault(name, []).append(payload)
    return payloads


def _segments(
    reference: Reference, dimension: Dimension, profile: Counts, table: LabelTable, need: int
) -> Iterator[Segment]:
    """Yield the segments that have rows or labels: the values first, and of these those with the most rows."""
    layout = SegmentLayout(reference, dimension)
    rows = layout.rows(profile)
    labels, figures, gaps = _told(reference, layout, rows, table, need)
    found = [
        Segment(
            title,
            is_value,
            int(rows[place].sum()),
            int(labels[place]),
            figures[place],
            {name: by_place[place] for name, by_place in gaps.items() if place in by_place},
        )
        for place, (title, is_value) in enumerate(dimension.titles)
        if rows[place].any() or labels[place]
    ]
    yield from sorted(found, key=lambda one: (not one.is_value, -one.rows))


Sums = tuple[tuple[int, ...], ...]
Told = tuple[np.ndarray, list[Figure | NoFigure], dict[str, dict[int, Gap | NoFigure]]]
"""Labels (width,) and the figure of each place, and each gap by place."""


def _told(reference: Reference, layout: SegmentLayout, rows: np.ndarray, table: LabelTable, need: int) -> Told:
    """Return what is said of each place. What a correction took from where it was never counted is none, not below it."""
    if reference.task == BINARY:
        return _of_two(reference.scores[0], rows, layout.by_score(table), table.errors, need)
    if reference.task == CLASSES:
        return _of_several(layout.by_outcome(table), need)
    return _of_numbers(reference.scores[0].unit, table.errors, need)


def _of_two(bins: ScoreBins, rows: np.ndarray, cells: np.ndarray, sums: Sums, need: int) -> Told:
    """Return what is said of two classes; of rows whose inputs were not kept nobody knows whom they are to be compared with."""
    labels, cells = np.maximum(cells.sum((1, 2, 3)), 0), np.maximum(cells, 0)
    by_side = cells.sum(1).astype(float)
    figures = [area_figure(some[..., 1].sum(-1), some[..., 0].sum(-1), need=need) for some in cells]
    places = [place for place in range(len(rows) - 1) if rows[place].any() or labels[place]]
    confusions = {place: _confusion(*by_side[place].ravel().tolist()) for place in places}
    selected = {place: Share(float(rows[place, 1]), float(rows[place].sum())) for place in places}
    gaps = {SELECTION: selection_ratios(selected, need=need), **rate_gaps(confusions, need=need)}
    if bins.is_share:
        scored = {
            place: Scored(c.true_positives + c.false_negatives, c.labels, sums[place][0] * bins.unit)
            for place, c in confusions.items()
        }
        gaps[CALIBRATION] = calibration_gaps(scored, need=need)
    return labels, figures, gaps


def _confusion(spared: float, missed: float, wrong: float, found: float) -> Confusion:
    """Return the confusion of rows by whether they were selected, and then by what was true."""
    return Confusion(found, wrong, missed, spared)


def _of_several(outcomes: np.ndarray, need: int) -> Told:
    labels, outcomes = np.maximum(outcomes.sum(-1), 0), np.maximum(outcomes, 0)
    figures = [accuracy_figure(float(some[RIGHT]), float(some[RIGHT] + some[WRONG]), need=need) for some in outcomes]
    return labels, figures, {}


def _of_numbers(unit: float, sums: Sums, need: int) -> Told:
    figures = [realised_regression([RegressionSums._make((*some, unit))], need=need)["mae"] for some in sums]
    return np.maximum([some[0] for some in sums], 0), figures, {}
