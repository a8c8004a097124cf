"""What turned out true: from what somebody said to a row beside its prediction, once, and corrected by another row.

Whoever ships the spool calls `apply_labels` and, for those that came before their prediction, `apply_waiting`; who is to be
answered calls `say`. All of them lock the head of the log first, so revisions are given in one line; hold no transaction
of your own open around them for long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.db import router, transaction
from django.utils import timezone

from trivet import signals
from trivet.control.predictions.forgetting import FORGOTTEN, NOTHING_SAID, forgotten_until
from trivet.control.predictions.joining import (
    Authority,
    Entities,
    Place,
    Said,
    Standing,
    by_place,
    is_same,
    standing_labels,
    unique,
)
from trivet.control.predictions.meaning import Meanings
from trivet.control.predictions.models import Label, LabelState, LogHead, Prediction
from trivet.control.predictions.shipping import Cursor, moment_of, move_cursor, stored, text_of
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import RegisteredModel
from trivet.core.errors import InvalidRequest, NotFound, Refused, TrivetError, did_you_mean, quoted

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor
    from trivet.core.records import LabelRecord, PredictionRecord, SaidLabel

APPLIED, REVISED, REPEATED, WAITING, REFUSED = "applied", "revised", "repeated", "waiting", "refused"
WAITS = timedelta(days=7)  # for its prediction, which may come later from another machine
SOON = timedelta(
    hours=1
)  # a label with an entity key is looked at with each batch for so long; then with all that wait
UNKNOWN = "?"  # no model's name
AT_ONCE = 500  # labels that waited, of one transaction
MOST_SOON = 1000

NOT_THERE = "there is no such prediction yet."
NEVER_CAME = "no such prediction came within 7 days."
PRUNED = "its prediction is no longer kept."
NO_SUCH_ROW = "the prediction has fewer rows; the first is 0."
OF_OTHERS = "the prediction was made by another owner's key."
OF_ANOTHER_MODEL = "the prediction is another model's."
OVERTAKEN = "what was said later was applied first."
MEANINGLESS = "the version has no such class, or two that it may be; or it estimates a number, and this is none."


@dataclass(frozen=True)
class LabelChange:
    """A label that was applied to an answer: what was counted for it before is to be taken away, the new value added.

    `old_value` and what stands beside it are None for a first label; a label itself never is. Times as the log keeps them.
    """

    model: str
    version: int
    digest: str
    kind: str
    made_at: datetime
    score: float | None
    decision: str
    old_value: Any | None  # JSON
    new_value: Any
    observed_at: datetime
    weight: float
    prediction_id: UUID
    row: int
    old_observed_at: datetime | None = None
    old_weight: float | None = None


@dataclass(frozen=True)
class Labelled:
    """What became of a label that somebody waits for. `is_new` is False where the same was said before."""

    prediction: str  # <uuid>:<row>
    model: str
    value: Any  # JSON
    revision: int
    is_new: bool

    @property
    def result(self) -> str:
        """What it is counted as."""
        return REPEATED if not self.is_new else APPLIED if self.revision == 1 else REVISED


class Became(NamedTuple):
    """What became of a label that was submitted: one of the results above, and why it waits or was refused."""

    result: str
    reason: str = ""


Counts = Counter[tuple[str, str]]  # by model and result
Beside = Callable[[Sequence[LabelChange]], object]


def apply_labels(
    records: Iterable[LabelRecord],
    *,
    cursor: tuple[str, int, int] | None = None,
    beside: Beside | None = None,
) -> Counts:
    """Apply the labels of `records` in their order, and move `cursor` (worker, segment, offset) with them.

    One transaction. A label is about the prediction with its id, else the newest with its entity key that was made before
    what was observed, by at most as long as the model's labels take to mature: 90 days where no Outcome says. The same again
    changes nothing, another value is the next revision. One whose prediction is not there waits; one about a prediction of
    another owner's key is refused. `beside` is called inside the transaction with what changed. Sends `label_recorded` on
    commit. Returns how many came to what, by model and result.
    """
    said = [one for record in records for one in _said_in(record)]
    database = router.db_for_write(Label)
    with transaction.atomic(using=database):
        application = _Application(said, database)
        verdicts = application.apply(beside)
        application.keep([_row(*pair) for pair in zip(said, verdicts, strict=True)])
        if cursor is not None:
            move_cursor(Cursor(*cursor))
    return _counted(verdicts)


def apply_waiting(records: Iterable[PredictionRecord], *, beside: Beside | None = None) -> Counts:
    """Apply the labels that waited for these predictions, which are in the log by now. Without such it is one look."""
    records, database = list(records), router.db_for_write(Label)
    waiting = Label.objects.using(database).filter(state=LabelState.WAITING, model__in={one.model for one in records})
    if not waiting.exists():
        return Counter()
    found: list[int] = []
    ids = [UUID(record.id) for record in records]
    for start in range(0, len(ids), AT_ONCE):
        found += waiting.filter(prediction_id__in=ids[start : start + AT_ONCE]).values_list("pk", flat=True)
    keys = {text_of(key) for record in records for key in record.entity_keys or [record.entity_key] if key}
    if keys:
        soon = waiting.filter(prediction_id=None, received_at__gte=timezone.now() - SOON).order_by("-received_at")
        found += [pk for pk, key in soon.values_list("pk", "entity_key")[:MOST_SOON] if key in keys]
    parts = (found[start : start + AT_ONCE] for start in range(0, len(found), AT_ONCE))
    return sum((_try_again(part, beside, database) for part in parts), Counter())


def retry_waiting(*, beside: Beside | None = None) -> Iterator[Counts]:
    """Look for the predictions of all labels that wait; those that did for a week are refused.

    Yields after each transaction of some hundred; whoever stops asking stops it. The keeper calls this a few times a day.
    """
    database = router.db_for_write(Label)
    waiting = Label.objects.using(database).filter(state=LabelState.WAITING)
    for model in list(RegisteredModel.objects.values_list("name", flat=True)):
        found = list(waiting.filter(model=model).order_by("received_at", "pk").values_list("pk", flat=True))
        for start in range(0, len(found), AT_ONCE):
            yield _try_again(found[start : start + AT_ONCE], beside, database)


def say(
    labels: Sequence[SaidLabel],
    *,
    actor: Actor,
    model: str = "",
    beside: Beside | None = None,
) -> list[Labelled | TrivetError]:
    """Apply `labels`, whose senders wait for an answer: each gets what became of it, or why it was refused.

    `actor`: a user needs `label` for the model; a text is taken at its word. Both may label everybody's predictions.
    Without a `model` each label has a prediction's id. Nothing waits and nothing refused is kept: `NotFound` for what is not
    in the log, `Refused` for what is not to be applied. One transaction, `label_recorded` on commit. Raises `NotFound` for a
    model that is not there, `PermissionDenied`, and `InvalidRequest` for an entity without a model.
    """
    if model and not RegisteredModel.objects.filter(name=model).exists():
        known = RegisteredModel.objects.values_list("name", flat=True) if isinstance(actor, str) else ()
        raise NotFound(f"no model {quoted(model)} here.{did_you_mean(model, known)}", code="UNKNOWN_MODEL")
    if not model and any(not one.prediction_id for one in labels):
        raise InvalidRequest("name the model: an entity may have predictions of several.", code="MISSING_FIELD")
    database, now = router.db_for_write(Label), timezone.now()
    caller = actor if isinstance(actor, str) else f"user:{actor.get_username()}"
    told = [_said(one, model, now, caller, None) for one in labels]
    if not model:
        told = _with_models(told, database)
    _check_permitted(actor, {one.model for one in told} - {UNKNOWN})
    with transaction.atomic(using=database):
        application = _Application(told, database)
        verdicts = application.apply(beside)
        pairs = list(zip(told, verdicts, strict=True))
        application.keep([_row(*pair) for pair in pairs if pair[1].result in (APPLIED, REVISED)])
    return [_answer(*pair, model) for pair in pairs]


def submit(
    labels: Iterable[SaidLabel],
    *,
    model: str,
    actor: Actor,
    receipt: UUID,
    beside: Beside | None = None,
) -> list[Became]:
    """Apply `labels` of one model, some hundred at once; each is told what it came to. All of them are applied, or none.

    `actor` may what `say` asks of them. A label that came before its prediction is kept and waits for it, as one that came
    over HTTP does; one that is refused is not. One transaction, also around the reading of `labels`: whatever that raises
    leaves nothing. `label_recorded` on commit. Raises `NotFound` for a model that is not there, and `PermissionDenied`.
    """
    caller = permitted(actor, "label", to="label", model=model)
    RegisteredModel.objects.named(model)
    database, now = router.db_for_write(Label), timezone.now()
    changes: list[LabelChange] = []
    became: list[Became] = []
    said = (_said(one, model, now, caller, receipt) for one in labels)
    with transaction.atomic(using=database):
        LogHead.objects.using(database).lock()
        while part := list(islice(said, AT_ONCE)):
            application = _Application(part, database)
            verdicts = application.apply(changes.extend)
            left = (APPLIED, REVISED, WAITING)
            application.keep([_row(*pair) for pair in zip(part, verdicts, strict=True) if pair[1].result in left])
            became += [Became(verdict.result, verdict.told or verdict.reason) for verdict in verdicts]
        if changes and beside is not None:
            beside(changes)
    return became


def standing_label(prediction_id: str, row: int) -> Label | None:
    """Return the label that an answer has now; None where nobody said yet what became of it."""
    applied = Label.objects.filter(state=LabelState.APPLIED, prediction_id=UUID(prediction_id), row=row)
    return applied.order_by("-revision").first()


def _with_models(told: Sequence[Said], database: str) -> list[Said]:
    """Return labels with the models of their predictions: of those alone it is asked whether somebody may."""
    places = unique(one.place for one in told)
    found = by_place(unique([*places, *((prediction_id, 0) for prediction_id, _ in places)]), database)
    models = {place[0]: one.model for place, one in found.items()}
    return [one._replace(model=models.get(one.place[0], UNKNOWN) if one.place else UNKNOWN) for one in told]


def _check_permitted(actor: Actor, models: Iterable[str]) -> None:
    """Raise `PermissionDenied` where they may not label; of a model that they may not know of no prediction is there."""
    for model in sorted(models):
        try:
            permitted(actor, "label", to="label", model=model)
        except NotFound:
            raise NotFound("no such prediction in the log, or none that you may know of.") from None


class _Verdict(NamedTuple):
    """What a label came to; `reason` of those that wait or are refused."""

    model: str
    result: str
    prediction: Prediction | None = None
    revision: int = 0
    reason: str = ""
    told: str = ""  # to who said it alone, in place of the reason: with the value


class _Application:
    """Labels that are judged and applied, one after the other, in the transaction of whoever makes it."""

    def __init__(self, said: Sequence[Said], database: str) -> None:
        self._database, self._said = database, said
        head = LogHead.objects.using(database).lock()
        keys = {one.entity_key for one in said if one.entity_key}
        self._forgotten = forgotten_until(keys, database) if head.erasures and keys else {}
        self._authority = Authority({one.caller for one in said}, database)
        self._found = by_place(unique(one.place for one in said), database)
        self._firsts = self._firsts_of_missing(database)
        self._entities = Entities(said, database)
        self._joined = [self._join(one) for one in said]
        places = [(p.prediction_id, p.row) for p, _ in self._joined if p is not None]
        self._meanings = Meanings({(p.model, p.version) for p, _ in self._joined if p is not None}, database)
        self._standing = standing_labels(unique([*places, *(one.place for one in said)]), database)
        self._changes: list[LabelChange] = []

    def apply(self, beside: Beside | None) -> list[_Verdict]:
        """Return what each label comes to, and tell `beside`, now, and others, on commit, of those that change something."""
        verdicts = [self._judge(one, *joined) for one, joined in zip(self._said, self._joined, strict=True)]
        if self._changes and beside is not None:
            beside(self._changes)
        for one, verdict in zip(self._said, verdicts, strict=True):
            if verdict.result in (APPLIED, REVISED):
                told = partial(
                    signals.label_recorded.send_robust,
                    sender=Label,
                    prediction=verdict.prediction,
                    value=one.value,
                    source=one.source,
                    revision=verdict.revision,
                )
                transaction.on_commit(told, using=self._database)
        return verdicts

    def keep(self, rows: Iterable[Label | None]) -> None:
        """Write `rows`, but for what leaves none."""
        Label.objects.using(self._database).bulk_create(row for row in rows if row is not None)

    def _firsts_of_missing(self, database: str) -> dict[Place, Prediction]:
        """Return the first rows of predictions that are there without the row that is named: all rows come together."""
        missing = [one.place for one in self._said if one.place and one.place[1] and one.place not in self._found]
        return by_place(unique((prediction_id, 0) for prediction_id, _ in missing), database) if missing else {}

    def _join(self, one: Said) -> tuple[Prediction | None, str]:
        """Return the prediction that a label is about, or why there is none that it may be applied to."""
        allowed = self._authority.of(one.caller)
        if one.entity_key:
            if int(one.received_at.timestamp() * 1e9) <= self._forgotten.get(one.entity_key, 0):
                return None, FORGOTTEN
            found, is_there = self._entities.newest(one, allowed)
            return found, "" if found else OF_OTHERS if is_there else NOT_THERE
        found = self._found.get(one.place) if one.place else None
        there = found if found is not None or one.place is None else self._firsts.get((one.place[0], 0))
        if there is None:
            return None, NOT_THERE
        if one.model and there.model != one.model:
            return None, OF_ANOTHER_MODEL
        if allowed is not None and there.caller not in allowed:
            return None, OF_OTHERS
        return found, "" if found is not None else NO_SUCH_ROW

    def _judge(self, one: Said, prediction: Prediction | None, reason: str) -> _Verdict:
        if prediction is None:
            if reason in (NOT_THERE, NO_SUCH_ROW) and one.place in self._standing:
                reason = PRUNED  # it was labelled once
            return _Verdict(one.model, WAITING if reason == NOT_THERE else REFUSED, reason=reason)
        if told := self._meanings.problem((prediction.model, prediction.version), one.value):
            return _Verdict(prediction.model, REFUSED, prediction, reason=MEANINGLESS, told=told)
        place = (prediction.prediction_id, prediction.row)
        before = self._standing.get(place)
        if before is not None and is_same(before.value, one.value):
            return _Verdict(prediction.model, REPEATED, prediction, before.revision)
        if before is not None and one.received_at < before.received_at:
            return _Verdict(prediction.model, REFUSED, prediction, reason=OVERTAKEN)
        revision = 1 if before is None else before.revision + 1
        self._standing[place] = Standing(one.value, revision, one.observed_at, one.received_at, one.weight, one.source)
        self._changes.append(_change(one, prediction, before))
        return _Verdict(prediction.model, APPLIED if before is None else REVISED, prediction, revision)


def _change(one: Said, prediction: Prediction, before: Standing | None) -> LabelChange:
    change = LabelChange(
        model=prediction.model,
        version=prediction.version,
        digest=prediction.digest,
        kind=prediction.kind,
        made_at=prediction.made_at,
        score=prediction.score,
        decision=prediction.decision,
        old_value=None,
        new_value=one.value,
        observed_at=one.observed_at,
        weight=one.weight,
        prediction_id=prediction.prediction_id,
        row=prediction.row,
    )
    if before is None:
        return change
    return replace(change, old_value=before.value, old_observed_at=before.observed_at, old_weight=before.weight)


# --- what leaves a row ------------------------------------------------------------------------------------------------


def _row(one: Said, verdict: _Verdict) -> Label | None:
    """Return the row that a label leaves; None for what was said before."""
    if verdict.result == REPEATED:
        return None
    row = Label(
        model=verdict.model,
        entity_key=one.entity_key,
        value=one.value,
        weight=one.weight,
        source=one.source,
        observed_at=one.observed_at,
        received_at=one.received_at,
        caller=one.caller,
        receipt=one.receipt,
    )
    row.prediction_id, row.row = one.place or (None, None)
    return _become(row, verdict)


def _become(row: Label, verdict: _Verdict) -> Label:
    row.state = LabelState.APPLIED if verdict.result in (APPLIED, REVISED) else LabelState(verdict.result)
    row.reason = verdict.reason
    if row.state == LabelState.APPLIED and verdict.prediction is not None:
        row.prediction_id, row.row = verdict.prediction.prediction_id, verdict.prediction.row
        row.revision = verdict.revision
        if not verdict.prediction.entity_key:
            row.entity_key = ""  # forgotten, or joined by an id
    if verdict.reason == FORGOTTEN:
        row.entity_key, row.value = "", NOTHING_SAID
    return row


def _try_again(pks: Sequence[int], beside: Beside | None, database: str) -> Counts:
    """Judge labels that waited once more, in the order they came in."""
    with transaction.atomic(using=database):
        LogHead.objects.using(database).lock()
        rows = Label.objects.using(database).filter(pk__in=pks, state=LabelState.WAITING).order_by("received_at", "pk")
        waited = list(rows)
        verdicts = _Application([_said_before(row) for row in waited], database).apply(beside)
        over = timezone.now() - WAITS
        decided: Counts = Counter()
        for row, found in zip(waited, verdicts, strict=True):
            is_over = found.result == WAITING and row.received_at < over
            verdict = found._replace(result=REFUSED, reason=NEVER_CAME) if is_over else found
            if verdict.result == WAITING:
                continue
            decided[verdict.model, verdict.result] += 1
            if verdict.result == REPEATED:
                row.delete()
            else:
                _become(row, verdict).save(using=database)
    return decided


# --- what was said, by whatever door ------------------------------------------------------------------------------------


def _said_in(record: LabelRecord) -> Iterator[Said]:
    received_at, receipt = moment_of(record.received_at), UUID(record.receipt)
    for one in record.labels:
        yield _said(one, record.model, received_at, text_of(record.caller, 200), receipt)


def _said(one: SaidLabel, model: str, received_at: datetime, caller: str, receipt: UUID | None) -> Said:
    return Said(
        text_of(model, 63),
        stored(one.value)[0],
        (UUID(one.prediction_id), one.row) if one.prediction_id else None,
        text_of(one.entity_key, 256),
        text_of(one.source, 64),
        moment_of(one.observed_at) if one.observed_at else received_at,
        received_at,
        one.weight,
        caller,
        receipt,
    )


def _said_before(row: Label) -> Said:
    place: Place | None = (row.prediction_id, row.row) if row.prediction_id and row.row is not None else None
    return Said(
        row.model,
        row.value,
        place,
        "" if place else row.entity_key,
        row.source,
        row.observed_at,
        row.received_at,
        row.weight,
        row.caller,
        row.receipt,
    )


def _answer(one: Said, verdict: _Verdict, model: str) -> Labelled | TrivetError:
    what = f"{one.place[0]}:{one.place[1]}" if one.place else quoted(one.entity_key)
    if verdict.result == WAITING:
        return NotFound(
            f"no prediction {what} in the log"
            f"{f' of {model}' if model else ''}: one that was just made is there within a second or two."
        )
    if verdict.prediction is None or verdict.result == REFUSED:
        return Refused(f"{what}: {verdict.told or verdict.reason}")
    return Labelled(
        verdict.prediction.public_id,
        verdict.model,
        one.value,
        verdict.revision,
        verdict.result != REPEATED,
    )


def _counted(verdicts: Iterable[_Verdict]) -> Counts:
    return Counter((verdict.model, verdict.result) for verdict in verdicts)
