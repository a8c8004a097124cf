"""When to tell somebody: evidence is added up window by window, and an alarm has a budget instead of a threshold.

For each series of a model M ← e·(1 + M), with e the window's evidence: the form of Shiryaev and Roberts of an e-detector
(Shin, Ramdas and Rinaldo, New England Journal of Statistics in Data Science 2, 2024, arXiv 2203.03532). The alarm is when the
mean of M over all series reaches the budget c, a number of windows.

Why it holds: while nothing drifts, each e has at most the mean 1 given the past, so the mean of M grows by at most one a
window on average, and whatever reaches c took c windows on average. A mean does not ask how series depend on each other. With
M set to zero at each alarm, at most T / c alarms are expected in T windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trivet.control.monitoring.evidence import log_e

NOTHING = -math.inf  # ln M before the first window
CEILING = 1_000.0  # in K·c: M is held below it, which only delays, so that it falls again within a day or so
QUIET_BELOW = 2.0  # mean of M; with p = 1 throughout it rests at 1
QUIET_WINDOWS = 24  # in a row, after which an alert is over


@dataclass(frozen=True)
class Evidence:
    """What is kept of a model between windows: ln M of each series by name, and how many windows were judged, and were quiet.

    A new one, of no series, is what an alert that was acknowledged, another reference or another version begins with. A
    series that joins later begins with no evidence; one must not be left out before that, or the mean of the others would
    rise.
    """

    log_m: Mapping[str, float | None] = field(default_factory=dict)  # None before its first window
    windows: int = 0
    quiet_windows: int = 0


@dataclass(frozen=True)
class Verdict:
    """What one window says of a model: `mean_evidence`, which reads as "3.1 of 2,160", against the `budget` in windows."""

    mean_evidence: float
    budget: float
    is_alarm: bool
    is_quiet: bool
    is_over: bool  # quiet for so long that an alert resolves
    named: tuple[str, ...]  # the series to name, by M × importance, the largest first; empty without an alarm


def tick(
    evidence: Evidence, log_p: Mapping[str, float | None], budget: float, importance: Mapping[str, float] | None = None
) -> tuple[Evidence, Verdict]:
    """Return the evidence after a window, and what it says.

    `log_p` is ln p of each series; of one that is `None` or missing nothing was seen, and its M stays. `budget` is the number
    of windows in which at most one false alarm is expected. `importance` is a share by name of series; one that has none
    counts fully.
    """
    names = [*evidence.log_m, *(name for name in log_p if name not in evidence.log_m)]
    before = np.array([NOTHING if m is None else m for m in map(evidence.log_m.get, names)])
    after = before.copy()
    seen = np.array([log_p.get(name) is not None for name in names], dtype=bool)
    new = np.array([p for p in map(log_p.get, names) if p is not None], dtype=np.float64)
    after[seen] = add(before[seen], log_e(new), math.log(CEILING * len(names) * budget) if names else 0.0)
    mean = float(mean_of(after)) if names else 0.0
    is_quiet = mean < QUIET_BELOW
    quiet_windows = evidence.quiet_windows + 1 if is_quiet else 0
    log_m = dict(zip(names, after.tolist(), strict=True))
    is_alarm = mean >= budget
    verdict = Verdict(
        mean_evidence=mean,
        budget=budget,
        is_alarm=is_alarm,
        is_quiet=is_quiet,
        is_over=quiet_windows >= QUIET_WINDOWS,
        named=_named(log_m, log_p, budget, importance or {}) if is_alarm else (),
    )
    kept = {name: None if m == NOTHING else m for name, m in log_m.items()}
    return Evidence(kept, evidence.windows + 1, quiet_windows), verdict


def add(log_m: np.ndarray, new: np.ndarray, ceiling: float) -> np.ndarray:
    """Return ln of e·(1 + M), at most `ceiling`, from ln M and the window's `new` ln e; all in logarithms, of any shape."""
    return np.asarray(np.minimum(new + np.logaddexp(0.0, log_m), ceiling))


def mean_of(log_m: np.ndarray) -> np.ndarray:
    """Return the mean of M over the last axis, the series of a model."""
    return np.asarray(np.exp(log_m).mean(axis=-1))


def _named(
    log_m: Mapping[str, float], log_p: Mapping[str, float | None], budget: float, importance: Mapping[str, float]
) -> tuple[str, ...]:
    """Return the series that reach the budget alone, or else the one with the largest M; ties go by the window's own p."""
    reached = [name for name, m in log_m.items() if m >= math.log(budget)] or [max(log_m, key=lambda name: log_m[name])]

    def weight(name: str) -> tuple[float, float]:
        share = importance.get(name, 1.0)
        return log_m[name] + math.log(share) if share > 0.0 else NOTHING, -(log_p.get(name) or 0.0)

    return tuple(sorted(reached, key=weight, reverse=True))
