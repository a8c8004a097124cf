"""Versions that are watched: with a reference in their bundle, as a push leaves one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from django.utils import timezone

from tests.django.worlds import CHURN
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.models import Arm, Grain, LabelProfile, Profile
from trivet.control.monitoring.packing import pack, pack_labels
from trivet.control.monitoring.references import watched
from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.labels import LABEL_TABLE_FORMAT, LabelTable
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import make_reference
from trivet.core.profile.profile import PROFILE_FORMAT, Profile as Counts
from trivet.core.profile.reference import REFERENCE_NAME, encode_reference
from trivet.core.signature import Input, Signature
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.manifest import Manifest

ROWS = 2000
NUMBERS = Signature(
    inputs=tuple(Input(name=name, datatype="FP64", shape=(-1, 1), nullable=True) for name in ("x", "y", "z")),
    outputs=CHURN.outputs,
    task="classification",
)


def rows_of_churn(rows: int = ROWS) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return inputs and outputs, flat by tensor: ages from 18 to 77, two plans, and a chance that falls with the age."""
    ages = [18.0 + place * 37 % 60 for place in range(rows)]
    chances = [round(1 - age / 100, 3) for age in ages]
    return (
        {"age": ages, "plan": ["pro" if place % 3 else "free" for place in range(rows)]},
        {
            "label": ["churned" if chance >= 0.5 else "stays" for chance in chances],
            "probabilities": [number for chance in chances for number in (1 - chance, chance)],
        },
    )


def watched_version(
    model: str = "churn",
    *,
    signature: Signature = CHURN,
    rows: tuple[Mapping[str, Sequence[Any]], Mapping[str, Sequence[Any]]] | None = None,
    labels: Sequence[Any] | None = None,
    importance: tuple[float, ...] = (),
) -> ModelVersion:
    """Register and ready a version whose bundle has the reference of `rows`, and of what turned out true of them."""
    inputs, outputs = rows or rows_of_churn()
    reference = make_reference(signature, inputs, outputs, len(next(iter(inputs.values()))), labels=labels)
    reference = msgspec.structs.replace(reference, importance=importance)
    manifest = Manifest(format=1, runtime="onnx", signature=signature, files=(), parity={"max": 2e-7})
    files = {"model.onnx": b"graph", "sample.jsonl": b"{}\n", REFERENCE_NAME: encode_reference(reference)}
    version = actions.register_version(name=model, bundle=make_bundle(manifest, files), actor="cli:ana")
    return actions.mark_ready(model=model, version=version.number, actor="process:probe")


def count(
    version: ModelVersion,
    start: datetime,
    rows: int,
    *,
    seed: int = 0,
    older: float = 0.0,
    unseen: float = 0.0,
    ages: np.ndarray | None = None,
) -> None:
    """Keep the profile of an hour from `start` on: rows like those of the reference, `older` by so many years, or of plans
    that nobody had."""
    found = watched(version.model.name, version.digest)
    assert found is not None
    rng = np.random.default_rng(seed)
    if ages is None:
        ages = rng.integers(18, 78, rows) + older
    plans = ["enterprise" if one < unseen else "pro" if one < 0.67 else "free" for one in rng.random(rows)]
    chances = np.clip(1 - np.nan_to_num(ages) / 100, 0, 1)
    words = ["churned" if chance >= 0.5 else "stays" for chance in chances]
    counts = found.reference.fold({"age": ages.astype(float), "plan": plans}, Answers([chances], words))
    keep(version, start, counts)


def keep(version: ModelVersion, start: datetime, counts: Counts) -> None:
    """Keep the profile of an hour."""
    Profile.objects.create(
        version=version,
        arm=Arm.CHAMPION,
        grain=Grain.HOUR,
        start=start,
        shard="test",
        rows=counts.rows,
        payload=pack(counts),
        format=PROFILE_FORMAT,
    )


def keep_labels(version: ModelVersion, start: datetime, table: LabelTable) -> None:
    """Keep what turned out true of an hour."""
    LabelProfile.objects.create(
        version=version,
        arm=Arm.CHAMPION,
        grain=Grain.HOUR,
        start=start,
        shard="test",
        age_class=0,
        labels=table.labels,
        payload=pack_labels(table),
        format=LABEL_TABLE_FORMAT,
    )


def rows_of_numbers(rows: int = ROWS, seed: int = 0) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return inputs and outputs of rows of three numbers that are one and the same, with a little of their own."""
    rng = np.random.default_rng(seed)
    same = rng.normal(size=rows)
    inputs = {spec.name: (same + 0.3 * rng.normal(size=rows)).tolist() for spec in NUMBERS.inputs}
    return inputs, {"label": ["stays"] * rows, "probabilities": [0.75, 0.25] * rows}


def asked_for_numbers(*, apart: bool = False) -> ModelVersion:
    """Register a champion of three numbers that was asked 500 times two hours ago; `apart`, they no longer move together."""
    version = watched_version(signature=NUMBERS, rows=rows_of_numbers())
    actions.promote(model="churn", version=1, actor="cli:ana")
    found = watched(version.model.name, version.digest)
    assert found is not None
    inputs, outputs = rows_of_numbers(500, seed=1)
    columns = {name: np.roll(values, place if apart else 0) for place, (name, values) in enumerate(inputs.items())}
    counts = found.reference.fold(columns, Answers([np.full(500, 0.25)], outputs["label"]))
    keep(version, begin_of(timezone.now(), Grain.HOUR) - timedelta(hours=2), counts)
    return version
