"""What templates ask of predictions: `prediction` for what was said already, and `predict` for an answer made now."""

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


@register.simple_tag(takes_context=True)
def predict(context: Any, row: Any, model: str, **options: Any) -> Any:
    """Return what `model` says of a row now: `{% predict customer "churn" as risk %}{{ risk.decision }}`.

    It is a call, with all that `trivet.predict` is and raises, of which `fallback=` and `deadline_seconds=` may be given; the
    user of the request is recorded as the caller. Of a list it is a call a row: hand the template `predict_many` instead.
    """
    from trivet.serving.predict import predict as ask  # what predicts is loaded by who does

    user = getattr(context.get("request"), "user", None)
    return ask(model, row, user=user, **options)
