"""How well scores rank: areas under curves, from counts of positives and negatives by score.

Every function takes two arrays of shape (..., bins), the bins in ascending order of the score, of whole or expected
(fractional) counts that are not negative. It returns one number per leading axis, float64, NaN where a class that it
needs has no rows: who shows it to a person says why instead.
"""

from __future__ import annotations

import numpy as np


def area(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve, by the trapezoid rule: P(positive scores higher) + P(same bin) / 2.

    Where each score has a bin of its own this is the rank statistic exactly (Hanley and McNeil 1982); else see
    `area_binning_bound`.
    """
    positives, negatives = _floats(positives), _floats(negatives)
    return _ratio((positives * _up_to_half(negatives)).sum(-1), positives.sum(-1) * negatives.sum(-1))


def area_binning_bound(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return by how much `area` can differ, at most, from the area of the scores themselves: sum(P_b/P * N_b/N) / 2.

    Only pairs that share a bin are undecided; each counts as half, and is 0 or 1 in truth.
    """
    positives, negatives = _floats(positives), _floats(negatives)
    return _ratio((positives * negatives).sum(-1), 2 * positives.sum(-1) * negatives.sum(-1))


def area_error(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the standard error of `area` (DeLong, DeLong and Clarke-Pearson 1988, from counts).

    sqrt(sum P_b(v_b - A)^2 / (P(P - 1)) + sum N_b(w_b - A)^2 / (N(N - 1))), v_b the share of negatives below bin b, w_b
    that of positives above it, those of the bin itself by half. It assumes independent rows. NaN below two rows of
    either class; 0 where the classes do not overlap at all, which is no certainty.
    """
    positives, negatives = _floats(positives), _floats(negatives)
    all_positives, all_negatives = positives.sum(-1), negatives.sum(-1)
    a = area(positives, negatives)[..., None]
    v = _ratio(_up_to_half(negatives), all_negatives[..., None])
    w = _ratio(_up_to_half(positives[..., ::-1])[..., ::-1], all_positives[..., None])
    of_positives = _ratio((positives * (v - a) ** 2).sum(-1), all_positives * np.maximum(all_positives - 1, 0))
    of_negatives = _ratio((negatives * (w - a) ** 2).sum(-1), all_negatives * np.maximum(all_negatives - 1, 0))
    error: np.ndarray = np.sqrt(of_positives + of_negatives)
    return error


def average_precision(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the average precision: from the highest bin down the sum of (TPR_b - TPR_b-1) * precision_b."""
    positives, negatives = _floats(positives)[..., ::-1], _floats(negatives)[..., ::-1]
    found = positives.cumsum(-1)
    precision = _ratio(found, found + negatives.cumsum(-1))
    return _ratio(np.where(positives > 0, positives * precision, 0.0).sum(-1), found[..., -1])


def average_precision_binning_bound(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return by how much `average_precision` can differ, at most, from that of the scores themselves.

    Within a bin the precision at a positive is at least TP_before / (TP_before + FP) and at most TP / (TP + FP_before),
    TP and FP counted from the highest bin down to this one, `before` without it; which of the two is further off.
    """
    positives, negatives = _floats(positives)[..., ::-1], _floats(negatives)[..., ::-1]
    found, wrong = positives.cumsum(-1), negatives.cumsum(-1)
    found_before, wrong_before = found - positives, wrong - negatives
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = found / (found + wrong)
        above = np.where(positives > 0, found / (found + wrong_before) - precision, 0.0)
        below = np.where(positives > 0, precision - found_before / np.maximum(found_before + wrong, positives), 0.0)
    share = _ratio(positives, found[..., -1:])
    bound: np.ndarray = np.maximum((share * above).sum(-1), (share * below).sum(-1))
    return bound


def _floats(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts, dtype=np.float64)


def _up_to_half(counts: np.ndarray) -> np.ndarray:
    """Return how many lie below each bin, those of the bin itself counted by half."""
    up_to: np.ndarray = counts.cumsum(-1) - counts / 2
    return up_to


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, NaN where the whole is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
