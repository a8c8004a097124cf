"""The panel of Django Debug Toolbar: which models a page asked, what they answered, and how long that took.

`DEBUG_TOOLBAR_PANELS += ["trivet.console.debug_toolbar.PredictionsPanel"]`. Of the toolbar nothing is imported elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from debug_toolbar.panels import Panel
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _, ngettext

from trivet.console.figures import count, duration, number, percent
from trivet.console.words import ROUTES
from trivet.serving import onlookers
from trivet.serving.onlookers import Call
from trivet.serving.prediction import Prediction
from trivet.serving.repeats import MANY

CALLS_SHOWN = 100
CHARACTERS_SHOWN = 200  # of one value

_heard: ContextVar[list[Call] | None] = ContextVar("trivet_heard", default=None)  # of the page that is made


def hear(call: Call) -> None:
    """Keep `call` for the page that is made, if one is whose panel listens."""
    calls = _heard.get()
    if calls is not None:
        calls.append(call)


class PredictionsPanel(Panel):
    """Calls of `trivet.predict` and its like while a page was made, also in coroutines. What another thread asks is not seen."""

    template = "trivet/debug_toolbar.html"
    is_async = True

    def __init__(self, *args: Any, **options: Any) -> None:
        """Be the panel of one page, as the toolbar makes it."""
        super().__init__(*args, **options)
        self._calls: list[Call] = []

    @property
    def nav_title(self) -> str:
        """What stands in the side bar."""
        return _("Predictions")

    @property
    def nav_subtitle(self) -> str:
        """How many calls, and how long all of them took; then what is to be mended."""
        stats = self.get_stats()
        problem = " · N+1" if stats.get("repeats") else ""
        return f"{stats.get('summary', '')}{problem}"

    @property
    def title(self) -> str:
        """What stands above the calls."""
        return _("Predictions: %(summary)s") % {"summary": self.get_stats().get("summary", "")}

    def enable_instrumentation(self) -> None:
        """Listen, until the page is made."""
        onlookers.join(hear)
        _heard.set(self._calls)

    def disable_instrumentation(self) -> None:
        """Listen no more."""
        _heard.set(None)

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:  # noqa: ARG002  (the toolbar's)
        """Keep what was heard, in words: the toolbar stores it as JSON."""
        calls = self._calls
        self.record_stats(
            {
                "summary": _summary(calls),
                "repeats": list(_repeats(calls)),
                "calls": [_shown(call) for call in calls[:CALLS_SHOWN]],
                "left_out": max(len(calls) - CALLS_SHOWN, 0),
            }
        )


def _summary(calls: list[Call]) -> str:
    said = ngettext("%(calls)s call", "%(calls)s calls", len(calls)) % {"calls": count(len(calls))}
    return f"{said} · {duration(sum(call.latency_ms for call in calls) * 1000)}" if calls else said


def _repeats(calls: list[Call]) -> Iterable[str]:
    """Yield a sentence for each model that was asked row by row."""
    for model, rows in Counter(call.model for call in calls if call.is_single).items():
        if rows >= MANY:
            yield _("%(model)s was asked about %(rows)s single rows. N+1: use predict_many.") % {
                "model": model,
                "rows": count(rows),
            }


def _shown(call: Call) -> dict[str, Any]:
    """Return a call in words; of a batch its first row."""
    said: dict[str, Any] = {
        "model": call.model,
        "rows": count(len(call.predictions)),
        "time": duration(call.latency_ms * 1000),
    }
    if call.predictions:
        first = call.predictions[0]
        said |= {
            "version": first.version or "",
            "route": _route(first),
            "inputs": _inputs(first),
            "answer": _answer(first),
            "others": len(call.predictions) - 1,
            "cached": all(one.cached for one in call.predictions),
        }
    return said


def _route(prediction: Prediction) -> str:
    if prediction.fallback_from is not None:
        return _("fallback for version %(number)s") % {"number": prediction.fallback_from}
    return str(ROUTES.get(prediction.route, prediction.route))


def _inputs(prediction: Prediction) -> list[dict[str, str]]:
    """Return names and values; of sensitive ones the name alone."""
    from trivet.serving.sensitive import sensitive_features  # what predicts is loaded by who does

    hidden = sensitive_features(prediction.model)
    return [
        {"name": name, "value": _("hidden") if name in hidden else _words(value)}
        for name, value in prediction.features.items()
    ]


def _answer(prediction: Prediction) -> str:
    value = prediction.value
    if isinstance(value, Mapping):
        share = value.get(prediction.decision)
        value = percent(share) if isinstance(share, int | float) else ""
    return f"{prediction.decision} {_words(value)}".strip()


def _words(value: Any) -> str:
    if value is None:
        return _("missing")
    text = str(value) if isinstance(value, bool) else number(value)
    return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}…"
