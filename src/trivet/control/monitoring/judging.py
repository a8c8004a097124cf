"""Judging: as labels mature, what turned out true is held against what was estimated, and against the reference, a day at a time.

Each cohort is one block of the bet (`trust`), taken once, when its labels have matured: so what is in it does not depend on how
they turned out. Labels that come later count in reports, and no longer here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from django.db import router, transaction
from django.db.models import Min

from trivet.control.monitoring.alerts import raise_alert, resolve_alerts
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.detector import QUIET_BELOW, QUIET_WINDOWS
from trivet.control.monitoring.harm import REALISED, conclude
from trivet.control.monitoring.misfit import misfit_on
from trivet.control.monitoring.models import (
    OF_ESTIMATE,
    Arm,
    Cause,
    Grain,
    HeldAgainst,
    LabelProfile,
    LossEvidence,
    Severity,
)
from trivet.control.monitoring.references import Watched, current_reference, labelled_reference, watched
from trivet.control.monitoring.standing import trust_of
from trivet.control.monitoring.tasks import summed, task_of
from trivet.control.monitoring.trust import ALPHA, BothSides, Trust, Verdict, errors_against, usual_error
from trivet.control.monitoring.truths import wrong_of
from trivet.control.monitoring.windows import DAY, counts_between, label_tables
from trivet.control.predictions.joining import HORIZON
from trivet.control.registry.declarations import declared, false_alarm_days, labels_mature
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import TrivetError
from trivet.core.profile.labels import LabelTable
from trivet.core.profile.profile import Profile as Counts
from trivet.core.profile.reference import BINARY, CLASSES, Reference

logger = logging.getLogger(__name__)

MOST_SHOWN = math.log(1e12)  # of evidence, which grows beyond what a float holds
REMEMBERED = 0.7  # of what was seen, a day later: bets go by about the last three days; chosen


class _Kept(NamedTuple):
    """The rows that keep the evidence of a version; of two that hold the same day, `more` says whether it was judged."""

    more: LossEvidence
    fewer: LossEvidence
    of_reference: LossEvidence


def judge(now: datetime, *, joined: Mapping[str, datetime] | None = None) -> Iterator[Verdict]:
    """Take each day whose labels have matured by `now` and that was not judged, of each version; yield what is to be thought of
    its estimate.

    Labels mature as the model's Outcome says, by default after `TRIVET_LABELS_MATURE_HOURS`. `joined` says until when the
    tables of a model with an Outcome were looked through: what has matured since waits, for silence is a label too. A day with
    predictions and no label yet is waited for, 90 days at most, and so are those after it.
    """
    ids = LabelProfile.objects.filter(arm=Arm.CHAMPION, segment="").values_list("version_id", flat=True).distinct()
    for version in ModelVersion.objects.filter(pk__in=list(ids)).select_related("model").order_by("pk"):
        start, model = _next_day(version), version.model.name
        until = _matured_until(model, now, joined)
        if start is None or until is None or start + DAY > until:
            continue
        try:
            found = watched(model, version.digest)
            if found is not None and task_of(found.reference).name in (BINARY, CLASSES):
                yield from _judge(found, start, now, until)
        except (
            TrivetError,
            ValueError,
        ) as error:  # what is kept of it cannot be read, or counted: the others are judged
            logger.warning("event=not_judged model=%s version=%d error=%s", version.model.name, version.number, error)


def _matured_until(model: str, now: datetime, joined: Mapping[str, datetime] | None) -> datetime | None:
    """Return until when predictions have all the labels they will have; None where nobody has looked for them yet."""
    known = now if joined is None or not declared(model).has_outcome else joined.get(model)
    return known - labels_mature(model) if known is not None else None


def _next_day(version: ModelVersion) -> datetime | None:
    """Return the first day that was not judged; None where there is no label."""
    evidence = LossEvidence.objects.filter(version=version, loss=HeldAgainst.ESTIMATE).first()
    if evidence is not None and evidence.until is not None:
        return evidence.until
    first = LabelProfile.objects.filter(version=version, arm=Arm.CHAMPION, segment="").aggregate(first=Min("start"))[
        "first"
    ]
    return begin_of(first, Grain.DAY) if first is not None else None


def _judge(found: Watched, start: datetime, now: datetime, until: datetime) -> Iterator[Verdict]:
    kept = _Kept(*(_evidence(found.version, against, start) for against in (*OF_ESTIMATE, HeldAgainst.REFERENCE)))
    usual = _usual_of(labelled_reference(found))
    while start + DAY <= until:
        verdict = _judge_day(found, usual, kept, start, may_wait=now - start < HORIZON)
        if verdict is None:
            return
        yield verdict
        start += DAY


def _evidence(version: ModelVersion, against: HeldAgainst, start: datetime) -> LossEvidence:
    """Return the row of what is held against something; one that is new begins with the day that is judged next."""
    said = declared(version.model.name).trust_tolerance if against in OF_ESTIMATE else None
    tolerance = Trust().tolerance if said is None else said
    defaults = {"tolerance": tolerance, "until": start}
    evidence, _ = LossEvidence.objects.get_or_create(version=version, loss=against, defaults=defaults)
    if evidence.tolerance != tolerance:
        evidence.tolerance = tolerance
        evidence.save(update_fields=["tolerance"])
    return evidence


def _usual_of(reference: Reference) -> float | None:
    """Return the share of rows that is usually wrong; None where too few of the reference's have a label."""
    return usual_error(*wrong_of(reference, reference.labels)) if reference.labels is not None else None


def _judge_day(found: Watched, usual: float | None, kept: _Kept, start: datetime, *, may_wait: bool) -> Verdict | None:
    """Take a day; None where its labels are waited for, or it was judged elsewhere meanwhile."""
    reference = found.reference
    counts = counts_between(found.version.pk, start, start + DAY, reference.empty)
    tables = label_tables(found.version.pk, reference, start, start + DAY, by=DAY)
    table = summed(reference, list(tables.values()))
    if counts.rows and not table.labels and may_wait:
        return None
    with transaction.atomic(using=router.db_for_write(LossEvidence)):
        unchanged = LossEvidence.objects.filter(pk=kept.more.pk, until=kept.more.until)
        if not unchanged.update(until=start + DAY):
            return None
        if (current := current_reference(found.version)) is None or current.sha256 != found.sha256:
            transaction.set_rollback(True, using=router.db_for_write(LossEvidence))  # another was accepted meanwhile
            return None
        for row in kept:
            row.refresh_from_db()
        verdict = _judge_estimate(found, kept, counts, table, start + DAY)
        _judge_errors(found, usual, kept.of_reference, table, start + DAY)
    return verdict


def _judge_estimate(found: Watched, kept: _Kept, counts: Counts, table: LabelTable, until: datetime) -> Verdict:
    """Bet on a day's labels on both sides; an alert tells the last day that was on the side which is found."""
    both = BothSides(trust_of(kept.more), trust_of(kept.fewer))
    bets = task_of(found.reference).bets(counts, table) if table.labels > 0 else None
    if bets is not None:
        both = both.faded(REMEMBERED).update(bets.differences, bets.counts)
    for row, trust in zip((kept.more, kept.fewer), both, strict=True):
        _keep(row, trust, until, has_labels=table.labels > 0)
    budget = false_alarm_days(found.version.model.name)  # a day is a block
    side = both.side(budget)
    if side is None:
        if min(kept.more.quiet_days, kept.fewer.quiet_days) >= QUIET_WINDOWS:
            resolve_alerts(found.version, [Cause.TRUST])
    elif bets is not None:
        misfit = misfit_on(side, bets, evidence=_shown(both.of(side)), limit=both.limit(budget), until=until)
        if misfit.is_seen:
            raise_alert(found.version, Cause.TRUST, Severity.WARNING, features=[], evidence=misfit.facts)
    return both.standing(budget)


def _judge_errors(
    found: Watched, usual: float | None, evidence: LossEvidence, table: LabelTable, until: datetime
) -> None:
    """Hold how many of a day's rows were wrong against what is usual; an alert tells the last day on which more were."""
    wrong, labels = wrong_of(found.reference, table)
    worse = trust_of(evidence)
    if usual is None or not labels:
        _keep(evidence, worse, until, has_labels=False)
        return
    worse = worse.faded(REMEMBERED).update(*errors_against(wrong, labels, usual))
    _keep(evidence, worse, until, has_labels=True)
    limit = max(1 / ALPHA, false_alarm_days(found.version.model.name))
    if worse.is_changed(limit):
        if wrong <= usual * labels:
            return  # a good day does not yet make up for those before, and would be no reason to give
        facts = {
            "wrong": wrong,
            "labels": labels,
            "usual": round(usual, 6),
            "evidence": _shown(worse),
            "limit": limit,
            "until": until.isoformat(),
        }
        conclude(found.version, {REALISED: facts})
    elif evidence.quiet_days >= QUIET_WINDOWS:
        conclude(found.version, {REALISED: None})


def _shown(trust: Trust) -> float:
    return round(math.exp(min(trust.log_cusum, MOST_SHOWN)), 1)


def _keep(evidence: LossEvidence, trust: Trust, until: datetime, *, has_labels: bool) -> None:
    evidence.log_e, evidence.log_cusum = trust.log_e, trust.log_cusum if math.isfinite(trust.log_cusum) else None
    evidence.count, evidence.sum_x, evidence.sum_sq = trust.count, trust.sum_x, trust.sum_sq
    evidence.labels, evidence.until = trust.labels, until
    if has_labels:
        evidence.quiet_days = evidence.quiet_days + 1 if trust.log_cusum < math.log(QUIET_BELOW) else 0
    evidence.save()
