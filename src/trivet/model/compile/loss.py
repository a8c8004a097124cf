"""The loss model of a regression: learns from labelled rows how wrong an answer probably is, so that quality can be estimated
before any label comes (living-models.md, section 6.2).

Boosted trees on what the reference counts and the prediction, one for the absolute error and one for its square. What is said of
rows that it learned from is said by others that had not seen them (cross-fitting): of its own it knows too much.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.multioutput import MultiOutputRegressor
from threadpoolctl import threadpool_limits

from trivet.core.errors import BundleError, CompileError
from trivet.core.profile.layout import Columns
from trivet.core.profile.losses import FAILED, FEW, LEAST_LABELS, SLOW, Loss, loss_inputs
from trivet.core.profile.reference import Reference
from trivet.model.bundle.loss import LOSS_OPERATORS, MOST_LOSS_BYTES, MOST_LOSS_NODES, loss_signature
from trivet.model.compile.checks import check_graph
from trivet.model.compile.limits import seconds_left
from trivet.model.compile.preparing import prepare
from trivet.model.compile.proving import prove
from trivet.model.compile.report import DEFAULT_TOLERANCE, two_digits
from trivet.model.compile.rows import places
from trivet.model.runtimes.loss import LossModel

MOST_ROWS = 50_000  # learned from; of more, some are taken, spread evenly in their order
MOST_CELLS = 2_000_000  # 16 MB; all of it takes 5 s of one core then (m)
MOST_SECONDS = 30.0  # of a machine that has other things to do
FOLDS = 3  # chosen: each regressor of theirs learns from two thirds
SEED = 20_130_701
PROVED_ROWS = 1_000  # of the rows it learned from, for its gates

LEARNER = {"loss": "poisson", "max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 8, "early_stopping": False}
"""Small trees: by 20,000 rows of 20 features, of which one says how large errors are, they tell 96 % of that (m), trees of 15
leaves 91 %. With a Poisson loss, what is expected is above 0 and the mean of what comes."""


class Learned(NamedTuple):
    """A loss model: its graph, what is known of it, and what it expects of each row of the reference, (rows,)."""

    graph: bytes
    loss: Loss
    absolute: np.ndarray
    squared: np.ndarray


class NotLearned(Exception):
    """There is no loss model; `why` is a word of WHY_NONE."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def learn_loss(reference: Reference, columns: Columns, predictions: np.ndarray, truths: Sequence[Any]) -> Learned:
    """Return a loss model of the regression whose `reference` these rows make; `predictions` (rows,) are its answers.

    `truths` (rows,) are what turned out true, None where nobody knows. Takes one thread, some seconds, a few hundred MB. Raises
    `NotLearned` with why there is none: fewer than 2,000 labels, more than 30 seconds, a gate that it did not pass.
    """
    inputs = loss_inputs(reference.features, columns, predictions)
    errors = np.abs(predictions - _numbers(truths))
    known = np.flatnonzero(np.isfinite(errors))
    if inputs is None or len(known) < LEAST_LABELS:
        raise NotLearned(FEW)
    some = known[places(len(known), max(LEAST_LABELS, min(MOST_ROWS, MOST_CELLS // inputs.shape[1])))]
    try:
        with threadpool_limits(1):  # the same sums in the same order on every machine
            return _learned(inputs, errors, some, time.monotonic() + min(MOST_SECONDS, seconds_left() / 2))
    except NotLearned:
        raise
    except (CompileError, BundleError, ValueError, ArithmeticError, MemoryError):
        raise NotLearned(FAILED) from None


def _learned(inputs: np.ndarray, errors: np.ndarray, some: np.ndarray, deadline: float) -> Learned:
    targets = _Targets(errors[some])
    rows = inputs[some]
    unseen = np.empty((len(some), 2))
    folds = np.random.default_rng(SEED).permutation(len(some)) % FOLDS
    for fold in range(FOLDS):
        is_held = folds == fold
        unseen[is_held] = targets.learn(rows[~is_held], ~is_held, deadline).predict(rows[is_held])
    learner = targets.learn(rows, np.ones(len(some), bool), deadline)
    graph = _proved(learner, rows[places(len(rows), PROVED_ROWS)])
    expected = np.stack(LossModel.load(graph).expect(inputs), axis=1)
    expected[some] = unseen
    return Learned(graph, targets.known(unseen), expected[:, 0], expected[:, 1])


@dataclass(frozen=True)
class _Targets:
    """Absolute errors (rows,), and their squares."""

    errors: np.ndarray

    def learn(self, rows: np.ndarray, which: np.ndarray, deadline: float) -> MultiOutputRegressor:
        """Return what was learned from `rows`, those of `which`."""
        learner = MultiOutputRegressor(HistGradientBoostingRegressor())
        learner.estimators_ = list(self._fitted(rows, which, deadline))
        learner.n_features_in_ = rows.shape[1]
        return learner

    def _fitted(self, rows: np.ndarray, which: np.ndarray, deadline: float) -> Iterator[HistGradientBoostingRegressor]:
        """Yield a regressor of each target, of a scale of its own: a tree does not part what it takes for rounding."""
        least = max(20, len(rows) // 500)  # of a leaf: squares have long tails
        for target in (self.errors[which], self.errors[which] ** 2):
            if time.monotonic() > deadline:
                raise NotLearned(SLOW)
            scale = float(target.mean())
            if not 0.0 < scale < math.inf:
                raise NotLearned(FAILED)
            fitted = HistGradientBoostingRegressor(**LEARNER, min_samples_leaf=least, random_state=SEED)
            fitted.fit(rows, target / scale)
            fitted._baseline_prediction = fitted._baseline_prediction + math.log(
                scale
            )  # of a logarithm: its scale again
            yield fitted

    def known(self, unseen: np.ndarray) -> Loss:
        """Return how well `unseen` (rows, 2) tells them; in two digits, so that a digest does not hang on the last ones."""
        absolute, squared = unseen.T
        spread_of_errors = float(self.errors.var())
        left = float(np.square(self.errors - absolute).mean())
        fourth = float(np.mean(self.errors**4) / np.mean(squared**2))
        explained = 1.0 - left / spread_of_errors if spread_of_errors > 0 else 0.0
        if not np.isfinite((explained, fourth)).all():
            raise NotLearned(FAILED)
        return Loss(len(self.errors), two_digits(explained), max(two_digits(fourth), 1.0))


def _proved(learner: MultiOutputRegressor, rows: np.ndarray) -> bytes:
    """Return the graph of `learner` after the gates that every graph passes, and those of a loss model."""
    graph = prove(prepare(learner, sample=rows), tolerance=DEFAULT_TOLERANCE).graph
    facts = check_graph(graph, loss_signature(rows.shape[1] - 1))
    if facts.bytes > MOST_LOSS_BYTES or facts.nodes > MOST_LOSS_NODES or not LOSS_OPERATORS.issuperset(facts.operators):
        raise CompileError("the graph of a loss model is not what one is.")
    return graph


def _numbers(truths: Sequence[Any]) -> np.ndarray:
    """Return labels as numbers (rows,), NaN for what is none, as `error_sums` counts them."""
    return np.array(
        [float(t) if isinstance(t, int | float) and not isinstance(t, bool) else math.nan for t in truths],
        dtype=np.float64,
    )
