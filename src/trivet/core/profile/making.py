"""From rows to a reference: which bins the features of a signature get, and what the rows amount to in them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from trivet.core.calibration import Calibration, decide_calibration
from trivet.core.decisions import PROBABILITIES, SCORES, decide
from trivet.core.profile.bins import (
    COMMON_VALUES,
    KNOWN_VALUES,
    Bins,
    BooleanBins,
    CategoryBins,
    TextBins,
    category_bins,
    numeric_bins,
)
from trivet.core.profile.labels import LabelTable, class_of, encode_labels, fold_labels
from trivet.core.profile.layout import Answers, Columns, Layout, word_of
from trivet.core.profile.losses import Loss, loss_sums
from trivet.core.profile.profile import Profile, encode_profile, merge
from trivet.core.profile.reference import SAMPLE, Reference
from trivet.core.profile.scores import BINARY_BINS, OTHER_BINS, ScoreBins, score_bins
from trivet.core.signature import Input, Signature

MOST_FEATURES = 1000  # counted; of an image or an embedding the first ones say nothing more than its score
MOST_CLASSES = 20  # with a score of their own
CHUNKS = 20  # pieces of the reference in the order of time
CHUNK_ROWS = 50  # of the smallest of them
TEXT_LENGTH = 64.0  # letters, on average: longer ones are texts, not categories

DECIDED_AT_ONCE = 4096  # rows

Flat = Sequence[Any] | np.ndarray  # one tensor's elements, row-major; None is missing


def make_reference(
    signature: Signature,
    inputs: Mapping[str, Flat],
    outputs: Mapping[str, Flat],
    rows: int,
    source: str = SAMPLE,
    *,
    labels: Sequence[Any] | None = None,
    uncounted: Collection[str] = (),
) -> Reference:
    """Return the reference of `rows` rows: `inputs` and `outputs` by tensor, flat and row-major, None for missing.

    The rows should be in the order of time: pieces of them say what is usual in a short while. `labels` (rows,) say what
    turned out true of them; None or NaN where nobody knows. Inputs or columns called `uncounted` are left out.
    """
    columns = columns_of(signature, inputs, rows)
    features = tuple(
        _bins(spec, name, columns[name]) for spec, name in counted_features(signature, uncounted) if name in columns
    )
    words = _words(signature, outputs, rows)
    chances = _chances(outputs, rows) if signature.task == "classification" else None
    classes = class_names(signature, chances.shape[1]) if chances is not None else ()
    decisions = _decisions(words, classes) if any(words) else None
    scores = _scores(signature, outputs, rows, decisions)
    layout = Layout(features, decisions, scores)
    answers = Answers(score_columns(signature, scores, outputs, rows), words)
    pieces = _pieces(rows)
    parts = [layout.fold(_cut(columns, piece), _part(answers, piece), None, (0, 0, 0)) for piece in pieces]
    reference = Reference(
        features=features,
        decisions=decisions,
        scores=scores,
        classes=classes,
        source=source,
        whole_bytes=encode_profile(merge(parts, layout.empty)),
        chunks_bytes=tuple(map(encode_profile, parts)) if len(parts) > 1 else (),
    )
    return reference if labels is None else _labelled(reference, answers, labels, pieces)


def with_losses(reference: Reference, loss: Loss, absolute: np.ndarray, squared: np.ndarray) -> Reference:
    """Return a reference of as many rows with what is expected of each of them: its absolute error and its square, (rows,)."""
    unit = reference.scores[0].unit

    def told(profile: Profile, piece: slice) -> bytes:
        return encode_profile(replace(profile, losses=loss_sums(absolute[piece], squared[piece], unit)))

    pieces = _pieces(reference.whole.rows)
    return msgspec.structs.replace(
        reference,
        loss=loss,
        whole_bytes=told(reference.whole, slice(None)),
        chunks_bytes=tuple(map(told, reference.chunks, pieces)) if reference.chunks_bytes else (),
    )


def counted_features(signature: Signature, uncounted: Collection[str] = ()) -> list[tuple[Input, str]]:
    """Return the features that are counted, in the signature's order, each with the tensor it is in: at most a thousand."""
    found = [
        (spec, name)
        for spec in signature.inputs
        if spec.name not in uncounted
        for name in _counted(spec)
        if name not in uncounted
    ]
    return found[:MOST_FEATURES]


def columns_of(signature: Signature, inputs: Mapping[str, Flat], rows: int) -> dict[str, Any]:
    """Return the values of each feature: (rows,) float64 with NaN for missing, or a list of texts with None.

    A tensor that does not have as many elements as the signature says, or other values, is left out.
    """
    columns: dict[str, Any] = {}
    for spec in signature.inputs:
        names = _counted(spec)
        flat = inputs.get(spec.name)
        if flat is None or not names or len(flat) != rows * len(names):
            continue
        if spec.datatype == "BYTES":
            for place, name in enumerate(names):
                columns[name] = [None if value == spec.missing else value for value in flat[place :: len(names)]]
            continue
        try:
            numbers = np.asarray(flat, dtype=np.float64).reshape(rows, len(names))
        except (ValueError, TypeError, OverflowError):  # hidden values of a sensitive input
            continue
        columns.update(zip(names, numbers.T, strict=True))
    return columns


def score_columns(
    signature: Signature, scores: Sequence[ScoreBins], outputs: Mapping[str, Flat], rows: int
) -> list[np.ndarray]:
    """Return the numbers (rows,) float64 that are counted in each of `scores`; NaN where there is none."""
    chances = _chances(outputs, rows)
    missing = np.full(rows, np.nan)
    if signature.task == "classification":
        if chances is None:
            return [missing for _ in scores]
        if chances.shape[1] <= 2:
            return [chances[:, -1] for _ in scores]
        places = {name: place for place, name in enumerate(class_names(signature, chances.shape[1]))}
        return [chances[:, places[bins.name]] if bins.name in places else missing for bins in scores]
    columns = {name: _numbers(flat, rows) for name, flat in outputs.items()}
    return [column if (column := columns.get(bins.name)) is not None else missing for bins in scores]


def _counted(spec: Input) -> tuple[str, ...]:
    """Return the names of a tensor's values a row; none where it has no fixed number of them."""
    return spec.field_names if spec.shape and spec.shape[0] == -1 and all(size > 0 for size in spec.shape[1:]) else ()


def _bins(spec: Input, name: str, values: Any) -> Bins:
    if spec.datatype == "BYTES":
        given = [value for value in values if value is not None]
        is_text = len(set(given)) > COMMON_VALUES + KNOWN_VALUES or (
            bool(given) and sum(map(len, given)) / len(given) > TEXT_LENGTH
        )
        return TextBins(name) if is_text and spec.categories is None else category_bins(name, values)
    return BooleanBins(name) if spec.datatype == "BOOL" else numeric_bins(name, values)


def _decisions(words: Sequence[str], classes: Sequence[str]) -> CategoryBins:
    """Return the places of decisions: the commonest that were made, then the other `classes` while there is room."""
    bins = category_bins("decision", filter(None, words), MOST_CLASSES)
    never = [word for word in map(word_of, classes) if word not in bins.common]
    return msgspec.structs.replace(bins, common=(*bins.common, *never)[:MOST_CLASSES])


def _scores(
    signature: Signature, outputs: Mapping[str, Flat], rows: int, decisions: CategoryBins | None
) -> tuple[ScoreBins, ...]:
    chances = _chances(outputs, rows)
    if signature.task == "classification":
        if chances is None:
            return ()
        names = class_names(signature, chances.shape[1])
        if chances.shape[1] <= 2:
            return (score_bins(names[-1], chances[:, -1], BINARY_BINS),)
        common = decisions.common if decisions is not None else ()
        return tuple(
            score_bins(name, numbers, OTHER_BINS)
            for name, numbers in zip(names, chances.T, strict=False)
            if word_of(name) in common
        )
    found = {name: _numbers(flat, rows) for name, flat in outputs.items()}
    return tuple(
        score_bins(name, numbers, OTHER_BINS, is_of_class=False)
        for name, numbers in found.items()
        if numbers is not None
    )


def _chances(outputs: Mapping[str, Flat], rows: int) -> np.ndarray | None:
    """Return the probabilities, or else the scores, of all classes: (rows, classes) float64."""
    flat = outputs.get(PROBABILITIES)
    if flat is None:
        flat = outputs.get(SCORES)
    if flat is None or not rows or not len(flat) or len(flat) % rows:
        return None
    return np.array(flat, dtype=np.float64).reshape(rows, -1)


def class_names(signature: Signature, width: int) -> tuple[str, ...]:
    for name in (PROBABILITIES, SCORES, "label"):
        output = signature.output(name)
        if output is not None and output.classes:
            return output.classes
    return tuple(str(place) for place in range(max(width, 2)))


def _numbers(flat: Flat, rows: int) -> np.ndarray | None:
    """Return one number a row, or None where an output has not just that."""
    if len(flat) != rows:
        return None
    try:
        return np.array(flat, dtype=np.float64)
    except (ValueError, TypeError):
        return None


def _words(signature: Signature, outputs: Mapping[str, Flat], rows: int) -> list[str]:
    """Return the decision on each row in words; some thousand rows at once, for what is decided takes memory."""
    words: list[str] = []
    for start in range(0, rows, DECIDED_AT_ONCE):
        stop = min(start + DECIDED_AT_ONCE, rows)
        some = {name: _some(flat, rows, start, stop) for name, flat in outputs.items()}
        words += [decision.decision for decision in decide(signature, some, stop - start)]
    return words


def _some(flat: Flat, rows: int, start: int, stop: int) -> list[Any]:
    width = len(flat) // rows
    found = flat[start * width : stop * width]
    return found.tolist() if isinstance(found, np.ndarray) else list(found)


def _pieces(rows: int) -> list[slice]:
    """Return the rows in up to twenty pieces of equal size; in one where there are few."""
    number = CHUNKS if rows >= CHUNKS * CHUNK_ROWS else 1
    ends = [round(rows * (place + 1) / number) for place in range(number)]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _cut(columns: Columns, piece: slice) -> dict[str, Any]:
    return {name: values[piece] for name, values in columns.items()}


def _part(answers: Answers, piece: slice) -> Answers:
    return Answers([scores[piece] for scores in answers.scores], answers.decisions[piece])


def _labelled(reference: Reference, answers: Answers, labels: Sequence[Any], pieces: Sequence[slice]) -> Reference:
    """Return `reference` with what turned out true of its rows; as it is where that is known of none."""
    if all(_is_missing(label) for label in labels):
        return reference
    tables = [_label_table(reference, _part(answers, piece), labels[piece]) for piece in pieces]
    whole = sum(tables[1:], start=tables[0])
    return msgspec.structs.replace(
        reference,
        labels_bytes=encode_labels(whole),
        chunk_labels_bytes=tuple(map(encode_labels, tables)) if len(tables) > 1 else (),
        calibrations=_calibrations(reference, answers, labels),
    )


def _calibrations(reference: Reference, answers: Answers, labels: Sequence[Any]) -> tuple[Calibration | None, ...]:
    """Return what makes a probability of each score of a class; none where there is no such score."""
    if not reference.scores or not reference.scores[0].is_of_class:
        return ()
    classes = ["" if _is_missing(label) else class_of(label, reference.classes) for label in labels]
    known = np.array([name in reference.classes for name in classes])
    return tuple(
        decide_calibration(
            scores[known],
            np.array([name == bins.name for name in classes], dtype=np.float64)[known],
        ).calibration
        for bins, scores in zip(reference.scores, answers.scores, strict=True)
    )


def _label_table(reference: Reference, answers: Answers, labels: Sequence[Any]) -> LabelTable:
    known = [place for place, label in enumerate(labels) if not _is_missing(label)]
    some = Answers([scores[known] for scores in answers.scores], [answers.decisions[place] for place in known])
    return fold_labels(reference, some, [labels[place] for place in known])


def _is_missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))
