"""The segments of a performance page: one table for each column that a model declares, and a sentence of what stands in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.formats import date_format
from django.utils.translation import gettext as _, gettext_lazy

from trivet.console.figures import binning, count, interval, told
from trivet.console.words import Text
from trivet.control.monitoring.gaps import Gap
from trivet.control.monitoring.performance import NoFigure
from trivet.control.monitoring.segment_report import GAPS, Segment, Segmentation, Standing
from trivet.core.profile.segments import MISSING, NOT_KEPT, OTHER

RESTS: Mapping[str, Text] = {
    OTHER: gettext_lazy("all other values"),
    MISSING: gettext_lazy("no value"),
    NOT_KEPT: gettext_lazy("inputs not kept"),
}
STANDINGS: Mapping[Standing, Text] = {
    Standing.EMPTY: gettext_lazy("No prediction of this time was counted by it."),
    Standing.APART: gettext_lazy("Treated otherwise than the others, beyond a limit and not by chance: %(segments)s."),
    Standing.ALIKE: gettext_lazy("Chance aside, no segment that has enough rows is beyond a limit."),
    Standing.FEW: gettext_lazy("There are too few rows to hold one segment against the others."),
    Standing.NOT_COMPARED: gettext_lazy("Where two intervals overlap, chance alone may be what tells them apart."),
}
GAP_TITLES: Mapping[str, Text] = {
    "selection_ratio": gettext_lazy("Selected ÷ others"),
    "true_positive_rate": gettext_lazy("Found − others"),
    "false_positive_rate": gettext_lazy("Wrongly selected − others"),
    "calibration": gettext_lazy("Score − truth"),
}


@dataclass(frozen=True)
class GapCell:
    """How far a segment is from the others; `label` heads its column."""

    label: str
    value: str
    interval: str
    is_flagged: bool


@dataclass(frozen=True)
class SegmentLine:
    """The rows of one value, or of what is no value."""

    title: str
    is_value: bool
    rows: str
    labels: str
    figure: str
    interval: str
    binning: str
    gaps: tuple[GapCell, ...]


@dataclass(frozen=True)
class SegmentPart:
    """One column: its segments, or why there are none."""

    id: str
    name: str
    problem: str
    since: str
    sentence: str
    is_flagged: bool
    gap_titles: tuple[str, ...]
    lines: tuple[SegmentLine, ...]


def segment_parts(segmentations: Sequence[Segmentation], *, sees_inputs: bool) -> tuple[SegmentPart, ...]:
    """Return the part of each column; values are inputs, and shown to who `sees_inputs` alone."""
    return tuple(_part(f"segment-{place}", one, sees_inputs=sees_inputs) for place, one in enumerate(segmentations, 1))


def _part(identifier: str, found: Segmentation, *, sees_inputs: bool) -> SegmentPart:
    problem = found.problem
    if not problem and not sees_inputs:
        problem = _("Its values are inputs, which those are shown who may see inputs (trivet.view_inputs).")
    names = [name for name in GAPS if any(name in segment.gaps for segment in found.segments)]
    return SegmentPart(
        id=identifier,
        name=found.name,
        problem=problem,
        since=date_format(found.since, "DATETIME_FORMAT") if found.since else "",
        sentence="" if problem else _sentence(found),
        is_flagged=not problem and found.standing == Standing.APART,
        gap_titles=tuple(str(GAP_TITLES[name]) for name in names),
        lines=() if problem else tuple(_line(segment, names) for segment in found.segments),
    )


def _sentence(found: Segmentation) -> str:
    said = str(STANDINGS[found.standing])
    return said % {"segments": ", ".join(map(_title, found.flagged))} if found.flagged else said


def _title(segment: Segment) -> str:
    return segment.title if segment.is_value else str(RESTS[segment.title])


def _line(segment: Segment, names: Sequence[str]) -> SegmentLine:
    return SegmentLine(
        title=_title(segment),
        is_value=segment.is_value,
        rows=count(segment.rows),
        labels=count(segment.labels),
        figure=told(segment.figure),
        interval=interval(segment.figure),
        binning=binning(segment.figure),
        gaps=tuple(_cell(name, segment.gaps.get(name)) for name in names),
    )


def _cell(name: str, gap: Gap | NoFigure | None) -> GapCell:
    is_flagged = isinstance(gap, Gap) and gap.is_flagged
    return GapCell(str(GAP_TITLES[name]), told(gap), interval(gap), is_flagged)
