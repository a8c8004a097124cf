"""Reconstruction: whether the numbers of a version still move together as they did in its reference.

The reference's principal components, those that keep 65 % of the variance of its standardised numbers, say of each row what is
to be expected of all its numbers from a few. What they miss of a row is its reconstruction error. The mean over rows is read
from moments alone: tr((I − VVᵀ)C), with V the components (d, k) and C = E[(z − μ)(z − μ)ᵀ], μ the reference's mean.

It is shown and decides nothing: a p-value that is valid would have to allow for rows that are ten deviations off in each number,
which are as large as anything that it should find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trivet.control.monitoring.estimates import Band, band
from trivet.core.profile.moments import Sums
from trivet.core.profile.profile import Profile
from trivet.core.profile.reference import Reference

KEPT_VARIANCE = 0.65  # living-models.md, section 2
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Reconstruction:
    """The reconstruction error of a window, in squared deviations a row: of `rows` rows, beside that of what it is compared with.

    `low` and `high` are what is usual in a piece of the reference as large as the window; None where its pieces are too few to
    say. An error is None where `reason` says why, or where the other side has no rows.
    """

    numbers: int  # features
    components: int
    kept_variance: float  # share
    rows: int
    error: float | None
    error_before: float | None
    low: float | None
    high: float | None
    reason: str = ""

    @property
    def is_usual(self) -> bool | None:
        """Whether the error is in its band; None where one of them is not known."""
        if self.error is None or self.low is None or self.high is None:
            return None
        return self.low <= self.error <= self.high


class Components:
    """The principal components of a reference's numbers."""

    def __init__(self, sums: Sums) -> None:
        """Take them from the sums of the reference's rows, of two numbers at least."""
        self.centre = sums.values / sums.rows
        variances, directions = np.linalg.eigh(_covariance(sums, self.centre))
        variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1]
        shares = np.cumsum(variances) / max(float(variances.sum()), TINY)
        enough = int(np.searchsorted(shares, KEPT_VARIANCE)) + 1
        self.kept = min(enough, len(variances) - 1)  # of all of them, nothing would be missed whatever comes
        self.kept_variance = float(shares[self.kept - 1])
        basis = directions[:, : self.kept]
        self._missed = np.eye(len(variances)) - basis @ basis.T

    def error(self, sums: Sums) -> float | None:
        """Return the mean squared error of reconstructing the rows of `sums`; None of no rows."""
        if sums.rows <= 0:
            return None
        return max(0.0, float(np.sum(self._missed * _covariance(sums, self.centre))))


def reconstruction(reference: Reference, current: Profile, before: Profile) -> Reconstruction | None:
    """Return the reconstruction error of `current`, beside that of `before`; None where there are no two numbers that vary."""
    layout = reference.layout
    of_reference = layout.sums_of_numbers(reference.whole)
    if not of_reference.rows:
        return None
    components, sums = Components(of_reference), layout.sums_of_numbers(current)
    usual = _usual(reference, components, sums.rows)
    error = components.error(sums)
    return Reconstruction(
        numbers=len(layout.moments.names),
        components=components.kept,
        kept_variance=components.kept_variance,
        rows=sums.rows,
        error=error,
        error_before=components.error(layout.sums_of_numbers(before)),
        low=usual.low if usual is not None else None,
        high=usual.high if usual is not None else None,
        reason="" if error is not None else "no row of this window has its numbers",
    )


def _usual(reference: Reference, components: Components, rows: int) -> Band | None:
    """Return the band of the error of reference pieces, wider for a window of fewer rows than they have."""
    pieces = [reference.layout.sums_of_numbers(chunk) for chunk in reference.chunks]
    found = band([error for sums in pieces if (error := components.error(sums)) is not None])
    if not isinstance(found, Band) or not rows:
        return None
    wider = math.sqrt(max(1.0, np.mean([sums.rows for sums in pieces]) / rows))
    return found._replace(
        low=max(0.0, found.mean - wider * (found.mean - found.low)),
        high=found.mean + wider * (found.high - found.mean),
    )


def _covariance(sums: Sums, centre: np.ndarray) -> np.ndarray:
    """Return E[(z − μ)(z − μ)ᵀ] of the rows of `sums` about `centre`: (d, d)."""
    crossed = np.outer(sums.values / sums.rows, centre)
    covariance: np.ndarray = sums.products / sums.rows - crossed - crossed.T + np.outer(centre, centre)
    return covariance
