"""A version that was pushed without a sample gets its reference from its first week."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.django.watched import rows_of_churn, watched_version
from tests.django.worlds import CHURN, ready, record
from trivet.control.monitoring import live_references
from trivet.control.monitoring.live_references import make_live_references
from trivet.control.monitoring.models import ReferenceProfile
from trivet.control.monitoring.references import watched
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import ModelVersion

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def asked(version: ModelVersion, days_ago: float, rows: int = 1200) -> None:
    inputs, outputs = rows_of_churn(rows)
    made = int((NOW - timedelta(days=days_ago)).timestamp() * 1e9)
    given = [inputs["age"], inputs["plan"]]
    ship([record(version, rows, made_at=made, inputs=given, outputs=[outputs["label"], outputs["probabilities"]])])


def test_the_first_week_becomes_the_reference():
    (version,) = ready()
    asked(version, 8)
    asked(version, 0.5)

    assert list(make_live_references(NOW)) == ["churn 1"]
    found = watched("churn", version.digest)
    assert found is not None
    reference = found.reference
    assert (reference.source, reference.whole.rows) == ("live", 1200)
    assert [bins.name for bins in reference.features] == ["age", "plan"]
    assert len(reference.chunks) == 20
    assert reference.layout.score(reference.whole, 0)[0].sum() == 1200
    assert list(make_live_references(NOW)) == []


def test_a_week_is_waited_for_and_a_thousand_rows():
    (version,) = ready()
    asked(version, 6)
    assert list(make_live_references(NOW)) == []

    (other,) = ready(model="other")
    asked(other, 8, rows=900)
    assert list(make_live_references(NOW)) == []
    assert not ReferenceProfile.objects.exists()


def test_chances_are_of_their_classes_in_whatever_order_the_database_keeps_them():
    said = {"label": "stays", "probabilities": {"churned": 0.25, "stays": 0.75}}  # PostgreSQL sorts names
    _, outputs = live_references._flat(CHURN, [({"age": 41, "plan": "pro"}, said)])
    assert outputs == {"label": ["stays"], "probabilities": [0.75, 0.25]}


def test_hidden_inputs_are_not_counted():
    (version,) = ready()
    version.model.sensitive = ["plan"]
    version.model.save()
    asked(version, 8)
    list(make_live_references(NOW))

    found = watched("churn", version.digest)
    assert found is not None
    assert [bins.name for bins in found.reference.features] == ["age"]


def test_the_reference_of_the_bundle_stays():
    version = watched_version()
    asked(version, 8)
    assert list(make_live_references(NOW)) == []
