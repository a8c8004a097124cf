"""Requests per minute, from the prediction log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count
from django.db.models.functions import TruncMinute
from django.db.models.sql.compiler import SQLCompiler

from trivet.control.predictions.models import Prediction

MINUTES = 60
MINUTE = timedelta(minutes=1)


def requests_a_minute(models: Collection[str], now: datetime) -> dict[str, list[int]]:
    """Return the requests each of `models` answered in each of the last 60 minutes, oldest first, with one query.

    The last minute is the one under way. A request counts once, however many rows it had.
    """
    this_minute = now.replace(second=0, microsecond=0)
    first = this_minute - MINUTE * (MINUTES - 1)
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * MINUTES)
    answered = (
        Prediction.objects.answers()
        .filter(model__in=list(models), row=0)
        .since(first)
        .annotate(minute=_Minute("made_at", tzinfo=UTC if now.tzinfo else None))
        .order_by()
        .values_list("model", "minute")
        .annotate(requests=Count("pk"))
    )
    for model, minute, requests in answered:
        place = (minute - first) // MINUTE
        if 0 <= place < MINUTES:
            counts[model][place] = requests
    return counts


class _Minute(TruncMinute):
    """The minute of a moment. SQLite cuts its text, where Django's own would call back into Python for every row."""

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **extra_context: Any) -> tuple[str, Any]:  # noqa: ARG002
        """Return `YYYY-MM-DD HH:MM`, which Django reads as a moment."""
        sql, params = compiler.compile(self.lhs)
        return f"substr({sql}, 1, 16)", params
