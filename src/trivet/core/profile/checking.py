"""What a reference has to be before anything is counted by it, where a stranger may have made it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

import numpy as np

from trivet.core.decisions import PROBABILITIES, SCORES
from trivet.core.errors import BundleError
from trivet.core.profile.bins import (
    COMMON_VALUES,
    KNOWN_VALUES,
    Bins,
    BooleanBins,
    CategoryBins,
    FeatureCounts,
    NumericBins,
    TextBins,
)
from trivet.core.profile.labels import ERROR_SUMS, LabelTable, decode_labels, empty_labels
from trivet.core.profile.layout import Layout
from trivet.core.profile.losses import LEAST_LABELS, WHY_NONE, are_sums
from trivet.core.profile.making import MOST_CLASSES, class_names, counted_features
from trivet.core.profile.moments import FARTHEST
from trivet.core.profile.profile import Profile, decode_profile
from trivet.core.profile.reference import REGRESSION, Reference, decode_reference
from trivet.core.profile.scores import BINARY_BINS, ScoreBins
from trivet.core.signature import Input, Signature

MOST_BYTES = 16 * 1024**2  # chosen: a thousand numbers in twenty pieces take 5 MB
MOST_CHUNKS = 400  # chosen: a year of days
MOST_NUMERIC_BINS = 256
ROUNDING = 1e-9  # relative, of what is compared in floating point
_KINDS: dict[str, tuple[type[Bins], ...]] = {"BYTES": (CategoryBins, TextBins), "BOOL": (BooleanBins,)}


def check_reference(data: bytes, signature: Signature, uncounted: Collection[str] = ()) -> Reference:
    """Return the reference in `data`, which is to be one of `signature`, made without the inputs or columns `uncounted`.

    Raises `BundleError` for what is larger than 16 MiB, or counts other features or classes, or what no rows amount to:
    whoever counts by it later takes its word for nothing.
    """
    if len(data) > MOST_BYTES:
        raise BundleError(f"a reference profile has {len(data)} bytes; at most {MOST_BYTES} are taken.")
    reference = decode_reference(data)
    _check_features(reference.features, counted_features(signature, uncounted))
    _check_answers(reference, signature)
    _check_profile(reference, reference.whole)
    if len(reference.chunks_bytes) > MOST_CHUNKS:
        raise BundleError(f"a reference profile has {len(reference.chunks_bytes)} pieces; at most {MOST_CHUNKS} are.")
    for chunk in reference.chunks_bytes:
        _check_profile(reference, decode_profile(chunk))
    _check_labels(reference)
    _check_loss(reference)
    if reference.calibrations and (
        len(reference.calibrations) != len(reference.scores) or not reference.classes or not reference.labels_bytes
    ):
        raise BundleError("a reference profile has calibrations of something else than classes with labels.")
    _check_importance(reference)
    return reference


def _check_features(features: Sequence[Bins], expected: Sequence[tuple[Input, str]]) -> None:
    if [bins.name for bins in features] != [name for _, name in expected]:
        raise BundleError("a reference profile counts other features than the signature has.")
    for bins, (spec, _) in zip(features, expected, strict=True):
        if not isinstance(bins, _KINDS.get(spec.datatype, (NumericBins,))) or not _is_sound(bins):
            raise BundleError(f"a reference profile counts {bins.name!r} in bins that a {spec.datatype} does not have.")


def _check_importance(reference: Reference) -> None:
    shares = reference.importance
    if not shares:
        return
    if len(shares) != len(reference.features) or min(shares) < 0 or not abs(sum(shares) - 1) <= ROUNDING:
        raise BundleError("a reference profile has an importance of its features that are no shares of one whole.")


def _is_sound(bins: Bins) -> bool:
    if isinstance(bins, NumericBins):
        return (
            len(bins.edges) < MOST_NUMERIC_BINS
            and bins.low <= bins.high
            and _ascend(bins.edges)
            and bool(np.isfinite((*bins.edges, bins.low, bins.high, bins.mean, bins.deviation)).all())
        )
    if isinstance(bins, CategoryBins):
        return len(bins.common) <= COMMON_VALUES and len(bins.others) <= KNOWN_VALUES and _ascend(bins.others)
    return True


def _ascend(values: Iterable[float]) -> bool:
    return all(before < after for before, after in pairwise(values))


def _check_answers(reference: Reference, signature: Signature) -> None:
    """Raise unless classes, decisions and scores are of the signature."""
    names = {output.name for output in signature.outputs}
    is_of_classes = signature.task == "classification" and bool(names & {PROBABILITIES, SCORES})
    if reference.classes != (class_names(signature, len(reference.classes)) if is_of_classes else ()):
        raise BundleError("a reference profile has other classes than the signature.")
    decisions, scores = reference.decisions, reference.scores
    if decisions is not None and (len(decisions.common) > MOST_CLASSES or not _is_sound(decisions)):
        raise BundleError("a reference profile counts decisions that there are not.")
    known = reference.classes if is_of_classes else names if signature.task != "classification" else ()
    found = [bins.name for bins in scores]
    if len(set(found)) < len(found) or not set(found) <= set(known) or not all(map(_is_score, scores)):
        raise BundleError("a reference profile counts scores that the signature does not have.")
    if any(bins.is_of_class is not is_of_classes for bins in scores) or (is_of_classes and len(scores) > MOST_CLASSES):
        raise BundleError("a reference profile counts scores otherwise than they are.")


def _is_score(bins: ScoreBins) -> bool:
    numbers = (*bins.edges, bins.unit)
    return len(bins.edges) < BINARY_BINS and _ascend(bins.edges) and bool(np.isfinite(numbers).all()) and bins.unit > 0


def _check_profile(reference: Reference, profile: Profile) -> None:
    layout = reference.layout
    if not layout.fits(profile):
        raise BundleError("a piece of a reference profile does not fit its bins.")
    if profile.rows < 1 or profile.cells.min(initial=0) < 0:
        raise BundleError("a reference profile counts rows that there are not.")
    counts: list[FeatureCounts] = [count for _, count in layout.features(profile)]
    if any(count.rows != profile.rows for count in counts):
        raise BundleError("the features of a reference profile count different rows.")
    if any(int(layout.score(profile, number)[0].sum()) != profile.rows for number in range(len(reference.scores))):
        raise BundleError("the scores of a reference profile count different rows.")
    _check_moments(layout, profile)
    if not are_sums(profile.losses, profile.rows):
        raise BundleError("a reference profile has sums of expected errors that no rows have.")


def _check_moments(layout: Layout, profile: Profile) -> None:
    """Raise unless the moments are of all its rows, and what rows may amount to."""
    if not layout.moments.width:
        return
    rows, values, products = layout.sums_of_numbers(profile)
    squares = products.diagonal()
    if rows != profile.rows or squares.min() < 0.0 or squares.max() > rows * FARTHEST**2:
        raise BundleError("a reference profile has sums of squares that no rows have.")
    most = 1.0 + ROUNDING
    if (products**2 > np.outer(squares, squares) * most).any() or (values**2 > squares * rows * most).any():
        raise BundleError("a reference profile has sums of products that no rows have.")


def _check_labels(reference: Reference) -> None:
    pieces = len(reference.chunk_labels_bytes)
    if pieces not in (0, len(reference.chunks_bytes)) or (pieces and not reference.labels_bytes):
        raise BundleError("a reference profile has labels of other pieces than its rows.")
    tables = (reference.labels_bytes, *reference.chunk_labels_bytes) if reference.labels_bytes else ()
    for table in map(decode_labels, tables):
        _check_table(reference, table)
    if reference.labels is not None and not 1 <= reference.labels.labels <= reference.whole.rows:
        raise BundleError("a reference profile has more labels than rows, or none.")


def _check_table(reference: Reference, table: LabelTable) -> None:
    empty = empty_labels(reference)
    fits = len(table.cells) == len(empty.cells) and len(table.errors) == len(empty.errors)
    if not fits or any(len(sums) != ERROR_SUMS for sums in table.errors):
        raise BundleError("the labels of a reference profile do not fit its bins.")
    if table.labels < 0 or table.cells.min(initial=0) < 0:
        raise BundleError("a reference profile counts labels that there are not.")


def _check_loss(reference: Reference) -> None:
    """Raise unless what is said of a loss model may be so, and errors are expected exactly where there is one."""
    loss, profiles = reference.loss, (reference.whole, *reference.chunks)
    if reference.no_loss and (loss is not None or reference.no_loss not in WHY_NONE):
        raise BundleError("a reference profile does not say why no errors are expected.")
    if any(bool(profile.losses) is (loss is None) for profile in profiles):
        raise BundleError("a reference profile expects errors of some of its pieces alone.")
    if loss is None:
        return
    labels = reference.labels.labels if reference.labels is not None else 0
    is_sound = LEAST_LABELS <= loss.rows <= labels and loss.explained <= 1.0 <= loss.kurtosis
    if reference.task != REGRESSION or not is_sound or not np.isfinite((loss.explained, loss.kurtosis)).all():
        raise BundleError("a reference profile has a loss model that there is not.")
