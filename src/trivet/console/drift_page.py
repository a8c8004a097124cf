"""A model's drift page: whether what it is asked has changed, by how much, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from django.utils.http import urlencode
from django.utils.translation import gettext as _, gettext_lazy

from trivet.console.charts.grouping import Bar, by_size, by_value
from trivet.console.charts.histogram import Histogram, columns, rows
from trivet.console.charts.meter import Meter, meter
from trivet.console.choices import Choice, choices, versions_of
from trivet.console.figures import Moment, count, duration, measure, moment, number, percent
from trivet.console.past_part import PastPart, past_part
from trivet.console.subject import Subject
from trivet.console.words import Text
from trivet.control.monitoring.drift import Against, DriftReport, FeatureDrift, drift_report, without_inputs
from trivet.control.monitoring.sentences import whole_percent
from trivet.core.errors import NotFound, TrivetError
from trivet.core.profile.reference import ACCEPTED, LIVE, SAMPLE

WINDOWS: Mapping[int, Text] = {
    1: gettext_lazy("the last day"),
    7: gettext_lazy("the last 7 days"),
    30: gettext_lazy("the last 30 days"),
}
DEFAULT_DAYS = 7
REFERENCES: Mapping[str, Text] = {
    Against.TRAINING: gettext_lazy("its reference"),
    Against.PREVIOUS: gettext_lazy("the time before, as long"),
    Against.SAME_HOUR: gettext_lazy("the same hours of four weeks before"),
}
SOURCES: Mapping[str, Text] = {
    SAMPLE: gettext_lazy("the rows given at its push"),
    LIVE: gettext_lazy("its first days"),
    ACCEPTED: gettext_lazy("the days that were accepted as normal"),
}
CHANGES: Mapping[str, Text] = {
    "hardly any": gettext_lazy("Hardly any change"),
    "small": gettext_lazy("A small change"),
    "moderate": gettext_lazy("A moderate change"),
    "large": gettext_lazy("A large change"),
}
CHARTS_SHOWN = 12  # of the features that changed most; all of them on request
LONGEST_VALUE = 80  # letters of one that was sent
SHIFT_WORTH_A_WORD = 0.03  # of the mean rank, from ½: below it the shape changed, not the place


@dataclass(frozen=True)
class Unseen:
    """A value that the reference never had, as it was sent, and how many rows had it."""

    value: str
    rows: str


@dataclass(frozen=True)
class FeaturePart:
    """One feature: a line of the table, and where it may be shown its histogram."""

    id: str
    name: str
    importance: str  # a share, in percent; empty where nobody found out
    change: str  # in words
    word: str  # as in `Scale.word`, for its colour
    distance: str
    missing: str
    missing_before: str
    surprise: str  # share of rows that were unseen or out of range
    surprise_kind: str
    surprise_before: str
    evidence: Meter | None
    sentence: str
    chart: Histogram | None
    unseen: tuple[Unseen, ...]
    hides_unseen: bool
    is_sensitive: bool


@dataclass(frozen=True)
class DriftPage:
    """The page. What hangs on the report is absent where there is none, and `problem` says why and what to do."""

    name: str
    title: str
    version: int | None
    query: str
    problem: str
    needs_reference: bool
    versions: tuple[Choice, ...]
    windows: tuple[Choice, ...]
    references: tuple[Choice, ...]
    compared: str = ""
    verdict: str = ""
    is_drifting: bool = False
    evidence: Meter | None = None
    budget: str = ""
    judged_until: Moment | None = None
    window: str = ""
    rows: str = ""
    has_rows: bool = False
    reference_rows: str = ""
    latency: str = ""
    together: str = ""  # the reconstruction error, beside what is usual
    together_of: str = ""
    past: PastPart | None = None
    features: tuple[FeaturePart, ...] = ()
    charts: tuple[FeaturePart, ...] = ()  # the first of them, or all
    has_importance: bool = False  # of any feature
    charts_left_out: int = 0
    all_charts: str = ""  # the query that shows them all


def drift_page(shown: Subject, *, days: str, against: str, every: bool, now: datetime, sees_inputs: bool) -> DriftPage:
    """Return the page of `shown` over `days` (1, 7 or 30) beside a reference, in a constant number of queries.

    What is neither is taken for the default. The features that changed most have a chart, or `every` one. Values that
    were sent are shown to who `sees_inputs` alone.
    """
    chosen_days = next((known for known in WINDOWS if str(known) == days), DEFAULT_DAYS)
    chosen = next((known for known in Against if known == against), Against.TRAINING)
    frame = DriftPage(
        name=shown.model.name,
        title=shown.model.heading,
        version=shown.version.number if shown.version else None,
        query=shown.query,
        problem="",
        needs_reference=False,
        versions=versions_of(shown),
        windows=choices(WINDOWS, chosen_days),
        references=choices(REFERENCES, chosen),
    )
    if shown.version is None:
        return replace(frame, problem=_("No version was registered yet."))
    try:
        report = drift_report(
            shown.model.name,
            now=now,
            number=shown.version.number,
            window=timedelta(days=chosen_days),
            against=chosen,
        )
    except TrivetError as error:
        return replace(frame, problem=error.message, needs_reference=isinstance(error, NotFound))
    if not sees_inputs:
        report = without_inputs(report, shown.signature)
    filled = _filled(frame, report, now)
    drawn = len(report.features) if every else CHARTS_SHOWN
    features = tuple(
        _feature(place, feature, report.budget, sees_inputs=sees_inputs, is_drawn=place <= drawn)
        for place, feature in enumerate(report.features, 1)
    )
    query = {
        "version": str(shown.version.number),
        "window": str(chosen_days),
        "against": str(chosen),
        "charts": "all",
    }
    return replace(
        filled,
        past=past_part(shown.version, now, is_anew=report.mean_evidence == 0.0),
        features=features,
        charts=features[:drawn],
        has_importance=any(feature.importance for feature in features),
        charts_left_out=max(len(features) - drawn, 0),
        all_charts=f"?{urlencode(query)}",
    )


def _filled(frame: DriftPage, report: DriftReport, now: datetime) -> DriftPage:
    beside = SOURCES[report.reference_source] if report.against == Against.TRAINING else REFERENCES[report.against]
    span = str(WINDOWS[round((report.end - report.start) / timedelta(days=1))])
    return replace(
        frame,
        compared=_("Version %(number)s in %(span)s, beside %(reference)s.")
        % {"number": report.version, "span": span, "reference": beside},
        verdict=report.verdict,
        is_drifting=report.has_open_alert,
        evidence=meter(report.mean_evidence, report.budget),
        budget=count(round(report.budget)),
        judged_until=moment(report.judged_until, now) if report.judged_until else None,
        window=_("an hour") if report.window_hours == 1 else _("a day"),
        rows=count(report.rows),
        has_rows=report.rows > 0,
        reference_rows=count(report.reference_rows),
        latency=_latency(report),
        together=_together(report),
        together_of=_together_of(report),
    )


def _feature(place: int, found: FeatureDrift, budget: float, *, sees_inputs: bool, is_drawn: bool) -> FeaturePart:
    if found.is_sensitive:
        return _without_values(place, found)
    bars = _bars(found) if is_drawn else ()
    draw = columns if found.is_number else rows
    return FeaturePart(
        id=f"feature-{place}",
        name=found.name,
        importance="" if found.importance is None else whole_percent(found.importance),
        change=str(CHANGES.get(found.word, "")),
        word=found.word.replace(" ", "-"),
        distance="" if found.distance is None else _distance(found),
        missing=_share(found.missing),
        missing_before=_was(found.missing_before),
        surprise=_share(found.out_of_range if found.is_number else found.unseen),
        surprise_kind=_surprise(found),
        surprise_before=_was(found.out_of_range_before if found.is_number else found.unseen_before),
        evidence=meter(found.evidence, budget) if found.evidence is not None else None,
        sentence=_sentence(found, bars) if is_drawn else "",
        chart=draw(bars, _beside(found)) if found.rows and bars else None,
        unseen=tuple(Unseen(_clipped(value), count(times)) for value, times in found.values_unseen),
        hides_unseen=not sees_inputs and bool(found.unseen),
        is_sensitive=False,
    )


def _without_values(place: int, found: FeatureDrift) -> FeaturePart:
    return FeaturePart(
        id=f"feature-{place}",
        name=found.name,
        importance="",
        change="",
        word="",
        distance="",
        missing="",
        missing_before="",
        surprise="",
        surprise_kind="",
        surprise_before="",
        evidence=None,
        sentence=_("Sensitive: its values are neither recorded in the clear nor counted, so nothing is compared."),
        chart=None,
        unseen=(),
        hides_unseen=False,
        is_sensitive=True,
    )


def _bars(found: FeatureDrift) -> tuple[Bar, ...]:
    if found.is_number:
        return by_value(found.titles, found.bounds, found.reference, found.current)
    bars = [Bar(*facts) for facts in zip(found.titles, found.reference, found.current, strict=True)]
    if not found.is_category:
        return by_size(bars, None, _("all others"))
    *common, _others, _never = found.titles
    return by_size(bars[:-1], set(common), _("all others"))


def _beside(found: FeatureDrift) -> tuple[Bar, ...]:
    """Return what is no value of a bin, as shares of the rows."""
    missing = Bar(_("missing"), found.missing_before, found.missing)
    if found.is_number:
        return (missing, Bar(_("outside"), found.out_of_range_before or None, found.out_of_range))
    return (
        (missing, Bar(_("never seen"), found.unseen_before or None, found.unseen)) if found.is_category else (missing,)
    )


def _was(share: float | None) -> str:
    return _("was %(share)s") % {"share": percent(share)} if share else ""


def _sentence(found: FeatureDrift, bars: tuple[Bar, ...]) -> str:
    """Return what the chart means."""
    if found.distance is None:
        return _("Not measured: %(reason)s.") % {"reason": found.distances.reason or _("there is nothing to compare")}
    values = {"change": CHANGES[found.word], "distance": _distance(found)}
    if found.word == "hardly any":
        return _("%(change)s: %(distance)s.") % values
    return f"{_('%(change)s: %(distance)s.') % values} {_moved(found, bars)}"


def _moved(found: FeatureDrift, bars: tuple[Bar, ...]) -> str:
    """Return in which way the values changed."""
    if found.is_number:
        were, are = np.array(found.reference), np.array(found.current)
        rank = float(np.sum(are * (np.cumsum(were) - were / 2)))
        if abs(rank - 0.5) < SHIFT_WORTH_A_WORD:
            return _("Values lie otherwise than they did, neither higher nor lower on the whole.")
        return _("Values are higher than they were.") if rank > 0.5 else _("Values are lower than they were.")
    both = [bar for bar in bars if bar.reference is not None and bar.current is not None]
    most = max(both, key=lambda bar: abs((bar.current or 0.0) - (bar.reference or 0.0)), default=None)
    if most is None:
        return ""
    return _("“%(value)s” went from %(before)s to %(now)s.") % {
        "value": most.title,
        "before": percent(most.reference or 0.0),
        "now": percent(most.current or 0.0),
    }


def _distance(found: FeatureDrift) -> str:
    measure = _("KS %(distance)s") if found.is_number else _("total variation %(distance)s")
    return measure % {"distance": number(round(found.distance or 0.0, 3))}


def _surprise(found: FeatureDrift) -> str:
    if found.is_number:
        return _("out of range")
    return _("never seen") if found.is_category else ""


def _latency(report: DriftReport) -> str:
    middle, slow = report.latency_ms
    if middle is None or slow is None:
        return ""
    return _("%(middle)s, 1 in 100 over %(slow)s") % {
        "middle": duration(middle * 1000),
        "slow": duration(slow * 1000),
    }


def _together(report: DriftReport) -> str:
    """Return the reconstruction error beside what is usual; empty where there is none to speak of."""
    found = report.reconstruction
    if found is None or not report.rows:
        return ""
    if found.error is None:
        return _("not measured")
    if found.low is None or found.high is None:
        return measure(found.error)
    values = {"error": measure(found.error), "low": measure(found.low), "high": measure(found.high)}
    if found.is_usual:
        return _("%(error)s, as usual: %(low)s to %(high)s") % values
    return _("%(error)s, outside what is usual: %(low)s to %(high)s") % values


def _together_of(report: DriftReport) -> str:
    """Return what the reconstruction error is of."""
    found = report.reconstruction
    if found is None:
        return ""
    return _(
        "The reconstruction error says whether its %(numbers)s numbers still move together as they did: it is what the"
        " principal components of the reference, which keep %(share)s of their variance, miss of a row, in squared"
        " deviations. It is shown and never alarms."
    ) % {"numbers": count(found.numbers), "share": percent(found.kept_variance)}


def _clipped(value: str) -> str:
    """Return the beginning of a value that is longer than anybody reads."""
    return value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}…"


def _share(share: float | None) -> str:
    return "" if share is None else percent(share)
