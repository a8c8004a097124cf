"""What measures are called, and the sentence that sums up how right a version is: for the page and for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.utils.translation import gettext as _, gettext_lazy

from trivet.console.figures import measure
from trivet.console.words import Text
from trivet.control.monitoring.estimates import Band, Estimate
from trivet.control.monitoring.measures import OF_ONE_CLASS
from trivet.control.monitoring.performance import Figure, NoFigure
from trivet.control.monitoring.performance_report import PerformanceReport
from trivet.control.monitoring.trust import Verdict

MEASURES: Mapping[str, Text] = {
    "auc": gettext_lazy("AUC"),
    "average_precision": gettext_lazy("Average precision"),
    "accuracy": gettext_lazy("Accuracy"),
    "precision": gettext_lazy("Precision"),
    "recall": gettext_lazy("Recall"),
    "specificity": gettext_lazy("Specificity"),
    "f1": gettext_lazy("F1"),
    "brier": gettext_lazy("Brier score"),
    "log_loss": gettext_lazy("Log loss"),
    "calibration_error": gettext_lazy("Calibration error"),
    "macro_precision": gettext_lazy("Precision, mean over classes"),
    "macro_recall": gettext_lazy("Recall, mean over classes"),
    "macro_f1": gettext_lazy("F1, mean over classes"),
    "macro_auc": gettext_lazy("AUC, mean over classes"),
    "mae": gettext_lazy("Mean absolute error"),
    "rmse": gettext_lazy("Root mean square error"),
    "me": gettext_lazy("Mean error"),
    "r2": gettext_lazy("R²"),
}


def titled(name: str, positive: str) -> str:
    """Return what a measure is called: of two classes some are of one alone, `positive`."""
    title = str(MEASURES.get(name, name))
    if name not in OF_ONE_CLASS or not positive:
        return title
    return _("%(measure)s for %(class)s") % {"measure": title, "class": positive}


def meaning(report: PerformanceReport) -> str:
    """Return how right a version was by its metric, or probably is, and whether that is usual; empty where nothing is known.

    Labels speak of the rows that have one, an estimate of all: where only the estimate is unusual, and may be believed,
    that is said as well.
    """
    return " ".join(_sentences(report))


def _sentences(report: PerformanceReport) -> Iterator[str]:
    realised, estimate = report.realised.get(report.metric), report.estimated.get(report.metric)
    band = report.band if isinstance(report.band, Band) else None
    metric = titled(report.metric, report.positive)
    if isinstance(realised, Figure):
        yield _realised(band, realised.value) % {"metric": metric, "value": measure(realised.value)}
    elif isinstance(estimate, Estimate):
        sentence = _("%(metric)s is probably %(value)s; labels have not said yet.")
        yield sentence % {"metric": metric, "value": measure(estimate.value)}
    if band is None or not isinstance(estimate, Estimate) or report.trust == Verdict.NOT_TRUSTED:
        return
    if _is_usual(realised, band) and not band.holds(estimate.value):
        sentence = _("Of all predictions, labelled or not, it is estimated to be %(value)s, which is not usual.")
        yield sentence % {"value": measure(estimate.value)}


def _is_usual(realised: Figure | NoFigure | None, band: Band) -> bool:
    return not isinstance(realised, Figure) or band.holds(realised.value)


def _realised(band: Band | None, value: float) -> str:
    if band is None:
        return _("%(metric)s was %(value)s.")
    return (
        _("%(metric)s was %(value)s, as usual.")
        if band.holds(value)
        else _("%(metric)s was %(value)s, which is not usual.")
    )
