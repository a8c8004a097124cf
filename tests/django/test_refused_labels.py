"""Labels that came to nothing are deleted after some weeks, a batch at a time; what was applied stays for ever."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from trivet.control.predictions import refused_labels
from trivet.control.predictions.models import Label, LabelState
from trivet.control.predictions.refused_labels import KEPT, forget_refused_labels

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def labels(number: int, state: LabelState, received_at: datetime, model: str = "churn") -> None:
    where: dict[str, Any] = {"row": 0} if state == LabelState.APPLIED else {}
    Label.objects.bulk_create(
        Label(
            model=model,
            value="stays",
            state=state,
            caller="key:abcdefgh",
            observed_at=received_at,
            received_at=received_at,
            prediction_id=uuid.uuid4(),
            **where,
        )
        for _ in range(number)
    )


def left() -> list[tuple[str, str, int]]:
    now = timezone.now()
    rows = Label.objects.order_by("model", "state", "received_at").values_list("model", "state", "received_at")
    return [(model, state, round((now - received_at) / DAY)) for model, state, received_at in rows]


def test_what_came_to_nothing_goes_when_it_is_old_and_what_was_applied_stays():
    now = timezone.now()
    for state in LabelState:
        for days in (1, 29, 31):
            labels(1, LabelState(state), now - days * DAY)
    labels(1, LabelState.WAITING, now - 31 * DAY, model="of nobody")  # whose model is gone: nobody looks at it again
    labels(1, LabelState.REFUSED, now - 31 * DAY, model="?")

    assert list(forget_refused_labels(now - KEPT)) == [1, 1, 1, 1]
    assert left() == [
        ("churn", "applied", 31),
        ("churn", "applied", 29),
        ("churn", "applied", 1),
        ("churn", "refused", 29),
        ("churn", "refused", 1),
        ("churn", "waiting", 29),
        ("churn", "waiting", 1),
    ]
    assert list(forget_refused_labels(now - KEPT)) == []


def test_one_that_may_still_find_its_prediction_waits_whoever_is_in_a_hurry():
    now = timezone.now()
    for state in (LabelState.WAITING, LabelState.REFUSED):
        for days in (6, 8):
            labels(1, state, now - days * DAY)

    list(forget_refused_labels(now))
    assert left() == [("churn", "waiting", 6)]


def test_a_batch_goes_at_a_step(monkeypatch):
    monkeypatch.setattr(refused_labels, "AT_ONCE", 20)
    labels(50, LabelState.REFUSED, timezone.now() - 31 * DAY)
    labels(5, LabelState.REFUSED, timezone.now())
    steps = forget_refused_labels(timezone.now() - KEPT)

    assert next(steps) == 20
    assert Label.objects.count() == 35, "whoever stops asking stops it"
    assert list(steps) == [20, 10]
    assert Label.objects.count() == 5
