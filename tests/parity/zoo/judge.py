"""Compares what a bundle answers with what the oracle says: the same tolerance as the gate, by its own arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.parity.zoo.hard import Rows

from trivet.core.signature import Signature

TOLERANCE = 1e-5
METHODS = {
    "label": "predict",
    "prediction": "predict",
    "probabilities": "predict_proba",
    "scores": "decision_function",
    "distances": "transform",
}


@dataclass
class Verdict:
    """`largest` is the largest absolute difference of a number over the rows; `wrong` says what may not be."""

    rows: int = 0
    kinds: set[str] = field(default_factory=set)
    largest: float = 0.0
    ties: int = 0
    wrong: list[str] = field(default_factory=list)


def judged(signature: Signature, groups: Sequence[tuple[Rows, Any]], said: Sequence[Any]) -> Verdict:
    """Return the verdict on a bundle's answers to `groups`, of which the oracle `said` something each."""
    verdict = Verdict()
    spread = _spread(said[0]) if signature.task == "regression" else 1.0
    for (group, answers), words in zip(groups, said, strict=True):
        where = f"{group.kind} {group.column or ''}".strip()
        if answers is None:
            continue
        verdict.rows += len(group.rows)
        verdict.kinds.add(group.kind)
        if isinstance(answers, str):
            if not isinstance(words, str):
                verdict.wrong.append(f"{where}: refused, though the original answers ({answers[:200]})")
            continue
        if isinstance(words, str):
            verdict.wrong.append(f"{where}: answered, though the original refuses ({words})")
            continue
        for output in signature.outputs:
            base, _, place = output.name.partition("_")
            theirs = _theirs(base, words, int(place) if place else None)
            ours = np.asarray(answers[output.name])
            if base == "label":
                _labels(verdict, where, ours, theirs, _numbers(signature, output.name, words, place))
            else:
                _values(verdict, f"{where}: {output.name}", ours, theirs, spread)
    return verdict


def _theirs(base: str, words: dict[str, Any], target: int | None) -> np.ndarray:
    found = words[METHODS[base]]
    if target is None:
        return found.reshape(-1) if base == "label" else found  # CatBoost's labels of three classes are a column
    if base == "probabilities":
        return found[target] if found.ndim == 3 else np.column_stack([1 - found[:, target], found[:, target]])
    return found[:, target]


def _numbers(signature: Signature, label: str, words: dict[str, Any], place: str) -> np.ndarray | None:
    """Return the oracle's numbers that decide `label`, where there are any."""
    for base in ("probabilities", "scores", "distances"):
        if signature.output(label.replace("label", base)) is not None:
            found = _theirs(base, words, int(place) if place else None).astype(float)
            return -found if base == "distances" else found
    return None


def _values(verdict: Verdict, where: str, ours: np.ndarray, theirs: np.ndarray, spread: float) -> None:
    ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1).astype(float)
    if ours.shape != theirs.shape:
        verdict.wrong.append(f"{where}: shape {ours.shape}, not {theirs.shape}")
        return
    with np.errstate(invalid="ignore"):
        off = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, np.abs(ours - theirs))
        allowed = TOLERANCE * (spread + np.abs(theirs))
        bad = ~(off <= np.where(np.isfinite(allowed), allowed, 0.0))
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        verdict.wrong.append(f"{where}: {int(bad.any(axis=1).sum())} rows off, row {row} {ours[row]} not {theirs[row]}")
    else:
        verdict.largest = max(verdict.largest, float(off.max()))


def _labels(verdict: Verdict, where: str, ours: np.ndarray, theirs: np.ndarray, numbers: np.ndarray | None) -> None:
    differs = np.array([_plain(a) != _plain(b) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)])
    if not differs.any():
        return
    if numbers is not None:
        close = _close(numbers)
        verdict.ties += int((differs & close).sum())
        differs &= ~close
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        verdict.wrong.append(f"{where}: {int(differs.sum())} labels differ, row {row} {ours[row]} not {theirs[row]}")


def _close(numbers: np.ndarray) -> np.ndarray:
    """Return where the original itself hardly decides: its best two within twice the tolerance."""
    if numbers.ndim == 1 or numbers.shape[1] == 1:
        return np.abs(numbers.reshape(-1)) <= TOLERANCE
    best = np.sort(numbers, axis=1)
    return best[:, -1] - best[:, -2] <= 2 * TOLERANCE


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else str(int(value))


def _spread(words: Any) -> float:
    return float(np.std(words["predict"])) if isinstance(words, dict) else 1.0
