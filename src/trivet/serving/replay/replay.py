"""The replay: a version is asked, in a process of its own, what another was asked; nobody is answered, nothing recorded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from trivet.control.predictions.models import Prediction, PredictionQuerySet
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.control.registry.storage import environments_folder, fetch_bundle
from trivet.core.decisions import Decision, decide, gives_score
from trivet.core.errors import BundleError, InvalidRequest, Refused
from trivet.core.signature import Signature
from trivet.dataplane.validation.plan import Plan
from trivet.dataplane.validation.rows import first_problems, validate_rows
from trivet.model.bundle.bundle import Bundle
from trivet.model.replay import FreshProcess
from trivet.serving.replay.logged import NEEDED, Asked, Asking

MOST_ROWS = 10_000
BATCH_ROWS = 500
MOVERS = 50
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Tell = Callable[[int, int], None]  # how many rows are done, of how many


@dataclass(frozen=True)
class Spread:
    """How scores lie: their mean, and their quantiles at 5, 25, 50, 75 and 95 percent."""

    mean: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class Scores:
    """What became of scores, over `rows` that have both: how they lay, how they lie, and how far one is from the other."""

    rows: int
    before: Spread
    after: Spread
    mean_difference: float  # absolute
    max_difference: float


@dataclass(frozen=True)
class Mover:
    """One row of which the other version says something else."""

    prediction_id: str
    entity: str
    made_at: datetime
    before: float | None
    after: float | None
    decision_before: str
    decision_after: str

    @property
    def has_moved(self) -> bool:
        """True where the decision is another."""
        return self.decision_before != self.decision_after

    @property
    def difference(self) -> float:
        """How far the score moved; 0 where there are not two."""
        return 0.0 if self.before is None or self.after is None else abs(self.after - self.before)


@dataclass(frozen=True)
class Speed:
    """Microseconds. A row alone through each model, measured now and by the other's probe; a whole request, as logged."""

    version: float | None
    against: float | None
    logged_request: float | None  # median, all stations of the corridor; of what no cache answered


@dataclass(frozen=True)
class Replay:
    """What a version says of what another was asked since `since`."""

    model: str
    version: int
    against: int
    since: datetime
    logged: int  # rows that were looked at
    is_limited: bool  # there are older ones
    compared: int
    derived: int  # of them with features as of their time
    not_comparable: tuple[tuple[str, int], ...]  # why, in words, and how many rows; the most frequent first
    decided: int  # compared rows with a decision of both
    moved: int
    scores: Scores | None
    scores_differ_in_meaning: bool
    movers: tuple[Mover, ...]  # the farthest first, 50 at most
    speed: Speed

    @property
    def agreement(self) -> float | None:
        """Share of the decisions that are the same; None where there is none."""
        return None if self.decided == 0 else 1 - self.moved / self.decided


def replay(
    version: ModelVersion,
    *,
    since: datetime,
    against: ModelVersion | None = None,
    limit: int = MOST_ROWS,
    tell: Tell | None = None,
) -> Replay:
    """Ask `version` what `against`, by default the champion, was asked since `since`: the newest `limit` rows.

    It runs in a fresh process, and blocks as long as that takes. Rows are read and not written. Raises `NotFound` where
    the model has no champion, and `Refused` where the version cannot be asked with rows, or be loaded.
    """
    model = version.model.name
    against = against or ModelVersion.objects.resolve(model, CHAMPION)
    signature = version.read_signature()
    if not signature.has_rows or not signature.field_names:
        raise Refused(f"{version} takes tensors, not rows with names, so no logged row can be put to it.")
    logged = Prediction.objects.of_model(model).since(since).answers()
    logged = logged.filter(version=against.number, digest=against.digest, fallback_from__isnull=True)
    total = logged.count()
    sums = _Sums(comparable=_mean_the_same(signature, against.read_signature()))
    try:
        bundle = fetch_bundle(version.digest)
        with FreshProcess(bundle, environments=environments_folder()) as process:
            ask = _Ask(version, bundle, process)
            for page in _pages(logged, limit):
                sums.add(ask.of(page))
                if tell is not None:
                    tell(sums.logged, min(total, limit))
            cost = process.us_per_row()
    except BundleError as error:
        raise Refused(f"{version} cannot be replayed: {error.message}") from None
    return Replay(
        model=model,
        version=version.number,
        against=against.number,
        since=since,
        is_limited=total > limit,
        speed=Speed(cost, against.cost_us_per_row, sums.usual_latency()),
        **sums.told(),
    )


def _pages(logged: PredictionQuerySet, limit: int) -> Iterator[list[Prediction]]:
    """Yield logged rows, the newest first, a page at a time; those that come meanwhile are in none."""
    rows = logged.order_by("-made_at", "-pk").only(*NEEDED)
    after, left = rows, limit
    while left and (page := list(after[: min(BATCH_ROWS, left)])):
        yield page
        left -= len(page)
        last = page[-1]
        after = rows.filter(made_at__lte=last.made_at).exclude(made_at=last.made_at, pk__gte=last.pk)


def _mean_the_same(one: Signature, other: Signature) -> bool:
    """Return whether the score of two versions is a number of the same thing."""
    return gives_score(one) and gives_score(other) and _meaning(one) == _meaning(other)


def _meaning(signature: Signature) -> tuple[Any, ...]:
    outputs = signature.outputs
    return signature.task, [(output.name, output.classes, output.unit) for output in outputs if output.name != "label"]


class _Answer(NamedTuple):
    """A logged row, and what the version says of it; or why it says nothing."""

    asked: Asked
    decision: Decision | None
    why_not: str = ""


class _Ask:
    """Puts logged rows to a version, checked as the corridor checks what is sent to it."""

    def __init__(self, version: ModelVersion, bundle: Bundle, process: FreshProcess) -> None:
        self._name, self._signature, self._process = str(version), bundle.signature, process
        self._plan = Plan(bundle.signature, BATCH_ROWS, bundle.manifest.packs)
        self._asking = Asking(version.model.name, bundle.signature)

    def of(self, page: Sequence[Prediction]) -> list[_Answer]:
        asked = self._asking.of(page)
        answers = [_Answer(one, None, one.why_not) for one in asked]
        places = [place for place, one in enumerate(asked) if one.row is not None]
        rows = [row for one in asked if (row := one.row) is not None]
        problems = self._problems(rows)
        for at, problem in problems.items():
            what = f"{problem.field!r} does not fit" if problem.field else "a value does not fit"
            answers[places[at]] = _Answer(asked[places[at]], None, f"{what} ({problem.code})")
        good = [at for at in range(len(rows)) if at not in problems]
        if good:
            for at, decision in self._decisions([rows[at] for at in good]):
                place = places[good[at]]
                answers[place] = answers[place]._replace(decision=decision)
            for at in good:
                if answers[places[at]].decision is None:
                    answers[places[at]] = _Answer(asked[places[at]], None, "the version fails on it")
        return answers

    def _problems(self, rows: Sequence[dict[str, Any]]) -> dict[int, InvalidRequest]:
        if not rows:
            return {}
        try:
            validate_rows(self._plan, rows, self._name)
        except InvalidRequest:
            return first_problems(self._plan, rows, self._name)
        return {}

    def _decisions(self, rows: Sequence[dict[str, Any]]) -> list[tuple[int, Decision]]:
        ran = self._process.run(validate_rows(self._plan, rows, self._name).feed)
        return list(zip(ran.places, decide(self._signature, ran.outputs, len(ran.places)), strict=True))


class _Sums:
    """What is found, page by page."""

    def __init__(self, *, comparable: bool) -> None:
        self.logged = 0
        self._comparable = comparable
        self._derived = self._decided = self._moved = self._compared = 0
        self._reasons: Counter[str] = Counter()
        self._before: list[float] = []
        self._after: list[float] = []
        self._movers: list[Mover] = []
        self._latencies: dict[UUID, int] = {}

    def add(self, answers: Sequence[_Answer]) -> None:
        """Count a page."""
        self.logged += len(answers)
        for answer in answers:
            logged = answer.asked.logged
            if not logged.cached:
                self._latencies[logged.prediction_id] = logged.latency_us
            if answer.decision is None:
                self._reasons[answer.why_not] += 1
                continue
            self._compare(answer.asked, answer.decision)
        self._movers = sorted(self._movers, key=lambda mover: (-mover.difference, not mover.has_moved))[:MOVERS]

    def usual_latency(self) -> float | None:
        """Return the median of what requests took, in microseconds; None where none was logged."""
        return float(np.median([*self._latencies.values()])) if self._latencies else None

    def told(self) -> dict[str, Any]:
        """Return it, by the names of `Replay`."""
        return {
            "logged": self.logged,
            "compared": self._compared,
            "derived": self._derived,
            "not_comparable": tuple(self._reasons.most_common()),
            "decided": self._decided,
            "moved": self._moved,
            "scores": self._scores(),
            "scores_differ_in_meaning": not self._comparable,
            "movers": tuple(self._movers),
        }

    def _compare(self, asked: Asked, decision: Decision) -> None:
        logged = asked.logged
        before, after = (logged.score, decision.score) if self._comparable else (None, None)
        self._compared += 1
        self._derived += asked.row is not None and not asked.row.keys() <= (logged.inputs or {}).keys()
        if before is not None and after is not None:
            self._before.append(before)
            self._after.append(float(after))
        mover = Mover(
            prediction_id=logged.public_id,
            entity=logged.entity_key,
            made_at=logged.made_at,
            before=before,
            after=after,
            decision_before=logged.decision,
            decision_after=decision.decision,
        )
        if logged.decision and decision.decision:
            self._decided += 1
            self._moved += mover.has_moved
        if mover.has_moved or mover.difference:
            self._movers.append(mover)

    def _scores(self) -> Scores | None:
        if not self._before:
            return None
        before, after = np.array(self._before), np.array(self._after)
        gaps = np.abs(after - before)
        return Scores(len(before), _spread(before), _spread(after), float(gaps.mean()), float(gaps.max()))


def _spread(scores: np.ndarray) -> Spread:
    return Spread(math.fsum(scores) / len(scores), tuple(np.quantile(scores, QUANTILES).tolist()))
