"""Does reality agree with the estimate? A bet against it, label by label, that may be looked at any time.

Each matured label has a loss, and the estimate said which loss was to be expected. The null hypothesis: on average the
loss is at most `tolerance` worse than that, given all that came before. Whoever bets against a true one multiplies
their money by 1/α with probability at most α, ever (Ville); so much money is evidence. One such bet is one-sided; an
estimate has two against it (`BothSides`), for one that is too low is as wrong as one that is too high.

A label that is corrected after it was bet on is not taken back: evidence is of what was known when it was weighed.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

from trivet.control.monitoring.estimates import calibrated
from trivet.control.monitoring.evidence import REFERENCE_ERROR
from trivet.control.monitoring.tails import clopper_pearson_upper
from trivet.control.monitoring.truths import Truths
from trivet.core.calibration import Calibration

ALPHA = 0.01  # chance that an estimate which is right is ever called not trusted
TOLERANCE = 0.01  # of the mean loss: what is not worth a person's time
ENOUGH_LABELS = 200  # below it nothing speaks for the estimate yet
FIRST_SQUARE = 0.25  # one label's worth of the largest variance that a loss of 0 or 1 has: the first bets are small


class Verdict(StrEnum):
    """What is to be thought of the estimate."""

    TRUSTED = "trusted"
    NOT_TRUSTED = "not trusted"
    UNKNOWN = "unknown"


class Side(StrEnum):
    """In which direction reality differs from the estimate."""

    MORE = "more"  # rows are wrong than was estimated
    FEWER = "fewer"


class Trust(msgspec.Struct, frozen=True):
    """The evidence so far against "the loss is as estimated, or at most `tolerance` worse".

    A betting e-process (Waudby-Smith and Ramdas 2024): `log_e` is the logarithm of the money, `log_cusum` that of its form
    for perpetual use, M ← e·max(1, M), in which what was lost before is forgotten, so that what changes late is found as fast
    as what changes early (the CUSUM form of an e-detector: Shin, Ramdas and Rinaldo, arXiv 2203.03532). `count`, `sum_x` and
    `sum_sq` say how to bet next; `labels` were seen.
    """

    tolerance: float = TOLERANCE
    log_e: float = 0.0
    log_cusum: float = -math.inf
    count: float = 1.0
    sum_x: float = 0.0
    sum_sq: float = FIRST_SQUARE
    labels: int = 0

    def __post_init__(self) -> None:
        """Refuse a tolerance that is no loss."""
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"A tolerance is between 0 and 1, not {self.tolerance}.")

    @property
    def bet(self) -> float:
        """The share of the money that is put on the next block: μ / (v + μ²) of the past, from 0 to 1 / (2(1 +
        tolerance)).
        """
        mean, variance = self.sum_x / self.count, self.sum_sq / self.count
        return min(max(mean / (variance + mean * mean), 0.0), 0.5 / (1 + self.tolerance))

    def update(self, differences: np.ndarray, counts: np.ndarray | None = None) -> Trust:
        """Return the evidence after a block of labels; a block is one label, or a cohort.

        `differences` are loss minus expected loss, within −1 and 1, in any shape; `counts` in the same shape says how
        many labels each is of, one where it is None. The bet is fixed within a block, so the order in it is of no
        matter, and an empty block changes nothing. What is in a block may not depend on how its labels turned out.
        Raises `ValueError` for a difference that is no such number, or a negative count.
        """
        d = np.asarray(differences, dtype=np.float64)
        n = np.ones(d.shape) if counts is None else np.asarray(counts, dtype=np.float64)
        d, n = d[n != 0], n[n != 0]
        if not (np.abs(d) <= 1).all() or not (n > 0).all():
            raise ValueError("Differences of losses are within -1 and 1, and counts are not negative.")
        if not len(d):
            return self
        x = d - self.tolerance
        gain, labels = float((n * np.log1p(self.bet * x)).sum()), float(n.sum())
        return Trust(
            self.tolerance,
            self.log_e + gain,
            gain + max(self.log_cusum, 0.0),
            self.count + labels,
            self.sum_x + float((n * x).sum()),
            self.sum_sq + float((n * (x - self.sum_x / self.count) ** 2).sum()),
            self.labels + round(labels),
        )

    def faded(self, share: float) -> Trust:
        """Return the evidence as it is a block later: bets go by `share` of what was seen, and where none is made, M fades.

        Bets may follow any rule that looks at the past alone, and evidence may be thrown away, so what is left is as valid as
        before. One that forgets bets again soon after a time in which there was nothing to win.
        """
        is_idle = self.bet <= 0.0 < self.log_cusum
        return msgspec.structs.replace(
            self,
            log_cusum=self.log_cusum * share if is_idle else self.log_cusum,
            count=1.0 + (self.count - 1.0) * share,
            sum_x=self.sum_x * share,
            sum_sq=FIRST_SQUARE + (self.sum_sq - FIRST_SQUARE) * share,
        )

    def is_changed(self, budget: float) -> bool:
        """Return whether the form for perpetual use has reached `budget`, in blocks.

        Under the null that takes as many blocks or more, on average, however often it has happened before.
        """
        return self.log_cusum >= math.log(budget)

    def standing(self, budget: float, *, need: int = ENOUGH_LABELS) -> Verdict:
        """Return the verdict for perpetual use: by what changes now, whatever was won or lost long ago."""
        if self.is_changed(budget):
            return Verdict.NOT_TRUSTED
        return Verdict.TRUSTED if self.labels >= need else Verdict.UNKNOWN


class BothSides(NamedTuple):
    """Two bets against one estimate: that `more` rows are wrong than it says, and that `fewer` are, by over the tolerance.

    Each side is found when its M reaches **twice** the budget; then a right estimate is called not trusted once in so many
    blocks as the budget says, or more seldom, by both sides together. For let R ← e·(1 + R), beginning at 0, be the form of
    Shiryaev and Roberts of a side. M ≤ R always, and R less the number of blocks is a supermartingale where the side's null is
    true. Where both are, so is the mean of both R less the number of blocks, however the sides depend on each other; and at the
    block T at which either M reaches twice the budget, that mean is at least the budget, as no R is below 0. So budget ≤ E[T]
    (optional stopping, as in Shin, Ramdas and Rinaldo, arXiv 2203.03532, 3.1). Where one null is false, the alarm is none.
    """

    more: Trust
    fewer: Trust

    def update(self, differences: np.ndarray, counts: np.ndarray | None = None) -> BothSides:
        """Return the evidence after a block of labels, as `Trust.update` takes it: both sides bet on the same one."""
        return BothSides(self.more.update(differences, counts), self.fewer.update(-np.asarray(differences), counts))

    def faded(self, share: float) -> BothSides:
        """Return both as they are a block later."""
        return BothSides(self.more.faded(share), self.fewer.faded(share))

    def limit(self, budget: float) -> float:
        """Return what the money of one side has to reach, so that both together keep `budget`, in blocks."""
        return len(self) * budget

    def side(self, budget: float) -> Side | None:
        """Return where reality differs from the estimate; None where nothing says so.

        Of two that have won, one a while ago, it is the one that bets now, and then the one with more money.
        """
        won = [side for side in Side if self.of(side).is_changed(self.limit(budget))]
        return max(won, key=lambda side: (self.of(side).bet > 0, self.of(side).log_cusum), default=None)

    def of(self, side: Side) -> Trust:
        """Return the bet of a side."""
        return self.more if side == Side.MORE else self.fewer

    def standing(self, budget: float, *, need: int = ENOUGH_LABELS) -> Verdict:
        """Return the verdict of both: not trusted where one says so, and unknown until `more` has seen `need` labels.

        The sides see the same labels; where one began later, as in a database of an earlier release, the verdict stays what it
        was until that one has something to say.
        """
        if self.side(budget) is not None:
            return Verdict.NOT_TRUSTED
        return self.more.standing(self.limit(budget), need=need)


def differences(
    scores: np.ndarray, predicted: np.ndarray, labels: np.ndarray, calibration: Calibration | None
) -> np.ndarray:
    """Return loss minus expected loss of each row, 0 for a right and 1 for a wrong one; all arrays of one shape, none missing.

    Raises `ValueError` where a calibrated score is no probability.
    """
    scores, predicted, labels = (np.asarray(part, dtype=np.float64) for part in (scores, predicted, labels))
    chances = calibrated(scores, calibration)
    gaps: np.ndarray = (predicted != labels) - np.where(predicted == 1, 1 - chances, chances)
    return gaps


def cells(table: Truths, calibration: Calibration | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences and counts of a cohort, for `Trust.update`.

    Both have shape (bins, 2, 2): bin, predicted class, label; scores are the mean of the bin and predicted class.
    """
    scores, predicted, labels, counts = _cells(table)
    return differences(scores, predicted, labels, calibration), counts


def errors_against(wrong: int, labels: int, usual: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the same of a cohort in which `wrong` of `labels` rows were wrong, with `usual` as what is expected of every row.

    Evidence of this kind is against the version and not against its estimate: it is worse than it was at its push.
    """
    return np.array([1.0 - usual, -usual]), np.array([wrong, labels - wrong])


def usual_error(wrong: int, labels: int) -> float | None:
    """Return the share of rows that may be wrong of a version whose reference had `wrong` of `labels`; None below 200 labels.

    It is the upper end of what the reference's own population may have (Clopper–Pearson, 99.9 %): a reference is a sample, too,
    and one that was lucky must not make a version look worse for ever.
    """
    return clopper_pearson_upper(wrong, labels, REFERENCE_ERROR) if labels >= ENOUGH_LABELS else None


def _cells(table: Truths) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return score, predicted class, label and count of each cell, all of shape (bins, 2, 2)."""
    scores = np.stack([table.mean_scores] * 2, axis=-1)
    predicted, labels = np.broadcast_to([[0.0], [1.0]], scores.shape), np.broadcast_to([0.0, 1.0], scores.shape)
    return scores, predicted, labels, np.stack([table.negatives, table.positives], axis=-1)
