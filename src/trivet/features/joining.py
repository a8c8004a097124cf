"""Joining: what rows say becomes labels of the predictions about them, when one is saved and in a pass over all of them.

Both compare what the tables say now with what stands, and say the difference: doing it again says nothing, and it does not
matter in which order, or by how many processes, it is done. What somebody else said of a prediction stands.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from django.db import router, transaction
from django.utils import timezone

from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.predictions.joining import is_same, standing_labels
from trivet.control.predictions.labelling import REFUSED, Counts, Labelled, say
from trivet.control.predictions.models import Label, LogHead, Prediction, PredictionQuerySet
from trivet.control.registry.actions.permission import permitted
from trivet.core.errors import NotFound, Refused, quoted
from trivet.core.names import system_user
from trivet.core.records import SHADOW, SaidLabel
from trivet.features.outcome import Outcome, Truth, label_of
from trivet.features.predictor import name_of, predictors
from trivet.features.source import Source

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

logger = logging.getLogger(__name__)

SOURCE = "outcome"  # of the labels that are said here
NAME_THEM = "say in says= which class False means, and which True"
ASK_WHICH = "`trivet label --outcomes --model %s` says which and why"  # a log has nobody's values
PAGE_ROWS = 500  # predictions: SQLite's writers wait for one another, so no transaction may be long
STEP_SECONDS = 0.05  # chosen: a fifth of the time that the keeper has between two looks at its work
REVISITED = timedelta(days=90)  # after they have matured, in which the pass still sees that a row was corrected

NEEDED = ("pk", "prediction_id", "row", "kind", "made_at", "entity_key")


class Joined(NamedTuple):
    """A step of the pass: what became of some labels, and whether the model's table has now been looked through.

    `refusals` says of each label that was refused which one it is, and why.
    """

    model: str
    counts: Counts
    is_over: bool = False
    has_failed: bool = False
    refusals: tuple[str, ...] = ()


class Join:
    """An Outcome with the model whose predictions it judges."""

    def __init__(self, model: str, outcome: Outcome) -> None:
        """Raises what `Source` does."""
        self.model, self._outcome, self.source = model, outcome, Source(outcome, model)

    def row(self, entity_key: str, using: str) -> Counts:
        """Say what the row of one entity says of its newest predictions; without such it is one look into the log."""
        now = timezone.now()
        page = list(self._since(now).answers().about(entity_key).order_by("-made_at", "-pk")[:PAGE_ROWS])
        return self._say(page, self.source.truths([entity_key], now, using), now).counts if page else Counter()

    def all(self, now: datetime) -> Iterator[Joined]:
        """Say what all rows say, a page of predictions at a time, whomever these are about: no step takes long.

        Pages of which nothing can be said are passed over as long as that takes less than a moment.
        """
        rows = self._since(now).order_by("made_at", "pk")
        after, until = rows, monotonic() + STEP_SECONDS
        while page := list(after[:PAGE_ROWS]):
            about = [one for one in page if one.kind != SHADOW and one.entity_key.startswith(self.source.prefix)]
            truths = self.source.truths({one.entity_key for one in about}, now) if about else {}
            if truths or monotonic() > until:
                yield self._say(about, truths, now) if truths else Joined(self.model, Counter())
                until = monotonic() + STEP_SECONDS
            after = rows.following(page[-1].made_at, page[-1].pk)
        yield Joined(self.model, Counter(), is_over=True)

    def _since(self, now: datetime) -> PredictionQuerySet:
        since = now - (self._outcome.matures or timedelta()) - REVISITED
        return Prediction.objects.of_model(self.model).since(since).only(*NEEDED)

    def _say(self, page: Sequence[Prediction], truths: dict[str, Truth], now: datetime) -> Joined:
        if not self._labels(page, truths, now):
            return Joined(self.model, Counter())
        database = router.db_for_write(Label)
        with transaction.atomic(using=database):
            LogHead.objects.using(database).lock()  # what somebody says meanwhile waits, and is not overruled
            labels = self._labels(page, truths, now)
            actor = f"process:{system_user()}"
            answers = say(labels, actor=actor, model=self.model, beside=LabelFolding()) if labels else []
        refusals = tuple(one.message for one in answers if isinstance(one, Refused))
        if refusals:
            lacks_words = self._outcome.when is not None and not self._outcome.says
            remedy = NAME_THEM if lacks_words else ASK_WHICH % self.model
            logger.warning('event=outcome_refused model=%s labels=%d remedy="%s"', self.model, len(refusals), remedy)
        counts = Counter((self.model, one.result) for one in answers if isinstance(one, Labelled))
        counts += Counter({(self.model, REFUSED): len(refusals)})
        return Joined(self.model, counts, refusals=refusals)

    def _labels(self, page: Sequence[Prediction], truths: dict[str, Truth], now: datetime) -> list[SaidLabel]:
        """Return what the table says that was not said yet, of predictions of which nobody else said anything."""
        known = [one for one in page if one.entity_key in truths]
        places = [(one.prediction_id, one.row) for one in known]
        standing = standing_labels(places, router.db_for_write(Label))
        labels = []
        for one, place in zip(known, places, strict=True):
            before = standing.get(place)
            if before is not None and before.source != SOURCE:
                continue
            found = label_of(self._outcome, one.made_at, truths[one.entity_key], now, is_labelled=before is not None)
            if found is not None and (before is None or not is_same(before.value, found[0])):
                labels.append(SaidLabel(found[0], str(place[0]), place[1], observed_at=_ns(found[1]), source=SOURCE))
        return labels


def joins() -> Iterator[Join]:
    """Yield each Outcome of this process that can be joined; of another the log says why not, and so does `manage.py check`."""
    for model, outcome in _declared():
        try:
            yield Join(model, outcome)
        except Exception:  # no such table or field
            logger.exception("event=outcome_not_joined model=%s", model)


def outcome_models() -> list[str]:
    """Return the models of which this process has an Outcome to join."""
    return list(dict.fromkeys(name for name, _ in _declared()))


def join_all(now: datetime, *, model: str = "", actor: Actor | None = None) -> Iterator[Joined]:
    """Join all Outcomes, or that of `model`, a page at a time. What fails with one is logged, and the others are joined.

    `actor`, by default this process, needs `label` for each. Raises `PermissionDenied`, and `NotFound` for a `model` whose
    Outcome nobody declared.
    """
    found = [(name, outcome) for name, outcome in _declared() if model in ("", name)]
    if model and not found:
        raise NotFound(f"no Predictor declares an Outcome of {quoted(model)}.")
    if actor is not None:
        for name, _ in found:
            permitted(actor, "label", to="label", model=name)
    for name, outcome in found:
        try:
            yield from Join(name, outcome).all(now)
        except Exception:  # a column that is not migrated yet, a database of the project's that is away
            logger.exception("event=outcome_not_joined model=%s", name)
            yield Joined(name, Counter(), has_failed=True)


def _declared() -> list[tuple[str, Outcome]]:
    """Return the Outcomes that say when labels mature, with their models."""
    said = [(name_of(predictor), predictor.outcome) for predictor in predictors]
    return [(name, one) for name, one in said if isinstance(one, Outcome) and isinstance(one.matures, timedelta)]


def _ns(moment: datetime) -> int:
    """Return an instant in nanoseconds since 1970."""
    aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    return int(aware.timestamp() * 1_000_000) * 1000
