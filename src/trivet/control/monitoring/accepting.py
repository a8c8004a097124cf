"""Accepting: what a version was asked in its last days becomes what is normal, and the reference before it is kept.

The bins stay those of its push, so what is counted by them stays comparable. What was asked and how right the version is are
accepted apart: a movement that nobody minds is no reason to mind harm less.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from django.utils import timezone

from trivet import signals
from trivet.control.monitoring.alerts import (
    answerable,
    forget_estimates,
    forget_evidence,
    forget_loss_evidence,
    open_in,
)
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.live_references import LEAST_ROWS
from trivet.control.monitoring.models import Alert, AlertState, Cause, Grain, HeldAgainst, ReferenceProfile
from trivet.control.monitoring.performance import ENOUGH_LABELS
from trivet.control.monitoring.references import current_reference, row_of
from trivet.control.monitoring.tasks import summed
from trivet.control.monitoring.windows import HOUR, counts_by, label_tables
from trivet.control.registry.actions.change import changing
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import Conflict, InvalidRequest
from trivet.core.profile.labels import empty_labels, encode_labels
from trivet.core.profile.profile import encode_profile, merge
from trivet.core.profile.reference import ACCEPTED, Reference, decode_reference, encode_reference

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

ACTION = "accept_as_normal"
DEFAULT_DAYS = 7
MOST_DAYS = 90  # for so long, what was asked is kept by the hour
PIECES = 40  # wanted, in the order of time: twenty are needed where traffic rests for half of it


class Made(NamedTuple):
    """A reference of live days, not kept yet, and the row whose place it is to take."""

    before: ReferenceProfile
    row: ReferenceProfile
    start: datetime
    end: datetime


def may_be_accepted(alert: Alert) -> bool:
    """Return whether there is something in an alert that can be called normal: an estimate that does not fit stays wrong."""
    return alert.cause in (Cause.DRIFT, Cause.PERFORMANCE)


def accept_as_normal(*, alert: int, actor: Actor, days: int = DEFAULT_DAYS, reason: str = "") -> Alert:
    """Make the last `days` what an alert's version is compared with from now on; the alert is over, and evidence begins anew.

    Of an alert of drift that is what was asked; of one of performance also what turned out true of it. Whoever may have the
    model trained again or promote it may. Writes an Event, sends `alert_resolved`. Raises `InvalidRequest` where the days have
    too few rows or labels, or the alert is of an estimate, and `Conflict` where another reference came meanwhile.
    """
    found, name = answerable(alert, ACTION, actor)
    if not may_be_accepted(found):
        raise InvalidRequest(f"alert {alert} says that an estimate does not fit its labels: no days make that normal.")
    if not 1 <= days <= MOST_DAYS:
        raise InvalidRequest(f"1 to {MOST_DAYS} days are accepted as normal, not {days}.")
    has_labels = found.cause == Cause.PERFORMANCE
    made = _made(found.version, days, has_labels=has_labels)  # before the lock: it may take seconds
    with changing() as change:
        row = open_in(change, alert)
        before = {"alert": alert, "state": row.state, "reference": made.before.sha256}
        replaced = change.rows(ReferenceProfile).filter(pk=made.before.pk, is_current=True).update(is_current=False)
        if not replaced:
            raise Conflict(f"another reference of {row.version} was accepted meanwhile; look again.")
        made.row.save(using=change.database)
        forget_evidence(row.version)
        forget_estimates(row.version)
        if has_labels:
            forget_loss_evidence(row.version, HeldAgainst.REFERENCE)
        row.state, row.resolved_at, row.snoozed_until = AlertState.RESOLVED, timezone.now(), None
        row.save()
        change.record(
            ACTION,
            actor=name,
            model=row.model.name,
            version=row.version.number,
            before=before,
            after={
                "alert": alert,
                "state": str(row.state),
                "reference": made.row.sha256,
                "rows": made.row.rows,
                "days": days,
                "from": made.start.isoformat(),
                "until": made.end.isoformat(),
            },
            reason=reason,
        )
        change.announce(signals.alert_resolved, Alert, alert=row)
    return row


def _made(version: ModelVersion, days: int, *, has_labels: bool) -> Made:
    current = current_reference(version)
    if current is None:
        raise InvalidRequest(f"{version} has no reference that another could take the place of.")
    reference = decode_reference(current.payload)
    end = begin_of(timezone.now(), Grain.HOUR) + HOUR
    start = end - timedelta(days=days)
    accepted = _accepted(version, reference, start, end, has_labels=has_labels)
    return Made(current, row_of(version, encode_reference(accepted), accepted.whole.rows), start, end)


def _accepted(
    version: ModelVersion, reference: Reference, start: datetime, end: datetime, *, has_labels: bool
) -> Reference:
    """Return `reference` with what was counted from `start` to `end` in place of its own rows."""
    by = max(round((end - start) / PIECES / HOUR), 1) * HOUR
    counted = counts_by(version.pk, start, end, by, reference.empty)
    chunks = {at: counts for at, counts in sorted(counted.items()) if counts.rows > 0}
    whole = merge(chunks.values(), reference.empty)
    if whole.rows < LEAST_ROWS:
        raise InvalidRequest(
            f"{version} was asked {whole.rows:,} times from {start:%Y-%m-%d} on, and what is normal takes {LEAST_ROWS:,} rows:"
            " accept more days, or wait."
        )
    tables = [empty_labels(reference) for _ in chunks]
    if has_labels:
        found = label_tables(version.pk, reference, start, end, by=by)
        tables = [found.get(at, empty_labels(reference)) for at in chunks]
    labels = summed(reference, tables)
    if has_labels and labels.labels < ENOUGH_LABELS:
        raise InvalidRequest(
            f"{labels.labels} predictions of {version} from {start:%Y-%m-%d} on have a label, and how right it normally is takes"
            f" {ENOUGH_LABELS}: accept more days, or wait."
        )
    return msgspec.structs.replace(
        reference,
        source=ACCEPTED,
        whole_bytes=encode_profile(whole),
        chunks_bytes=tuple(map(encode_profile, chunks.values())),
        labels_bytes=encode_labels(labels) if has_labels else b"",
        chunk_labels_bytes=tuple(map(encode_labels, tables)) if has_labels else (),
    )
