"""Which prediction a label is about, and whether whoever sent it may say what became of that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count

from trivet.control.predictions.forgetting import CLOCKS_DIFFER
from trivet.control.predictions.models import Label, LabelState, Prediction, PredictionQuerySet
from trivet.control.registry.declarations import declared
from trivet.control.registry.models import ApiKey

HORIZON = timedelta(days=90)  # between a prediction and what turned out, where no Outcome says when labels mature
ASKED_AT_ONCE = 500
FOUND_AT_ONCE = 2_000  # rows, of ids times rows: those of no interest are read with the others
FEW = 50  # predictions of an entity that are read together with those of others: a query for each costs a millisecond
KEY = "key:"  # what the name of a caller begins with that is a machine
NEEDED = (
    "prediction_id",
    "row",
    "kind",
    "made_at",
    "model",
    "version",
    "digest",
    "caller",
    "entity_key",
    "score",
    "decision",
)

Place = tuple[UUID, int]  # prediction and row


class Said(NamedTuple):
    """What somebody said, whatever door it came by. One of `place` and `entity_key` is there."""

    model: str  # empty: that of the prediction
    value: Any  # JSON
    place: Place | None
    entity_key: str
    source: str
    observed_at: datetime
    received_at: datetime
    weight: float
    caller: str
    receipt: UUID | None

    @property
    def until(self) -> datetime:
        """When the prediction was made at the latest. Where nobody said when it was true, clocks of hosts may differ."""
        return self.observed_at + (CLOCKS_DIFFER if self.observed_at >= self.received_at else timedelta(0))


class Standing(NamedTuple):
    """The label that a prediction has now."""

    value: Any
    revision: int
    observed_at: datetime
    received_at: datetime
    weight: float
    source: str


class Authority:
    """Whose predictions each of some callers may label.

    A key: its own, and those of its owner and of its owner's other keys; one without an owner has none but its own. Whoever
    is no key was asked elsewhere what they may: all.
    """

    def __init__(self, callers: Iterable[str], database: str) -> None:
        ids = {caller.removeprefix(KEY) for caller in callers if caller.startswith(KEY)}
        keys = ApiKey.objects.using(database)
        owners = dict(keys.filter(pk__in=ids, owner__isnull=False).values_list("pk", "owner")) if ids else {}
        names: dict[Any, set[str]] = {owner: set() for owner in owners.values()}
        if names:
            for key in keys.filter(owner__in=names).select_related("owner"):
                names[key.owner_id].add(f"{KEY}{key.pk}")
                if key.owner is not None:
                    names[key.owner_id].add(f"user:{key.owner.get_username()}")
        self._of = {f"{KEY}{key}": frozenset({f"{KEY}{key}"} | names.get(owners.get(key), set())) for key in ids}

    def of(self, caller: str) -> frozenset[str] | None:
        """Return the callers whose predictions `caller` may label; None for everybody's."""
        return self._of.get(caller) if caller.startswith(KEY) else None


def by_place(places: Collection[Place], database: str) -> dict[Place, Prediction]:
    """Return the answers in the log at `places`, without what a label does not need."""
    rows = Prediction.objects.using(database).answers().only(*NEEDED)
    found: dict[Place, Prediction] = {}
    for ids, numbers in _in_parts(places):
        for one in rows.filter(prediction_id__in=ids, row__in=numbers):
            found[one.prediction_id, one.row] = one
    return {place: found[place] for place in places if place in found}


def outputs_at(places: Collection[Place], database: str) -> dict[Place, Any]:
    """Return what the answers at `places` say, as JSON by output, as far as they are there."""
    rows = Prediction.objects.using(database).answers()
    found: dict[Place, Any] = {}
    for ids, numbers in _in_parts(places):
        told = rows.filter(prediction_id__in=ids, row__in=numbers).values_list("prediction_id", "row", "output")
        found |= {(prediction_id, row): output for prediction_id, row, output in told}
    return {place: found[place] for place in places if place in found}


def inputs_by_place(places: Collection[Place], database: str) -> dict[Place, Any]:
    """Return what the log has of the inputs of the answers at `places`; None of those that are not kept any more."""
    wanted, found = set(places), dict.fromkeys(places)
    rows = Prediction.objects.using(database).answers()
    for ids, numbers in _in_parts(wanted):
        for prediction_id, row, inputs in rows.filter(prediction_id__in=ids, row__in=numbers).values_list(
            "prediction_id", "row", "inputs"
        ):
            if (prediction_id, row) in wanted:
                found[prediction_id, row] = inputs
    return found


def standing_labels(places: Collection[Place], database: str) -> dict[Place, Standing]:
    """Return the newest label that was applied at each of `places` that has one."""
    applied = Label.objects.using(database).filter(state=LabelState.APPLIED).order_by("revision")
    fields = ("prediction_id", "row", "value", "revision", "observed_at", "received_at", "weight", "source")
    found: dict[Place, Standing] = {}
    for ids, numbers in _in_parts(places):
        for prediction_id, row, *told in applied.filter(prediction_id__in=ids, row__in=numbers).values_list(*fields):
            found[prediction_id, row] = Standing(*told)
    return found


def _in_parts(places: Iterable[Place]) -> Iterator[tuple[list[UUID], set[int]]]:
    """Yield prediction ids with the rows that are asked for of any of them; what is found is bounded: at most ids times rows."""
    rows: dict[UUID, set[int]] = {}
    for prediction_id, row in places:
        rows.setdefault(prediction_id, set()).add(row)
    ids: list[UUID] = []
    numbers: set[int] = set()
    for prediction_id, some in rows.items():
        together = numbers | some
        if ids and (len(ids) == ASKED_AT_ONCE or (len(ids) + 1) * len(together) > FOUND_AT_ONCE):
            yield ids, numbers
            ids, together = [], some
        ids.append(prediction_id)
        numbers = together
    if ids:
        yield ids, numbers


Newest = tuple[Prediction | None, bool]
"""The newest answer about an entity that is not younger than what was observed, and whether there is one at all.

There may be one, and none that the caller may label: then only the second tells of it.
"""


class Entities:
    """What finds the newest answers about the entities that some labels name, in a few queries for all of them."""

    def __init__(self, said: Iterable[Said], database: str) -> None:
        self._rows: PredictionQuerySet = Prediction.objects.using(database).answers()
        self._few: dict[tuple[str, str], list[Prediction]] = {}  # by model and entity, the newest first
        self._many: set[tuple[str, str]] = set()
        of_models: dict[str, list[Said]] = {}
        for one in said:
            if one.entity_key:
                of_models.setdefault(one.model, []).append(one)
        for model, labels in of_models.items():
            until, since = max(one.until for one in labels), min(map(_since, labels))
            rows = self._rows.filter(model=model, made_at__lte=until, made_at__gte=since)
            keys = list({one.entity_key for one in labels})
            for start in range(0, len(keys), ASKED_AT_ONCE):
                self._read(model, rows.filter(entity_key__in=keys[start : start + ASKED_AT_ONCE]))

    def _read(self, model: str, rows: PredictionQuerySet) -> None:
        counts = dict(rows.order_by().values_list("entity_key").annotate(Count("pk")))
        few = [key for key, count in counts.items() if count <= FEW]
        self._many.update((model, key) for key in counts if counts[key] > FEW)
        for one in rows.filter(entity_key__in=few).only(*NEEDED).order_by("-made_at", "-pk") if few else ():
            self._few.setdefault((model, one.entity_key), []).append(one)

    def newest(self, said: Said, allowed: frozenset[str] | None) -> Newest:
        """Return what a label of somebody who may label the predictions of `allowed` is about."""
        of, until, since = (said.model, said.entity_key), said.until, _since(said)
        if of in self._many:
            return self._ask(said, allowed)
        there = [one for one in self._few.get(of, ()) if since <= one.made_at <= until]
        own = (one for one in there if allowed is None or one.caller in allowed)
        return next(own, None), bool(there)

    def _ask(self, said: Said, allowed: frozenset[str] | None) -> Newest:
        rows = self._rows.filter(model=said.model, entity_key=said.entity_key)
        rows = rows.filter(made_at__lte=said.until, made_at__gte=_since(said))
        own = rows if allowed is None else rows.filter(caller__in=allowed)
        newest = own.only(*NEEDED).order_by("-made_at", "-pk").first()
        return newest, newest is not None or (allowed is not None and rows.exists())


def _since(said: Said) -> datetime:
    """Return when the prediction was made at the earliest that a label with an entity key is about."""
    return said.observed_at - (declared(said.model).matures or HORIZON)


def is_same(one: Any, other: Any) -> bool:
    """Return whether two labels are the same: numbers by their size, but true is not 1; lists by their elements."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) or isinstance(
        other, float
    ):  # a database may give 1e300 back as the integer it stands for
        return _is_number(one) and _is_number(other) and float(one) == float(other)
    return bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def unique(places: Iterable[Place | None]) -> Sequence[Place]:
    """Return each place once."""
    return list(dict.fromkeys(place for place in places if place is not None))
