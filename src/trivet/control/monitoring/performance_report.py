"""The performance report: how right a version was, by time of prediction; how right it probably is; whether to believe that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.estimates import Band, Estimates
from trivet.control.monitoring.misfit import Misfit
from trivet.control.monitoring.models import Grain
from trivet.control.monitoring.performance import Figures, NoFigure
from trivet.control.monitoring.references import labelled_reference, watched
from trivet.control.monitoring.segment_report import Segmentation, segmentations
from trivet.control.monitoring.standing import misfit_of, standing_of
from trivet.control.monitoring.tasks import OF_TASK, OfClass, Task, summed, task_of
from trivet.control.monitoring.trust import Verdict
from trivet.control.monitoring.truths import Truths, truths_of
from trivet.control.monitoring.usual import Usual
from trivet.control.monitoring.windows import DAY, counts_by, label_tables
from trivet.control.registry.declarations import declared, labels_mature
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.core.errors import NotFound
from trivet.core.profile.labels import LabelTable
from trivet.core.profile.profile import Profile as Counts, merge
from trivet.core.profile.reference import BINARY

DEFAULT_PERIOD = timedelta(days=30)


@dataclass(frozen=True)
class Cohort:
    """The predictions of one day: how many, how many have a label, what these say, and what was to be expected.

    `is_maturing` while labels may still come: then what is realised is of those that came early.
    """

    start: datetime
    end: datetime
    rows: int
    labels: int
    is_maturing: bool
    realised: Figures
    estimated: Estimates

    @property
    def coverage(self) -> float | None:
        """The share of predictions that have a label; None where nothing was predicted."""
        return self.labels / self.rows if self.rows else None


@dataclass(frozen=True)
class PerformanceReport:
    """How right one version was from `start` to `end`. `task` is binary, classes, regression or none.

    `bands` say of each measure where it was in pieces of the reference; `by_class` holds each of several classes.
    `truths` is what ROC, reliability and the confusion at any threshold are read from; None but for two classes.
    """

    model: str
    version: int
    task: str
    metric: str  # the one that is drawn
    start: datetime
    end: datetime
    rows: int
    labels: int
    cohorts: tuple[Cohort, ...]
    realised: Figures
    estimated: Estimates
    bands: Mapping[str, Band | NoFigure]
    is_estimated: bool  # so that the labels may agree with the estimate or not
    trust: Verdict
    misfit: Misfit | None  # in which direction labels differ from an estimate that is not trusted, where that is known
    truths: Truths | None
    by_class: Mapping[str, OfClass]
    segmentations: tuple[Segmentation, ...] = ()  # of each column that is declared
    edges: tuple[float, ...] = ()  # of the bins of `truths`, and the unit of their sums: what `confusion_at` takes
    unit: float = 1.0
    positive: str = ""  # of two classes the one that `OF_ONE_CLASS` are of, and that is found and selected

    @property
    def band(self) -> Band | NoFigure:
        """Where the measure that is drawn was."""
        return self.bands[self.metric]

    @property
    def segment_metric(self) -> str:
        """The measure that is told of segments: the task's own, whatever was declared."""
        return OF_TASK.get(self.task, Task).metric


def performance_report(
    model: str,
    *,
    now: datetime,
    number: int | None = None,
    period: timedelta = DEFAULT_PERIOD,
    matures: timedelta | None = None,
    by: timedelta = DAY,
    with_segments: bool = True,
) -> PerformanceReport:
    """Return how right the champion of `model`, or version `number`, was in the last `period`, cohort by cohort.

    What it says of segments takes as long as all the rest: who does not read that asks for the report without.

    Raises `NotFound` where there is no such version, and where nothing of it is counted because it has no reference.
    """
    version = ModelVersion.objects.resolve(model, number if number is not None else CHAMPION)
    found = watched(model, version.digest)
    if found is None:
        raise NotFound(
            f"{model} {version.number} has no reference: push it with a sample (--sample) and labels (--labels)."
        )
    end = begin_of(now, Grain.DAY) + DAY
    start = end - period
    metric = declared(model).metric
    task = task_of(found.reference, metric)
    pieces = list(_pieces(version.pk, task, start, end, by))
    after = matures if matures is not None else labels_mature(model)
    cohorts = tuple(_cohort(task, piece, by, is_maturing=now - piece.begin - by < after) for piece in pieces)
    counted = merge((piece.counts for piece in pieces), found.reference.empty)
    tables = [table for piece in pieces for table in piece.tables]
    labelled = summed(found.reference, tables)
    whole = task.performance(counted, tables)
    usual = Usual(task_of(labelled_reference(found), metric))
    bins = found.reference.scores[0] if task.name == BINARY else None
    trust = standing_of(version)
    return PerformanceReport(
        model=model,
        version=version.number,
        task=task.name,
        metric=task.metric,
        start=start,
        end=end,
        rows=counted.rows,
        labels=labelled.labels,
        cohorts=cohorts,
        realised=whole.realised,
        estimated=whole.estimated,
        bands=usual.bands(whole.realised, median(cohort.rows for cohort in cohorts) if cohorts else 0.0),
        is_estimated=task.is_estimated,
        trust=trust,
        misfit=misfit_of(version) if trust == Verdict.NOT_TRUSTED else None,
        truths=truths_of(found.reference, labelled, counted) if bins is not None else None,
        by_class=whole.by_class,
        segmentations=segmentations(found, start, end) if with_segments else (),
        edges=bins.edges if bins is not None else (),
        unit=bins.unit if bins is not None else 1.0,
        positive=bins.name if bins is not None else "",
    )


class _Piece(NamedTuple):
    """What was counted of a cohort: its predictions, and what turned out true of them, apart as far as its task needs that."""

    begin: datetime
    counts: Counts
    tables: list[LabelTable]


def _pieces(version_id: int, task: Task, start: datetime, end: datetime, by: timedelta) -> Iterator[_Piece]:
    """Yield the cohorts that have anything, in the order of time."""
    counts = counts_by(version_id, start, end, by, task.reference.empty)
    found = label_tables(version_id, task.reference, start, end, by=None if task.needs_hours else by)
    tables: dict[datetime, list[LabelTable]] = {}
    for at, table in found.items():
        tables.setdefault(start + (at - start) // by * by, []).append(table)
    for begin in sorted({*counts, *tables}):
        yield _Piece(begin, counts.get(begin, task.reference.empty), tables.get(begin, []))


def _cohort(task: Task, piece: _Piece, by: timedelta, *, is_maturing: bool) -> Cohort:
    drawn = task.drawn(piece.counts, piece.tables)
    return Cohort(
        start=piece.begin,
        end=piece.begin + by,
        rows=piece.counts.rows,
        labels=sum(table.labels for table in piece.tables),
        is_maturing=is_maturing,
        realised=drawn.realised,
        estimated=drawn.estimated,
    )
