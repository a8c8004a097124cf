"""Standing: whether the estimate of a version is to be believed, by the evidence that is kept of it."""

from __future__ import annotations

from math import inf

from trivet.control.monitoring.misfit import Misfit
from trivet.control.monitoring.models import OF_ESTIMATE, Alert, AlertState, Cause, LossEvidence
from trivet.control.monitoring.trust import BothSides, Side, Trust, Verdict
from trivet.control.registry.declarations import false_alarm_days
from trivet.control.registry.models import ModelVersion


def standing_of(version: ModelVersion) -> Verdict:
    """Return what is to be thought of the estimate of `version`; unknown where no label was held against it."""
    both = _both_sides(version)
    return Verdict.UNKNOWN if both is None else both.standing(false_alarm_days(version.model.name))


def side_of(version: ModelVersion) -> Side | None:
    """Return in which direction labels differ from the estimate of `version`; None where it is not distrusted."""
    both = _both_sides(version)
    return None if both is None else both.side(false_alarm_days(version.model.name))


def misfit_of(version: ModelVersion) -> Misfit | None:
    """Return what the alert says of why the estimate of `version` is not trusted; None where there is none that tells."""
    told = Alert.objects.filter(version=version, cause=Cause.TRUST).exclude(state=AlertState.RESOLVED).first()
    return Misfit.told(told.evidence) if told is not None else None


def _both_sides(version: ModelVersion) -> BothSides | None:
    rows = {row.loss: row for row in LossEvidence.objects.filter(version=version, loss__in=OF_ESTIMATE)}
    more, fewer = (rows.get(against) for against in OF_ESTIMATE)
    if more is None:
        return None
    return BothSides(trust_of(more), Trust(more.tolerance) if fewer is None else trust_of(fewer))


def trust_of(row: LossEvidence) -> Trust:
    """Return the evidence that a row keeps."""
    return Trust(
        row.tolerance,
        row.log_e,
        -inf if row.log_cusum is None else row.log_cusum,
        row.count,
        row.sum_x,
        row.sum_sq,
        row.labels,
    )
