"""References of versions that were pushed without a sample: made from what they were asked in their first week."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from trivet.control.monitoring.models import ReferenceProfile
from trivet.control.monitoring.references import row_of
from trivet.control.predictions.models import Prediction
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.making import make_reference
from trivet.core.profile.reference import LIVE, REFERENCE_NAME, encode_reference
from trivet.core.signature import Signature

FIRST_DAYS = timedelta(days=7)
LEAST_ROWS = 1_000  # fewer are no picture of what is usual
MOST_ROWS = 20_000  # the latest of the week: of one machine's memory a moment's part


def make_live_references(now: datetime) -> Iterator[str]:
    """Make the reference of each version that has none and was asked for a week; yield the versions' names.

    A version whose bundle has a reference keeps to that. Inputs that are sensitive, or were not kept, are not counted.
    """
    without = ModelVersion.objects.exclude(references__isnull=False).select_related("model").order_by("pk")
    for version in without:
        if any(entry.get("path") == REFERENCE_NAME for entry in version.manifest.get("files", ())):
            continue
        asked = Prediction.objects.answers().filter(
            model=version.model.name, digest=version.digest, inputs__isnull=False
        )
        first = asked.order_by("made_at").values_list("made_at", flat=True).first()
        if first is None or now - first < FIRST_DAYS:
            continue
        rows = list(
            asked.filter(made_at__lt=first + FIRST_DAYS).order_by("-pk").values_list("inputs", "output")[:MOST_ROWS]
        )
        if len(rows) >= LEAST_ROWS:
            _make(version, rows[::-1])
            yield str(version)


def _make(version: ModelVersion, rows: Sequence[tuple[Any, Any]]) -> None:
    signature, hidden = version.read_signature(), set(version.model.sensitive or ())
    inputs, outputs = _flat(signature, rows)
    reference = make_reference(signature, inputs, outputs, len(rows), source=LIVE, uncounted=hidden)
    row = row_of(version, encode_reference(reference), len(rows))
    ReferenceProfile.objects.bulk_create([row], ignore_conflicts=True)


def _flat(signature: Signature, rows: Sequence[tuple[Any, Any]]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return what the log holds of `rows` as the tensors were, flat and row-major."""
    inputs = {
        spec.name: [given.get(name) for given, _ in rows for name in spec.field_names] for spec in signature.inputs
    }
    outputs = {
        spec.name: [element for _, said in rows for element in _elements(said.get(spec.name), spec.classes)]
        for spec in signature.outputs
    }
    return inputs, outputs


def _elements(value: Any, classes: Sequence[str] | None) -> list[Any]:
    if isinstance(value, dict):  # in whatever order the database keeps it
        return [value.get(name) for name in classes or value]
    return value if isinstance(value, list) else [value]
