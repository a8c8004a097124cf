"""What an alert says, in one sentence that somebody understands who never saw a formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from trivet.control.monitoring.measures import MEAN
from trivet.control.monitoring.misfit import Misfit
from trivet.control.monitoring.models import Alert, Cause
from trivet.control.monitoring.trust import Side

SHOWN = 5  # features named; the others are a number
PLENTY = 1_000_000  # of evidence
SHORT = ("auc", "f1", "mae", "rmse")  # measures that are written in capitals
LEAST_SHARE = 0.005  # below it a share rounds to nothing, which it is not
MISFITS = {Side.MORE: "More answers turn out wrong", Side.FEWER: "Fewer answers turn out wrong"}


def sentence_of(alert: Alert) -> str:
    """Return what `alert` is about."""
    who = f"{alert.model.name} {alert.version.number}"
    if alert.cause == Cause.DRIFT:
        evidence = alert.evidence
        return (
            f"What {who} is asked has changed: {enumerated(alert.features)}. The evidence is {_amount(evidence.get('mean', 0))},"
            f" of a budget of {evidence.get('budget', 0):,.0f} windows in which one false alarm is expected."
        )
    if alert.cause == Cause.TRUST:
        misfit = Misfit.told(alert.evidence)
        told = [misfit_sentence(misfit), _enough(alert.evidence)] if misfit is not None else []
        what = f"The estimated quality of {who} does not fit the labels that came: do not go by it until it is calibrated anew."
        return " ".join([what, *told])
    told = [HARMS[reason](alert.evidence[reason]) for reason in HARMS if reason in alert.evidence]
    return " ".join([f"{who} answers worse than it should.", *told])


def misfit_sentence(misfit: Misfit) -> str:
    """Return in which direction labels differ from the estimate, and by how much."""
    labels, positive = misfit.labels, misfit.positive
    said = (
        f"{MISFITS[misfit.side]} than estimated: {misfit.wrong / labels:.1%} of {labels:,} answers of {_day(misfit.until)},"
        f" where {misfit.expected / labels:.1%} were to be expected."
    )
    if not positive:
        return said
    return f"{said} {positive}: {misfit.positives / labels:.1%}, where its scores let {misfit.likely / labels:.1%} be expected."


def _below_band(facts: Mapping[str, Any]) -> str:
    return (
        f"Without labels, its {_measure(facts)} is estimated at {facts['value']:.3f}, and was low for {_hours(facts['hours'])}:"
        f" on its reference it was {facts['low']:.3f} to {facts['high']:.3f}."
    )


def _above_band(facts: Mapping[str, Any]) -> str:
    return (
        f"Without labels, its {_measure(facts)} is estimated at {facts['value']:.4g}, and was high for {_hours(facts['hours'])}:"
        f" on its reference it was {facts['low']:.4g} to {facts['high']:.4g}."
    )


def _below_floor(facts: Mapping[str, Any]) -> str:
    return (
        f"Its {_measure(facts)} is estimated at {facts['value']:.3f}, below the floor of {facts['floor']:g} that was declared,"
        " and so far labels have agreed with its estimates."
    )


def _realised(facts: Mapping[str, Any]) -> str:
    wrong, labels, day = facts["wrong"], facts["labels"], _day(datetime.fromisoformat(facts["until"]))
    return (
        f"By its labels, {wrong / labels:.1%} of {labels:,} answers of {day} were wrong, where at most"
        f" {facts['usual']:.1%} are usual. {_enough(facts)}"
    )


def _day(until: datetime) -> str:
    return f"{until - timedelta(days=1):%Y-%m-%d}"


def _enough(facts: Mapping[str, Any]) -> str:
    return f"The evidence is {_amount(facts['evidence'])}, and {facts['limit']:,.0f} is enough."


HARMS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "realised": _realised,
    "below_floor": _below_floor,
    "below_band": _below_band,
    "above_band": _above_band,
}


def _measure(facts: Mapping[str, Any]) -> str:
    name = str(facts["metric"])
    measure = name.removeprefix(MEAN)
    words = measure.upper() if measure in SHORT else measure.replace("_", " ")
    return words if measure == name else f"{words}, as a mean over classes,"


def _amount(evidence: float) -> str:
    """Return how much evidence there is; beyond a million nobody is the wiser for its digits."""
    return f"{evidence:,.0f}" if evidence <= PLENTY else "over a million"


def _hours(hours: int) -> str:
    return f"{hours // 24} days" if hours % 24 == 0 and hours > 24 else f"{hours} hours"


def whole_percent(share: float) -> str:
    """Return a share that is known to a few points alone, as importance is, in whole percent."""
    return "< 1 %" if 0 < share < LEAST_SHARE else f"{100 * share:.0f} %"


def enumerated(names: Sequence[str]) -> str:
    """Return `names` as a sentence has them; after five, how many more there are."""
    shown, rest = list(names[:SHOWN]), len(names) - SHOWN
    if rest > 0:
        return f"{', '.join(shown)} and {rest} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown) or "nothing by name"
