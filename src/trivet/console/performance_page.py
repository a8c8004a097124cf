"""A model's performance page: how right a version was, how right it probably is, and whether to believe that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from django.utils.formats import date_format
from django.utils.translation import gettext as _, gettext_lazy, ngettext

from trivet.console.charts.squares import Square, reliability as reliability_square, roc
from trivet.console.charts.timeline import Moment, Timeline, timeline
from trivet.console.choices import Choice, choices, versions_of
from trivet.console.figures import binning, count, interval, measure, percent, told
from trivet.console.performance_words import MEASURES, meaning, titled
from trivet.console.segment_parts import SegmentPart, segment_parts
from trivet.console.subject import Subject
from trivet.console.words import Text, classes_of
from trivet.control.monitoring.classes import CLASS_MEASURES
from trivet.control.monitoring.estimates import Band, Estimate
from trivet.control.monitoring.measures import without_effect
from trivet.control.monitoring.misfit import Misfit
from trivet.control.monitoring.performance import ENOUGH_LABELS, Figure, NoFigure, reliability, wilson
from trivet.control.monitoring.performance_report import Cohort, PerformanceReport, performance_report
from trivet.control.monitoring.tasks import OfClass
from trivet.control.monitoring.trust import Side, Verdict
from trivet.control.monitoring.truths import confusion_at
from trivet.control.registry.declarations import declared
from trivet.core.errors import NotFound, TrivetError

PERIODS: Mapping[int, Text] = {
    7: gettext_lazy("the last 7 days"),
    30: gettext_lazy("the last 30 days"),
    90: gettext_lazy("the last 90 days"),
}
DEFAULT_DAYS = 30
DEFAULT_THRESHOLD = 0.5
TRUST: Mapping[Verdict, Text] = {
    Verdict.TRUSTED: gettext_lazy("Trusted: the labels that came agree with the estimate."),
    Verdict.NOT_TRUSTED: gettext_lazy(
        "Not trusted: the labels that came do not fit the estimate. Go by what is realised."
    ),
    Verdict.UNKNOWN: gettext_lazy("Not known yet: too few labels have been held against the estimate."),
}
MISFITS: Mapping[Side, Text] = {
    Side.MORE: gettext_lazy(
        "More answers turn out wrong than estimated: %(wrong)s of %(labels)s of %(day)s, where %(expected)s were to be expected."
    ),
    Side.FEWER: gettext_lazy(
        "Fewer answers turn out wrong than estimated: %(wrong)s of %(labels)s of %(day)s, where %(expected)s were to be"
        " expected."
    ),
}


@dataclass(frozen=True)
class FigureLine:
    """One measure: realised with its interval and what the bins may hide, what was to be expected, and what was usual."""

    name: str
    realised: str
    interval: str
    binning: str
    estimated: str
    sampling: str
    band: str


@dataclass(frozen=True)
class ClassFigure:
    """One measure of one of several classes."""

    realised: str
    interval: str
    estimated: str


@dataclass(frozen=True)
class CohortLine:
    """The predictions of one day."""

    day: str
    rows: str
    labels: str
    coverage: str
    realised: str
    interval: str
    estimated: str
    is_maturing: bool


@dataclass(frozen=True)
class ShareLine:
    """A share of a confusion, with its interval."""

    name: str
    share: str
    interval: str


@dataclass(frozen=True)
class ConfusionPart:
    """What would have been decided at a threshold, and how right that would have been."""

    threshold: str
    positive: str
    negative: str
    cells: tuple[str, ...]  # true positives, false positives, false negatives, true negatives
    shares: tuple[ShareLine, ...]
    in_doubt: str


@dataclass(frozen=True)
class PerformancePage:
    """The page. What hangs on the report is absent where there is none, and `problem` says why and what to do."""

    name: str
    title: str
    version: int | None
    query: str
    problem: str
    needs_reference: bool
    versions: tuple[Choice, ...]
    periods: tuple[Choice, ...]
    days: int
    covered: str = ""
    not_yet: str = ""
    trust: str = ""
    is_distrusted: bool = False
    without_effect: tuple[str, ...] = ()  # of what code declares
    metric: str = ""
    positive: str = ""
    segment_metric: str = ""
    meaning: str = ""
    band: str = ""
    chart: Timeline | None = None
    figures: tuple[FigureLine, ...] = ()
    cohorts: tuple[CohortLine, ...] = ()
    class_measures: tuple[str, ...] = ()
    classes: tuple[tuple[str, tuple[ClassFigure, ...]], ...] = ()
    segments: tuple[SegmentPart, ...] = ()
    roc: Square | None = None
    roc_sentence: str = ""
    reliability: Square | None = None
    confusion: ConfusionPart | None = None


def performance_page(shown: Subject, *, days: str, threshold: str, now: datetime, sees_inputs: bool) -> PerformancePage:
    """Return the page of `shown` over `days` (7, 30 or 90), its confusion at `threshold`, in a constant number of queries.

    What is no such time is taken for the default, what is no threshold between 0 and 1 for the version's own. Values of a
    column by which rows are told apart are shown to who `sees_inputs` alone.
    """
    chosen = next((known for known in PERIODS if str(known) == days), DEFAULT_DAYS)
    frame = PerformancePage(
        name=shown.model.name,
        title=shown.model.heading,
        version=shown.version.number if shown.version else None,
        query=shown.query,
        problem="",
        needs_reference=False,
        versions=versions_of(shown),
        periods=choices(PERIODS, chosen),
        days=chosen,
    )
    if shown.version is None:
        return replace(frame, problem=_("No version was registered yet."))
    try:
        report = performance_report(
            shown.model.name, now=now, number=shown.version.number, period=timedelta(days=chosen)
        )
    except TrivetError as error:
        return replace(frame, problem=error.message, needs_reference=isinstance(error, NotFound))
    if report.task == "none":
        return replace(frame, problem=_("This model gives nothing that can turn out right or wrong."))
    filled = replace(_filled(frame, report), segments=segment_parts(report.segmentations, sees_inputs=sees_inputs))
    return _with_truths(filled, report, shown, threshold)


def _filled(frame: PerformancePage, report: PerformanceReport) -> PerformancePage:
    band = report.band if isinstance(report.band, Band) else None
    moments = [_moment(cohort, report.metric) for cohort in report.cohorts]
    values = {"labels": count(report.labels), "rows": count(report.rows)}
    share = f" ({percent(report.labels / report.rows)})" if report.rows else ""
    covered = ngettext(
        "Of %(rows)s prediction %(labels)s has a label%(share)s.",
        "Of %(rows)s predictions %(labels)s have a label%(share)s.",
        report.rows,
    )
    return replace(
        frame,
        covered=covered % {**values, "share": share},
        not_yet=_first_reason(report),
        trust=_trust(report) if report.is_estimated else "",
        is_distrusted=report.trust == Verdict.NOT_TRUSTED,
        without_effect=tuple(without_effect(declared(report.model), report.task)),
        metric=titled(report.metric, report.positive),
        positive=report.positive,
        segment_metric=str(MEASURES[report.segment_metric]),
        meaning=meaning(report),
        band=_band(report.band) or str(report.band),
        chart=timeline(moments, (band.low, band.high) if band else None),
        figures=tuple(_line(name, report) for name in report.realised),
        cohorts=tuple(_cohort(cohort, report.metric) for cohort in reversed(report.cohorts)),
        class_measures=tuple(str(MEASURES[name]) for name in CLASS_MEASURES),
        classes=_classes(report),
    )


def _trust(report: PerformanceReport) -> str:
    """Return whether to believe the estimate, and why not."""
    return " ".join([str(TRUST[report.trust]), *(_misfit(report.misfit) if report.misfit is not None else ())])


def _misfit(misfit: Misfit) -> Iterator[str]:
    """Yield in which direction labels differ from the estimate, and by how much."""
    labels = misfit.labels
    yield str(MISFITS[misfit.side]) % {
        "wrong": percent(misfit.wrong / labels),
        "labels": count(labels),
        "day": date_format(misfit.until - timedelta(days=1), "DATE_FORMAT"),
        "expected": percent(misfit.expected / labels),
    }
    if misfit.positive:
        shares = {"were": percent(misfit.positives / labels), "likely": percent(misfit.likely / labels)}
        said = _("%(class)s: %(were)s, where its scores let %(likely)s be expected.")
        yield said % {"class": misfit.positive, **shares}


def _first_reason(report: PerformanceReport) -> str:
    """Return why nothing realised is drawn; nothing where something is."""
    found = report.realised.get(report.metric)
    return found.reason if isinstance(found, NoFigure) else ""


def _moment(cohort: Cohort, metric: str) -> Moment:
    realised, estimate = cohort.realised.get(metric), cohort.estimated.get(metric)
    is_figure = isinstance(realised, Figure)
    return Moment(
        at=cohort.start,
        title=date_format(cohort.start, "M j"),
        measured=realised.value if isinstance(realised, Figure) else None,
        low=realised.low if isinstance(realised, Figure) else None,
        high=realised.high if isinstance(realised, Figure) else None,
        expected=estimate.value if isinstance(estimate, Estimate) else None,
        is_open=is_figure and cohort.is_maturing,
    )


def _line(name: str, report: PerformanceReport) -> FigureLine:
    found, estimate = report.realised[name], report.estimated.get(name)
    return FigureLine(
        name=titled(name, report.positive),
        realised=told(found),
        interval=interval(found),
        binning=binning(found),
        estimated="" if estimate is None else told(estimate),
        sampling=f"± {measure(2 * estimate.sampling_error)}"
        if isinstance(estimate, Estimate) and estimate.sampling_error is not None
        else "",
        band=_band(report.bands[name]),
    )


def _band(found: Band | NoFigure) -> str:
    return f"{measure(found.low)} – {measure(found.high)}" if isinstance(found, Band) else ""


def _cohort(cohort: Cohort, metric: str) -> CohortLine:
    found, estimate = cohort.realised.get(metric), cohort.estimated.get(metric)
    return CohortLine(
        day=date_format(cohort.start, "DATE_FORMAT"),
        rows=count(cohort.rows),
        labels=count(cohort.labels),
        coverage=percent(cohort.coverage) if cohort.coverage is not None else "",
        realised=told(found),
        interval=interval(found),
        estimated=told(estimate),
        is_maturing=cohort.is_maturing,
    )


def _classes(report: PerformanceReport) -> tuple[tuple[str, tuple[ClassFigure, ...]], ...]:
    """Return each measure of each class."""
    return tuple((name, tuple(_class_figure(of, m) for m in CLASS_MEASURES)) for name, of in report.by_class.items())


def _class_figure(of: OfClass, name: str) -> ClassFigure:
    found, estimate = of.realised.get(name), of.estimated.get(name)
    return ClassFigure(told(found), interval(found), told(estimate) if isinstance(estimate, Estimate) else "")


def _with_truths(page: PerformancePage, report: PerformanceReport, shown: Subject, threshold: str) -> PerformancePage:
    """Return the page with what is read from the labels by score: of two classes, and enough labels."""
    table = report.truths
    if table is None or table.labels < ENOUGH_LABELS:
        return page
    curve = roc(table.positives.sum(-1), table.negatives.sum(-1))
    area = report.realised.get("auc")
    return replace(
        page,
        roc=curve,
        roc_sentence=_("A row that turned out %(class)s scored higher than one that did not in %(share)s of pairs.")
        % {"class": report.positive, "share": percent(area.value)}
        if isinstance(area, Figure)
        else "",
        reliability=reliability_square(reliability(table)),
        confusion=_confusion(report, shown, _threshold(threshold, shown)),
    )


def _threshold(typed: str, shown: Subject) -> float:
    try:
        value = float(typed)
    except ValueError:
        value = math.nan
    if 0.0 <= value <= 1.0:
        return value
    own = shown.signature.threshold if shown.signature else None
    return DEFAULT_THRESHOLD if own is None else own


def _confusion(report: PerformanceReport, shown: Subject, threshold: float) -> ConfusionPart | None:
    if report.truths is None:
        return None
    found = confusion_at(report.truths, np.array(report.edges), threshold, report.unit)
    names = classes_of(shown.signature) if shown.signature else ()
    negative = next((name for name in names if name != report.positive), _("negative"))
    parts = {
        "accuracy": (found.true_positives + found.true_negatives, found.labels),
        "precision": (found.true_positives, found.true_positives + found.false_positives),
        "recall": (found.true_positives, found.true_positives + found.false_negatives),
        "specificity": (found.true_negatives, found.true_negatives + found.false_positives),
    }
    return ConfusionPart(
        threshold=f"{threshold:g}",
        positive=report.positive,
        negative=negative,
        cells=tuple(count(round(cell)) for cell in found[:4]),
        shares=tuple(
            ShareLine(
                titled(name, report.positive),
                percent(successes / trials) if trials else _("of nothing"),
                "{} – {}".format(*map(percent, wilson(successes, trials))) if trials else "",
            )
            for name, (successes, trials) in parts.items()
        ),
        in_doubt=count(round(found.in_doubt)) if found.in_doubt else "",
    )
