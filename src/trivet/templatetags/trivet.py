"""What templates ask of predictions: only what was said already; nothing is predicted to fill a page."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from django import template
from trivet.features.latest import latest_score

register = template.Library()


@register.filter
def prediction(instance: Any, model: str) -> Any:
    """Return what the champion of `model` said last about a row: `{{ customer|prediction:"churn"|floatformat:2 }}`.

    It is a number, or None where nothing was said, or `instance` is no saved row. It takes a query for each; rows of a list
    are annotated with `trivet.Latest` instead.
    """
    if not isinstance(instance, Model) or instance.pk is None:
        return None
    return latest_score(instance, model)
