"""Logged rows: the inputs a version was given, for who has to look at rows themselves; the rest of monitoring goes by counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import F, Q

from trivet.control.monitoring.references import watched
from trivet.control.predictions.models import Prediction
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import Refused
from trivet.core.profile.making import Flat, columns_of, counted_features
from trivet.core.profile.reference import SAMPLE
from trivet.core.signature import Signature
from trivet.model.bundle.sample import SAMPLE_NAME, decode_sample

MOST_ROWS = 5_000  # chosen: more make an AUC hardly surer, and a classifier slower
SCATTER, PRIME = 40_503, 65_521  # so that which rows are taken does not fall in with how many a request has

Span = tuple[datetime, datetime]  # from a moment to just before another


def logged_columns(version: ModelVersion, spans: Sequence[Span], *, most: int = MOST_ROWS) -> dict[str, Any]:
    """Return what `version` was asked in `spans`, by feature, as `columns_of` does: of more than `most` rows about as many.

    They are those that were answered and whose inputs were kept and not erased; sensitive inputs are left out.
    """
    within = Q()
    for start, end in spans:
        within |= Q(made_at__gte=start, made_at__lt=end)
    asked = Prediction.objects.of_model(version.model.name).answers().filter(within, digest=version.digest)
    asked = asked.filter(inputs__isnull=False)  # kept, and not erased meanwhile
    found = asked.count()
    if found > most:
        scattered = asked.annotate(scattered=F("pk") % PRIME * SCATTER % PRIME)
        asked = scattered.filter(scattered__lt=PRIME * most // found)
    signature = version.read_signature()
    rows = [given for given in asked.order_by("pk").values_list("inputs", flat=True) if given is not None]
    flat: dict[str, Flat] = {
        spec.name: [given.get(name) for given in rows for name in spec.field_names] for spec in signature.inputs
    }
    return _columns(version, signature, flat, len(rows))


def recorded_columns(version: ModelVersion) -> dict[str, Any]:
    """Return the rows that the version's bundle recorded of its sample, 200 at most: of all others there are counts alone.

    Raises `Refused` where it was pushed without a sample.
    """
    found = watched(version.model.name, version.digest)
    if found is None or found.reference.source != SAMPLE:
        raise Refused(
            f"{version} was pushed without a sample, so no row of its reference is kept: compare with --reference previous"
            " or same-hour."
        )
    signature = version.read_signature()
    inputs, _ = decode_sample(signature, fetch_bundle(version.digest).files.get(SAMPLE_NAME, b""))
    rows = len(next(iter(inputs.values())))
    return _columns(version, signature, {name: values.reshape(-1) for name, values in inputs.items()}, rows)


def _columns(version: ModelVersion, signature: Signature, flat: dict[str, Flat], rows: int) -> dict[str, Any]:
    kept = {name for _, name in counted_features(signature, version.model.sensitive or ())}
    return {name: values for name, values in columns_of(signature, flat, rows).items() if name in kept}
