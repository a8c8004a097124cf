"""Looking for predictions: one page of those that meet some conditions, however large the log is.

An index finds those of a model, or of an entity, in the order of time; all else is looked at row by row. So a page begins
after the last row of the one before, and looks at a bounded number of rows: where these do not fill it, it says how far it
looked, and the next page goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import Count, Min, Q

from trivet.control.predictions.models import Prediction, PredictionQuerySet

PAGE_ROWS = 50
LOOKED_AT = 20_000  # chosen: rows that a page looks at, also where few or none of them meet the conditions


@dataclass(frozen=True)
class Wanted:
    """What somebody looks for among the answers of one model; what is None or empty is no condition."""

    model: str
    version: int | None = None
    decision: str = ""
    entity_key: str = ""
    caller: str = ""
    request_id: str = ""
    since: datetime | None = None
    until: datetime | None = None
    is_flagged: bool | None = None
    is_labelled: bool | None = None


class Place(NamedTuple):
    """A row's place in the order of the log, the newest first."""

    made_at: datetime
    pk: int


@dataclass(frozen=True)
class Page:
    """Some predictions, the newest first, each with its `label`.

    `after` is where the next page begins; None where there is none. `looked_until` is set where it stopped looking before
    the page was full, because it had looked at enough rows.
    """

    predictions: tuple[Prediction, ...]
    after: Place | None
    looked_until: datetime | None


def search(wanted: Wanted, after: Place | None = None) -> Page:
    """Return the newest predictions that are `wanted`, of those that come after a place. Two queries, whatever is in the log.

    Inputs and parameters are not read.
    """
    near = _near(wanted, after)
    newest = near.order_by("-made_at").values("made_at")[:LOOKED_AT]
    looked = newest.aggregate(rows=Count("made_at"), oldest=Min("made_at"))
    if looked["oldest"] is None:
        return Page((), None, None)
    rows = _conditions(near.since(looked["oldest"]), wanted).with_labels().defer("inputs", "parameters")
    found = tuple(rows.order_by("-made_at", "-pk")[: PAGE_ROWS + 1])
    if len(found) > PAGE_ROWS:
        last = found[PAGE_ROWS - 1]
        return Page(found[:PAGE_ROWS], Place(last.made_at, last.pk), None)
    if looked["rows"] < LOOKED_AT:
        return Page(found, None, None)
    return Page(found, Place(looked["oldest"], 0), looked["oldest"])


def _near(wanted: Wanted, after: Place | None) -> PredictionQuerySet:
    """Return what an index finds, in the order of time."""
    found = Prediction.objects.of_model(wanted.model)
    if wanted.entity_key:
        found = found.about(wanted.entity_key)
    if wanted.since is not None:
        found = found.since(wanted.since)
    if wanted.until is not None:
        found = found.filter(made_at__lt=wanted.until)
    if after is not None:
        found = found.filter(Q(made_at__lt=after.made_at) | Q(pk__lt=after.pk), made_at__lte=after.made_at)
    return found


def _conditions(found: PredictionQuerySet, wanted: Wanted) -> PredictionQuerySet:
    """Return what meets the conditions that are looked at row by row."""
    found = found.answers()
    if wanted.version is not None:
        found = found.of_version(wanted.version)
    if wanted.decision:
        found = found.decided(wanted.decision)
    if wanted.caller:
        found = found.asked_by(wanted.caller)
    if wanted.request_id:
        found = found.of_request(wanted.request_id)
    if wanted.is_flagged is not None:
        found = found.flagged() if wanted.is_flagged else found.filter(flags={})
    if wanted.is_labelled is not None:
        found = found.labelled() if wanted.is_labelled else found.unlabelled()
    return found
