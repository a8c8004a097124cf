"""Drift of one segment: the rows that have one value of a column, in a window and before it.

No feature is counted by another, so this is read from rows: those of the log whose inputs were kept, and those that the bundle
recorded of its sample. It is for who looks; nothing is judged by it, and no alarm comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trivet.control.monitoring.dimensions import places_of, why_no_places
from trivet.control.monitoring.drift import DriftReport, earlier, feature_drifts
from trivet.control.monitoring.logged_rows import logged_columns, recorded_columns
from trivet.control.monitoring.references import Watched, watched
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import InvalidRequest, NotFound, did_you_mean, quoted
from trivet.core.profile.layout import Answers
from trivet.core.profile.profile import Profile
from trivet.core.profile.reference import Reference
from trivet.core.profile.segments import Dimension

MOST_ROWS = 20_000  # of the log on either side, of all segments; chosen: a second or two
NAMED = 10  # segments that a refusal names


@dataclass(frozen=True)
class SegmentDrift:
    """A report of the rows of one segment, and among how many they were looked for.

    Of `report`, rows, features and distances are of the segment; evidence, its budget and whether an alert is open are of the
    whole version, and there is no reconstruction error. The column itself is not among the features.
    """

    column: str
    value: str
    report: DriftReport
    looked_at: int
    looked_at_before: int


def segment_drift(version: ModelVersion, report: DriftReport, column: str, value: str) -> SegmentDrift:
    """Return what `report` would be of the rows whose `column` has `value`, as the segments of performance call it.

    Reads at most some 20,000 rows of the log on either side, or the recorded sample where the report is beside the
    reference. Who may see inputs may call it. Raises `InvalidRequest` where there is no such segment, and `Refused` where the
    version was pushed without a sample and is compared with that.
    """
    found = watched(version.model.name, version.digest)
    if found is None:
        raise NotFound(f"{version} has no reference, so nothing says which segments there are.")
    dimension, place = _segment(found, column, value)
    spans = earlier(report.start, report.end, report.against)
    now = logged_columns(version, [(report.start, report.end)], most=MOST_ROWS)
    before = logged_columns(version, spans, most=MOST_ROWS) if spans else recorded_columns(version)
    current, reference = (_counted(found.reference, dimension, place, columns) for columns in (now, before))
    drifts = feature_drifts(found.reference, current, reference, {}, set(version.model.sensitive or ()))
    of_segment = replace(
        report,
        rows=current.rows,
        reference_rows=reference.rows,
        verdict=f"Rows of {version} with {column} = {value} alone: they are looked at here, and no alarm comes of it.",
        features=tuple(feature for feature in drifts if feature.name != column),
        reconstruction=None,
        latency_ms=(None, None),
    )
    return SegmentDrift(column, value, of_segment, _rows(now), _rows(before))


def _segment(found: Watched, column: str, value: str) -> tuple[Dimension, int]:
    """Return what parts the rows, and the place of the segment among them."""
    problem = why_no_places(found, column)
    dimension = places_of(found, column)
    if problem or dimension is None:
        raise InvalidRequest(problem, code="BAD_PARAMETER")
    titles = [title for title, _ in dimension.titles[:-1]]  # of the last, not kept, there is nothing to compare
    if value in titles:
        return dimension, titles.index(value)
    named = ", ".join(titles[:NAMED]) + (f" and {len(titles) - NAMED} more" if len(titles) > NAMED else "")
    raise InvalidRequest(
        f"{quoted(value)} is no segment of {quoted(column)}: there are {named}.{did_you_mean(value, titles)}",
        code="BAD_PARAMETER",
    )


def _counted(reference: Reference, dimension: Dimension, place: int, columns: Mapping[str, Any]) -> Profile:
    """Return the profile of those rows of `columns` that are at `place`, without what was answered to them."""
    rows = _rows(columns)
    at = np.flatnonzero(dimension.places(columns.get(dimension.name), rows) == place)
    some = {
        name: values[at] if isinstance(values, np.ndarray) else [values[row] for row in at.tolist()]
        for name, values in columns.items()
    }
    unknown = Answers([np.full(len(at), np.nan) for _ in reference.scores], [""] * len(at))
    return reference.fold(some, unknown)


def _rows(columns: Mapping[str, Any]) -> int:
    return len(next(iter(columns.values()), ()))
