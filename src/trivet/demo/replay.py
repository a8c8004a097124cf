"""July to December, lived again: asked, labelled and watched day by day, moved so that the year ended just now.

What answers, records, ships, counts, labels, watches and judges is what does so in every project. Moved are times: when a
prediction was made and when its flight landed, by the same whole number of days, and the clock by which it is watched.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from trivet import conf
from trivet.control.monitoring.alerts import forget_estimates, forget_evidence
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.monitoring.models import Alert, HeldAgainst, LossEvidence, Monitor
from trivet.control.monitoring.performance import Figure, NoFigure
from trivet.control.monitoring.performance_report import performance_report
from trivet.control.monitoring.references import Watched, watched
from trivet.control.monitoring.standing import side_of
from trivet.control.monitoring.trust import Side, Verdict
from trivet.control.monitoring.watching import LAG, watch
from trivet.control.monitoring.windows import DAY, counts_between
from trivet.control.predictions.labelling import apply_labels
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.core.errors import Conflict, NotFound
from trivet.core.ids import new_prediction_id
from trivet.core.records import LabelRecord, SaidLabel
from trivet.demo.flights import CLASSES, TARGET
from trivet.serving.aside import Aside
from trivet.serving.chores import watching_alone

CALLER = "replay"  # as the log has it, user:replay
SOURCE = "landing"
PATIENCE_SECONDS = 60.0  # for the keeper to end its turn
DESTINATION = "dest"


@dataclass(frozen=True)
class Flight:
    """One flight: what is asked about it and when, when it landed, and what it had become. Times are moved ones, in UTC."""

    features: dict[str, Any]
    asked_at: datetime  # the beginning of the hour that it is scheduled in
    landed_at: datetime
    outcome: str


@dataclass(frozen=True)
class Opened:
    """An alert, on the day that it was raised."""

    cause: str
    severity: str
    features: tuple[str, ...]
    on: datetime  # as moved


@dataclass(frozen=True)
class Distrusted:
    """From which day to which labels did not fit the estimate, days of predictions as moved, both included; and on which side."""

    first: datetime
    last: datetime
    side: Side


@dataclass(frozen=True)
class Month:
    """What a month of the year replayed came to. `start` is its first day as moved; `name` is what it was.

    `late` is the share of the labelled flights that were over 15 minutes late; `predicted` the mean of what was
    predicted. `trust` is what is thought of the estimate after the month's last day that was judged; after `distrusted` of
    them it was not trusted. `band` is where days of the reference were. `drifted` are the features that alarms named, and on
    how many days.
    """

    name: str
    start: datetime
    rows: int
    labels: int
    late: float | None
    predicted: float | None
    realised: float | None  # AUC
    interval: tuple[float, float] | None
    estimated: float | None
    band: tuple[float, float] | None
    trust: Verdict
    distrusted: int
    alerts: tuple[Opened, ...]
    drifted: dict[str, int]
    unseen: dict[str, int]


def read_flights(
    path: Path, datatypes: Mapping[str, str], now: datetime, most: int | None
) -> tuple[list[Flight], timedelta]:
    """Return the flights of `path` in the order of their departures, and by how many whole days their times were moved.

    Of more than `most` some are taken, spread evenly. `datatypes` of the inputs say how cells are read. They are moved so far
    that the last of all has landed by `now`.
    """
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    last = max(_moment(line["arrived_at"]) for line in lines)
    by = (now - last) // DAY * DAY
    count = len(lines) if most is None else min(most, len(lines))
    chosen = (lines[number * len(lines) // count] for number in range(count))
    flights = [
        Flight(
            {name: _typed(line[name], datatype) for name, datatype in datatypes.items()},
            _moment(line["scheduled_at"]).replace(minute=0) + by,
            _moment(line["arrived_at"]) + by,
            line[TARGET],
        )
        for line in chosen
    ]
    return flights, by


@dataclass
class Replay:
    """The half-year of one model. `by` is how far its flights were moved. Iterate `run`, which takes minutes."""

    model: str
    flights: Sequence[Flight]
    by: timedelta
    now: datetime
    _folding: Folding = field(default_factory=Folding)
    _waiting: list[tuple[datetime, SaidLabel]] = field(default_factory=list)  # flights in the air, and when they land
    _opened: list[Opened] = field(default_factory=list)
    _drifted: dict[datetime, list[str]] = field(default_factory=dict)  # by day, what an alarm named
    _trust: list[tuple[datetime, Verdict, Side | None]] = field(
        default_factory=list
    )  # by the day of the predictions judged

    def check(self) -> Watched:
        """Return the version that will answer. Raises `NotFound` without one to watch, `Conflict` after another replay."""
        version = ModelVersion.objects.resolve(self.model, CHAMPION)
        found = watched(self.model, version.digest)
        if found is None:
            raise NotFound(f"{self.model} {version.number} has no reference to watch it by: make the demo anew.")
        if Prediction.objects.filter(model=self.model, caller=f"user:{CALLER}").exists():
            raise Conflict(
                "the half-year was replayed here already, and a log forgets nothing: remove the folder, and make the demo anew.",
                code="REPLAYED",
            )
        return found

    def run(self) -> Iterator[Month]:
        """Live it day by day; yield each month once its labels have matured, the last ones at the end.

        Raises what `check` raises, and `Conflict` while somebody else watches.
        """
        found = self.check()
        with watching_alone(PATIENCE_SECONDS) as is_alone:
            if not is_alone:
                raise Conflict("another process watches this project just now; try again.", code="BUSY")
            self._begin(found)
            months = self._months()
            with Aside(conf.HOME() / "replay") as aside:
                for day, flights in groupby(self.flights, key=lambda flight: _day_of(flight.asked_at)):
                    self._live(aside, day, list(flights))
                    while months and day + DAY >= months[0][2] + timedelta(hours=conf.LABELS_MATURE_HOURS()):
                        yield self._month(found, *months.pop(0))
                self._label(self.now)
                self._judge(self.now, self.now)
            for month in months:
                yield self._month(found, *month)

    @property
    def distrusted(self) -> list[Distrusted]:
        """When the estimate was not trusted, and on which side."""
        runs = groupby(self._trust, key=lambda judged: judged[2])
        return [
            Distrusted(days[0][0], days[-1][0], side) for side, run in runs if side is not None for days in [list(run)]
        ]

    def _begin(self, found: Watched) -> None:
        """Let watching begin with the replay's first day, though something may have been asked since."""
        Monitor.objects.filter(version=found.version).update(until=None)
        LossEvidence.objects.filter(version=found.version).delete()
        forget_evidence(found.version)
        forget_estimates(found.version)

    def _months(self) -> list[tuple[str, datetime, datetime]]:
        """Return the months of the flights: name, first day and the day after the last, both as moved."""
        starts = sorted({(flight.asked_at - self.by).replace(day=1, hour=0) for flight in self.flights})
        return [(f"{start:%B}", start + self.by, _month_after(start) + self.by) for start in starts]

    def _live(self, aside: Aside, day: datetime, flights: Sequence[Flight]) -> None:
        """Ask about the flights of a day, hour by hour; label what landed; judge what is over."""
        made_at: dict[str, int] = {}
        for hour, together in groupby(flights, key=lambda flight: flight.asked_at):
            some = list(together)
            for start in range(0, len(some), conf.MAX_ROWS()):
                batch = some[start : start + conf.MAX_ROWS()]
                answers = aside.predict_many(self.model, [flight.features for flight in batch], user=CALLER)
                for flight, answer in zip(batch, answers, strict=True):
                    prediction, _, row = answer.id.partition(":")
                    made_at[prediction] = _nanoseconds(hour)
                    said = SaidLabel(
                        flight.outcome,
                        prediction,
                        int(row or 0),
                        observed_at=_nanoseconds(flight.landed_at),
                        source=SOURCE,
                    )
                    self._waiting.append((flight.landed_at, said))
        moved = [msgspec.structs.replace(record, made_at=made_at[record.id]) for record in aside.records()]
        ship(moved, beside=self._folding)
        end = day + DAY
        self._label(end)
        self._watch(end)
        self._judge(end, end)

    def _label(self, until: datetime) -> None:
        """Say what became of the flights that have landed by `until`."""
        landed = [said for at, said in self._waiting if at <= until]
        self._waiting = [(at, said) for at, said in self._waiting if at > until]
        if landed:
            record = LabelRecord(
                receipt=new_prediction_id(),
                received_at=_nanoseconds(until),
                model=self.model,
                caller=f"user:{CALLER}",
                labels=landed,
            )
            apply_labels([record], beside=LabelFolding())

    def _watch(self, end: datetime) -> None:
        for verdict in watch(end + LAG):
            if not isinstance(verdict, datetime) and verdict.is_alarm:
                self._drifted[end - DAY] = list(dict.fromkeys(name.partition(":")[2] or name for name in verdict.named))
        self._note_alerts(end)

    def _judge(self, now: datetime, end: datetime) -> None:
        for verdict in judge(now):
            rows = LossEvidence.objects.filter(version__model__name=self.model, loss=HeldAgainst.ESTIMATE)
            row = rows.select_related("version__model").get()
            if row.until is not None:
                self._trust.append((row.until - DAY, verdict, side_of(row.version)))
        self._note_alerts(end)

    def _note_alerts(self, end: datetime) -> None:
        """Move what the clock says of alerts, and remember those that are new."""
        alerts = Alert.objects.filter(model__name=self.model)
        new = alerts.filter(opened_at__gte=self.now)
        self._opened += [Opened(one.cause, one.severity, tuple(one.features), end - DAY) for one in new]
        new.update(opened_at=end)
        alerts.filter(resolved_at__gte=self.now).update(resolved_at=end)

    def _month(self, found: Watched, name: str, start: datetime, end: datetime) -> Month:
        version, reference = found.version, found.reference
        moment = end - timedelta(seconds=1)
        report = performance_report(self.model, number=version.number, now=moment, period=end - start)
        counts = counts_between(version.pk, start, end, reference.empty)
        late = predicted = None
        if report.truths is not None and report.truths.labels:
            share = float(report.truths.positives.sum()) / report.truths.labels
            mean = float(report.truths.score_sums.sum()) / report.truths.labels
            is_of_late = reference.scores[0].name == CLASSES[0]
            late, predicted = (share, mean) if is_of_late else (1 - share, 1 - mean)
        drifted: dict[str, int] = defaultdict(int)
        for day, features in self._drifted.items():
            for feature in features if start <= day < end else ():
                drifted[feature] += 1
        estimate, realised = report.estimated.get(report.metric), report.realised[report.metric]
        return Month(
            name=name,
            start=start,
            rows=report.rows,
            labels=report.labels,
            late=late,
            predicted=predicted,
            realised=realised.value if isinstance(realised, Figure) else None,
            interval=_interval(realised),
            estimated=None if estimate is None or isinstance(estimate, NoFigure) else estimate.value,
            band=None if isinstance(report.band, NoFigure) else (report.band.low, report.band.high),
            trust=next((verdict for day, verdict, _ in reversed(self._trust) if day < end), Verdict.UNKNOWN),
            distrusted=sum(start <= day < end and verdict == Verdict.NOT_TRUSTED for day, verdict, _ in self._trust),
            alerts=tuple(one for one in self._opened if start <= one.on < end),
            drifted=dict(sorted(drifted.items(), key=lambda pair: -pair[1])),
            unseen=dict(counts.unseen.get(DESTINATION, {})),
        )


def _interval(figure: Figure | NoFigure) -> tuple[float, float] | None:
    if isinstance(figure, NoFigure) or figure.low is None or figure.high is None:
        return None
    return figure.low, figure.high


def _month_after(start: datetime) -> datetime:
    return (start + timedelta(days=31)).replace(day=1)


def _day_of(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def _typed(text: str, datatype: str) -> Any:
    if text == "":
        return None
    if datatype == "BYTES":
        return text
    return int(float(text)) if datatype.startswith("INT") else float(text)
