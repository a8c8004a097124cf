"""The report of a model as a page: what somebody reads who decides about it, in Markdown or as one HTML file.

A page is made of sections of sentences and a table each; names that callers or models chose stand in it as texts, never as
markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from django.template.loader import render_to_string

from trivet.cli.drift_table import about, changed, percent, table_of, together
from trivet.console.performance_words import MEASURES, meaning, titled
from trivet.control.monitoring.classes import CLASS_MEASURES
from trivet.control.monitoring.drift import DriftReport, FeatureDrift
from trivet.control.monitoring.estimates import Band, Estimate
from trivet.control.monitoring.gaps import Gap
from trivet.control.monitoring.measures import without_effect
from trivet.control.monitoring.models import Alert
from trivet.control.monitoring.performance import Figure, NoFigure
from trivet.control.monitoring.performance_report import Cohort, PerformanceReport
from trivet.control.monitoring.segment_report import GAPS, Segment, Segmentation, Standing
from trivet.control.monitoring.sentences import misfit_sentence, sentence_of
from trivet.control.monitoring.tasks import OfClass
from trivet.control.monitoring.trust import Verdict
from trivet.control.monitoring.windows import HOUR
from trivet.control.registry.declarations import declared

PICTURE_HEIGHT = 40.0
TRUST = {
    Verdict.TRUSTED: "The labels that came fit the estimate: it may be believed.",
    Verdict.NOT_TRUSTED: "The labels that came do not fit the estimate: do not go by it until it is calibrated anew.",
    Verdict.UNKNOWN: "Whether the estimate may be believed is not known yet: that takes 200 labels that have matured.",
}
STANDINGS = {
    Standing.EMPTY: "No prediction of this time was counted by it.",
    Standing.APART: "Treated otherwise than the others, beyond a limit (!) and not by chance",
    Standing.ALIKE: "Chance aside, no segment that has enough rows is beyond a limit.",
    Standing.FEW: "There are too few rows to hold one segment against the others.",
    Standing.NOT_COMPARED: "Where two intervals overlap, chance alone may be what tells segments apart.",
}
GAP_TITLES = {
    "selection_ratio": "SELECTED / OTHERS",
    "true_positive_rate": "FOUND - OTHERS",
    "false_positive_rate": "WRONGLY SELECTED - OTHERS",
    "calibration": "SCORE - TRUTH",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_MARKUP = re.compile(r"([\\`*_\[\]<>|~&#!$])")


@dataclass(frozen=True)
class Bar:
    """One bin of a picture: where it lies, and how high both shares are."""

    x: int
    current: float
    reference: float

    @property
    def top(self) -> float:
        """Where the bar of the current share begins."""
        return PICTURE_HEIGHT - self.current

    @property
    def reference_top(self) -> float:
        """Where the bar of the reference's share begins."""
        return PICTURE_HEIGHT - self.reference


@dataclass(frozen=True)
class Picture:
    """Both histograms of a feature, one over the other."""

    title: str
    bars: tuple[Bar, ...]

    @property
    def width(self) -> int:
        """How wide it is, a bin each unit."""
        return len(self.bars)


@dataclass(frozen=True)
class Section:
    """Some sentences, then a table where there is one."""

    title: str
    sentences: tuple[str, ...]
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Page:
    """A title and sections."""

    title: str
    sections: tuple[Section, ...]


def page_of(drift: DriftReport, performance: PerformanceReport, alerts: Sequence[Alert]) -> Page:
    """Return the page of one version."""
    return Page(
        f"{drift.model} {drift.version}, {drift.start:%Y-%m-%d} to {drift.end - HOUR:%Y-%m-%d}",
        (_in_short(drift, performance, alerts), _alerts(alerts), _drift(drift), *_performance(performance)),
    )


def markdown(page: Page) -> str:
    """Return `page` as Markdown with tables as GitHub has them."""
    return "\n".join(_markdown(page))


def html(page: Page) -> str:
    """Return `page` as one HTML file: it loads nothing, and runs nothing."""
    return render_to_string("trivet/report.html", {"page": page, "height": PICTURE_HEIGHT})


def _in_short(drift: DriftReport, performance: PerformanceReport, alerts: Sequence[Alert]) -> Section:
    """Return what somebody reads who reads no further."""
    open_alerts = f"{len(alerts)} of its alerts {'is' if len(alerts) == 1 else 'are'} not over." if alerts else ""
    said = (meaning(performance), drift.verdict, open_alerts or "No alert is open.")
    return Section("In short", tuple(filter(None, said)))


def _alerts(alerts: Sequence[Alert]) -> Section:
    if not alerts:
        return Section("Alerts", ("No alert is open.",))
    rows = tuple(
        (f"{alert.opened_at:%Y-%m-%d %H:%M}", alert.severity, alert.get_state_display(), sentence_of(alert))
        for alert in alerts
    )
    return Section(
        "Alerts", (f"{len(rows)} of this model are not over.",), ("SINCE", "SEVERITY", "STATE", "WHAT"), rows
    )


def _drift(report: DriftReport) -> Section:
    if not report.rows:
        return Section("What it is asked", (report.verdict, about(report)))
    header, *rows = table_of(report.features)
    return Section(
        "What it is asked",
        (
            report.verdict,
            about(report),
            *filter(None, [together(report), changed(report) if report.reference_rows else ""]),
        ),
        header,
        tuple(rows),
        tuple(_picture(feature) for feature in report.features if any(feature.reference) and any(feature.current)),
    )


def _picture(feature: FeatureDrift) -> Picture:
    highest = max(*feature.reference, *feature.current)
    pairs = zip(feature.current, feature.reference, strict=True)
    scale = PICTURE_HEIGHT / highest
    bars = (Bar(x, round(now * scale, 2), round(before * scale, 2)) for x, (now, before) in enumerate(pairs))
    return Picture(feature.name, tuple(bars))


def _performance(report: PerformanceReport) -> Iterator[Section]:
    title = "How right it is"
    if report.task == "none":
        yield Section(title, ("It has no score and no classes that labels could be held against.",))
        return
    covered = f"{report.labels:,} of {report.rows:,} predictions have a label."
    trust = tuple(_trust(report)) if report.is_estimated else ()
    header = ("MEASURE", "REALISED", "INTERVAL", "ESTIMATED", "BAND")
    inert = without_effect(declared(report.model), report.task)
    yield Section(title, (covered, *trust, *inert), header, tuple(_measures(report)))
    if report.by_class:
        yield Section(
            "Class by class",
            ("Each class against all others; estimates in brackets.",),
            ("CLASS", *(name.upper() for name in CLASS_MEASURES)),
            tuple((name, *map(partial(_both, of), CLASS_MEASURES)) for name, of in report.by_class.items()),
        )
    metric = report.metric
    yield Section(
        "Day by day",
        ("Days whose labels may still come are marked: what is known of them is of those that came early.",),
        ("DAY", "PREDICTIONS", "LABELLED", f"{titled(metric, report.positive).upper()} REALISED", "ESTIMATED"),
        tuple(_cohort(cohort, metric) for cohort in report.cohorts),
    )
    yield from (_segments(found, report.segment_metric) for found in report.segmentations)


def _trust(report: PerformanceReport) -> Iterator[str]:
    yield TRUST[report.trust]
    if report.misfit is not None:
        yield misfit_sentence(report.misfit)


def _segments(found: Segmentation, metric: str) -> Section:
    title = f"By {found.name}"
    if found.problem:
        return Section(title, (f"No segments: {found.problem}",))
    since = (f"Counted since {found.since:%Y-%m-%d %H:%M} UTC.",) if found.since else ()
    names = [name for name in GAPS if any(name in segment.gaps for segment in found.segments)]
    header = (
        "VALUE",
        "PREDICTIONS",
        "LABELS",
        str(MEASURES[metric]).upper(),
        "INTERVAL",
        *(GAP_TITLES[name] for name in names),
    )
    rows = tuple(_segment(segment, names) for segment in found.segments)
    return Section(title, (_verdict(found), *since), header if rows else (), rows)


def _verdict(found: Segmentation) -> str:
    said = STANDINGS[found.standing]
    return f"{said}: {', '.join(map(_title, found.flagged))}." if found.flagged else said


def _title(segment: Segment) -> str:
    return segment.title if segment.is_value else f"({segment.title})"


def _segment(segment: Segment, names: Sequence[str]) -> tuple[str, ...]:
    return (
        _title(segment),
        f"{segment.rows:,}",
        f"{segment.labels:,}",
        *_realised(segment.figure),
        *(_gap(segment.gaps.get(name)) for name in names),
    )


def _gap(gap: Gap | NoFigure | None) -> str:
    if not isinstance(gap, Gap):
        return str(gap) if gap is not None else "-"
    mark = "! " if gap.is_flagged else ""
    return f"{mark}{_number(gap.value)} ({_number(gap.low)} to {_number(gap.high)})"


def _measures(report: PerformanceReport) -> Iterator[tuple[str, ...]]:
    for name, figure in report.realised.items():
        estimate, band = _estimated(report.estimated.get(name)), report.bands[name]
        usual = f"{_number(band.low)} to {_number(band.high)}" if isinstance(band, Band) else "-"
        yield titled(name, report.positive), *_realised(figure), estimate, usual


def _both(of: OfClass, measure: str) -> str:
    estimate = _estimated(of.estimated.get(measure))
    return f"{_realised(of.realised.get(measure))[0]} ({estimate})"


def _cohort(cohort: Cohort, metric: str) -> tuple[str, ...]:
    return (
        f"{cohort.start:%Y-%m-%d}{' (maturing)' if cohort.is_maturing else ''}",
        f"{cohort.rows:,}",
        percent(cohort.coverage),
        _realised(cohort.realised.get(metric))[0],
        _estimated(cohort.estimated.get(metric)),
    )


def _realised(figure: Figure | NoFigure | None) -> tuple[str, str]:
    if not isinstance(figure, Figure):
        return (str(figure) if figure is not None else "-"), "-"
    has_interval = figure.low is not None and figure.high is not None
    return _number(figure.value), f"{_number(figure.low)} to {_number(figure.high)}" if has_interval else "-"


def _estimated(figure: Estimate | NoFigure | None) -> str:
    if not isinstance(figure, Estimate):
        return str(figure) if figure is not None else "-"
    return _number(figure.value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _markdown(page: Page) -> Iterator[str]:
    yield f"# {_text(page.title)}"
    for section in page.sections:
        yield from ("", f"## {_text(section.title)}", "", *map(_text, section.sentences))
        if section.rows:
            yield from ("", _line(section.header), _line(["---"] * len(section.header)), *map(_line, section.rows))
    yield ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join('---' if cell == '---' else _text(cell) for cell in cells)} |"


def _text(text: str) -> str:
    """Return `text` so that it stands there as it is: nothing of it is markup, a link, or a line of its own."""
    return _MARKUP.sub(r"\\\1", _CONTROL.sub(" ", text))
