"""The table of a drift report: a line a feature, and the sentence that says which rows are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trivet.control.monitoring.drift import Against, DriftReport, FeatureDrift
from trivet.control.monitoring.segment_drift import SegmentDrift
from trivet.control.monitoring.sentences import enumerated, whole_percent

if TYPE_CHECKING:
    from trivet.model.domain_classifier import Separation

HEADER = ("FEATURE", "IMPORTANCE", "DISTANCE", "", "PSI", "MISSING", "BEFORE", "UNSEEN", "OUT OF RANGE", "M")
IMPORTANCE = HEADER.index("IMPORTANCE")
AGAINST = {
    "training": "its reference",
    "previous": "the window before",
    "same-hour": "the same hours of four weeks",
}
RECORDED = "the sample that its bundle recorded"
KINDS = {
    "drift": "the values of {}",
    "missing": "how often {} is missing",
    "unseen": "how often {} was never seen",
    "range": "how often {} is out of range",
}


def about(report: DriftReport) -> str:
    """Say which rows are compared, and what is missing for a comparison."""
    window = f"{report.start:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M} UTC so far"  # the hour goes on
    if not report.rows:
        return f"{report.model} {report.version} counted no rows from {window}: there is nothing to compare."
    if not report.reference_rows:
        return f"{report.rows:,} rows from {window}; {AGAINST[report.against]} had none, so there are no distances."
    rows = f"{report.rows:,} rows from {window}, beside {report.reference_rows:,} of {AGAINST[report.against]}"
    return f"{report.model} {report.version}: {rows}"


def about_segment(found: SegmentDrift) -> str:
    """Say which rows of a segment are compared, and among how many they were looked for."""
    report = found.report
    window = f"{report.start:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M} UTC so far"
    before = RECORDED if report.against == Against.TRAINING else AGAINST[report.against]
    now = f"{report.rows:,} of {found.looked_at:,} logged rows from {window}"
    beside = f"{report.reference_rows:,} of {found.looked_at_before:,} of {before}"
    if not report.rows or not report.reference_rows:
        return f"{now}; {beside}: there is nothing to compare."
    return f"{now}, beside {beside}"


def together(report: DriftReport) -> str:
    """Say whether the numbers still move together as they did; empty where there is nothing to say."""
    found = report.reconstruction
    if found is None or not report.rows:
        return ""
    kept = f"{found.components} component{'' if found.components == 1 else 's'}"
    what = f"PCA of {found.numbers} numbers, {kept}"
    if found.error is None:
        return f"{what}: not measured, {found.reason}."
    before = "" if found.error_before is None else f", {found.error_before:.3g} in {AGAINST[report.against]}"
    usual = "" if found.low is None or found.high is None else f"; {found.low:.3g} to {found.high:.3g} is usual"
    return f"{what}: reconstruction error {found.error:.3g}{before}{usual}."


def apart(found: Separation | None, report: DriftReport) -> str:
    """Say how well a classifier tells the rows apart; empty where none was asked."""
    if found is None:
        return ""
    return (
        f"A classifier tells {found.rows:,} rows from {found.rows_before:,} of {AGAINST[report.against]} by"
        f" {found.features} features with AUC {found.auc:.3f}; 0.5 is by chance, which seldom comes to {found.by_chance:.3f}."
    )


def changed(report: DriftReport) -> str:
    """Say what changed further than is tolerated and than chance explains."""
    told = [KINDS[kind].format(feature.name) for feature in report.features for kind in feature.changed]
    if not told:
        return "Nothing changed further than is tolerated and than chance explains."
    return (
        f"Changed further than is tolerated and than chance explains: {enumerated(told)}."
        " Of what reports name, at most one in twenty is named falsely."
    )


def table_of(features: Sequence[FeatureDrift]) -> list[tuple[str, ...]]:
    """Return the header and a row for each feature; no column of importance where none is known."""
    table = [HEADER, *map(_row, features)]
    if any(feature.importance is not None for feature in features):
        return table
    return [(*row[:IMPORTANCE], *row[IMPORTANCE + 1 :]) for row in table]


def _row(feature: FeatureDrift) -> tuple[str, ...]:
    if feature.is_sensitive:
        return (feature.name, "-", "-", "hidden, not counted", *[""] * (len(HEADER) - 4))
    psi = feature.distances.psi_adjusted
    return (
        feature.name,
        "-" if feature.importance is None else whole_percent(feature.importance),
        "-" if feature.distance is None else f"{feature.distance:.3f}",
        feature.word or feature.distances.reason or "",
        "-" if psi is None else f"{psi:.3f}",
        *map(percent, (feature.missing, feature.missing_before, feature.unseen, feature.out_of_range)),
        "-" if feature.evidence is None else f"{feature.evidence:,.1f}",
    )


def percent(share: float | None) -> str:
    """Return a share in words; a dash for none."""
    return "-" if share is None else f"{share:.1%}"
