"""The signature of a trained object: read from a sample and the fitted steps, and observed by asking the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from trivet.core.signature import Input, Output, Signature
from trivet.model.compile.bounds import with_bounds
from trivet.model.compile.fields import MATRIX, WORDS, Field, Layout
from trivet.model.compile.original import PROBABILITIES, Answers, Original

MOST_CATEGORIES = 10_000
ROWS_ASKED = 5  # sample rows that are repeated with one value changed
UNSEEN = "an unseen value"


def observe(original: Original, layout: Layout, sample: pd.DataFrame, known: Mapping[str, tuple[str, ...]]) -> Layout:
    """Return `layout` with what asking the original shows: whether a value may be missing, new, or far from what was seen.

    `known` holds the categories of fitted encoders by field; other words take theirs from the sample.
    """
    layout = with_bounds(original, layout, sample)
    if layout.is_matrix:
        nullable = _accepts_empty_matrix(original, sample)
        return layout.with_fields([replace(field, nullable=nullable) for field in layout.fields])
    fields = []
    for field in layout.fields:
        seen = _with_words(original, layout, sample, field, known) if field.datatype == WORDS else field
        fields.append(_with_gap(original, layout, sample, seen))
    return layout.with_fields(fields)


def _with_words(
    original: Original, layout: Layout, sample: pd.DataFrame, field: Field, known: Mapping[str, tuple[str, ...]]
) -> Field:
    if layout.is_text:
        return field  # no two texts need be alike: there is nothing to know beforehand
    words = replace(field, categories=_categories(sample[field.name], known.get(field.name)))
    return replace(words, rejects_unknown=not _is_accepted(original, layout, sample, words, UNSEEN))


def signature_of(
    original: Original, layout: Layout, sample: pd.DataFrame, answers: Answers, *, is_synthetic: bool = False
) -> Signature:
    """Return the signature of an original that gave `answers` to some rows. Made-up rows tell of no range seen in training."""
    return Signature(
        inputs=_inputs(layout, sample, is_seen=not is_synthetic),
        outputs=outputs_of(original, answers),
        task=original.task,
        threshold=_shown_threshold(original),
    )


def _shown_threshold(original: Original) -> float | None:
    return original.threshold if original.numbers == PROBABILITIES else None


def outputs_of(original: Original, answers: Answers) -> tuple[Output, ...]:
    """Return the outputs: label and numbers of a classifier, outlier detector or cluster model, predictions of a regressor.

    Several targets have one output each, suffixed `_0`, `_1` and so on.
    """
    return tuple(output for target in original.targets(answers) for output in target.outputs)


def _inputs(layout: Layout, sample: pd.DataFrame, *, is_seen: bool) -> tuple[Input, ...]:
    if layout.is_matrix:
        return (
            Input(
                name=MATRIX,
                datatype="FP64",
                shape=(-1, len(layout.fields)),
                nullable=all(field.nullable for field in layout.fields),
                **_rejected(layout.fields),
                columns=tuple(layout.names) if layout.has_names else None,
            ),
        )
    if layout.is_text:
        return (Input(name=layout.fields[0].name, datatype=WORDS, shape=(-1,), nullable=layout.fields[0].nullable),)
    return tuple(_input(field, sample[field.name], is_seen=is_seen) for field in layout.fields)


def _input(field: Field, values: pd.Series, *, is_seen: bool) -> Input:
    if field.datatype == WORDS:
        return Input(
            name=field.name,
            datatype=WORDS,
            shape=(-1, 1),
            nullable=field.nullable,
            categories=field.categories,
            unknown="reject" if field.rejects_unknown else "pass",
        )
    low, high = _bounds(values) if is_seen and field.datatype != "BOOL" else (None, None)
    bounds = _rejected([field]) or {"low": low, "high": high}
    return Input(name=field.name, datatype=field.datatype, shape=(-1, 1), nullable=field.nullable, **bounds)


def _rejected(fields: Sequence[Field]) -> dict[str, Any]:
    """Return the range outside which a value is refused since the original refuses it, for all of `fields` together."""
    lows = [field.low for field in fields if field.low is not None]
    highs = [field.high for field in fields if field.high is not None]
    if not lows and not highs:
        return {}
    return {"low": max(lows, default=None), "high": min(highs, default=None), "outside": "reject"}


def _bounds(values: pd.Series) -> tuple[float | None, float | None]:
    numbers = values.to_numpy(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return (float(numbers.min()), float(numbers.max())) if len(numbers) else (None, None)


def _categories(values: pd.Series, known: tuple[str, ...] | None) -> tuple[str, ...] | None:
    found = (
        known if known is not None else tuple(sorted({value for value in values.tolist() if isinstance(value, str)}))
    )
    return found if 0 < len(found) <= MOST_CATEGORIES else None


def _with_gap(original: Original, layout: Layout, sample: pd.DataFrame, field: Field) -> Field:
    if field.datatype in ("INT64", "BOOL"):
        return field  # these have no way to say "missing"
    gaps: list[Any] = [field.gap]
    if field.datatype == WORDS:
        gaps += [gap for gap in (np.nan, None) if gap is not field.gap]
    for gap in gaps:
        candidate = replace(field, gap=gap)
        if _is_accepted(original, layout, sample, candidate, gap):
            return replace(candidate, nullable=True)
    return field


def _accepts_empty_matrix(original: Original, sample: pd.DataFrame) -> bool:
    rows = sample.head(ROWS_ASKED).copy()
    rows.iloc[0, :] = np.nan
    try:
        return bool(np.isfinite(original.answers(rows).values).all())
    except Exception:  # noqa: BLE001  (whatever it raises, it is a refusal)
        return False


def _is_accepted(original: Original, layout: Layout, sample: pd.DataFrame, field: Field, value: Any) -> bool:
    rows = sample.head(ROWS_ASKED)
    asked = layout.with_fields([field if f.name == field.name else f for f in layout.fields])
    columns: dict[str, Any] = {name: rows[name] for name in layout.names}
    columns[field.name] = [value] * len(rows)
    try:
        answers = original.answers(asked.frame(columns))
    except Exception:  # noqa: BLE001  (whatever it raises, it is a refusal)
        return False
    return bool(np.isfinite(answers.values).all())
