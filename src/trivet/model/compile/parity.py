"""The parity gate: original and compiled graph answer the same rows, and no decision may differ. Nothing turns it off."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trivet.core.errors import CompileError, ParityFailed
from trivet.model.compile.fields import Layout
from trivet.model.compile.original import DISTANCES, Answers, Original, Target
from trivet.model.compile.report import MOST_TOLERANCE, ParityReport
from trivet.model.compile.rows import GateRows

NATIVE_SECONDS = 60.0  # how long the original may take over all rows; what is left then is cut
CHUNK_ROWS = 2_000
WORST_ROWS = 20
BATCHES = (1, 2, 7, 64)  # answers must not depend on their neighbours
BATCH_TOLERANCE = 1e-6  # of float32; sums of doubles only differ by the order in which they were added up
DOUBLE_BATCH_TOLERANCE = 1e-12
ROWS_TO_CALL_CONSTANT = 2
NOISE = 1e-12

Compiled = Callable[[pd.DataFrame], Answers]


def check_tolerance(tolerance: float) -> None:
    """Raise `CompileError` unless 0 < `tolerance` <= 1e-3."""
    if not 0 < tolerance <= MOST_TOLERANCE:
        raise CompileError(f"tolerance {tolerance:g} is outside what is allowed: above 0, at most {MOST_TOLERANCE:g}.")


def check_varies(answers: Answers) -> None:
    """Raise `CompileError` when all rows of `answers` are the same: a model that decides nothing."""
    labels = answers.labels
    if np.all(answers.values == answers.values[0]) and (labels is None or np.all(labels == labels[0])):
        raise CompileError("constant output: it answers the same for every row of the sample. Nothing to serve.")


def run_gate(
    original: Original,
    compiled: Compiled,
    layout: Layout,
    rows: GateRows,
    *,
    tolerance: float,
    synthetic: bool,
    batch_tolerance: float = BATCH_TOLERANCE,
) -> ParityReport:
    """Return the report of a passed gate. Rows that the original refuses are left out and counted: see `check_refusals`.

    Raises `ParityFailed`, with the worst rows, when an answer is off by more than the tolerance or a decision differs;
    `CompileError` when the original refuses a sample row, answers NaN, contradicts itself, or answers the same always.
    """
    refusals: list[str] = []
    kept, native, cut = _native_answers(original, rows, refusals)
    frame = rows.frame.iloc[kept].reset_index(drop=True)
    kinds = rows.kinds[kept]
    sample_rows = int((kinds == "sample").sum())
    _check_native(original, frame, native, sample_rows)
    shipped = compiled(frame)
    if shipped.values.shape != native.values.shape:
        raise CompileError(f"the graph answers {shipped.values.shape[1]} values a row, not {native.values.shape[1]}.")
    difference, allowed, size = _differences(native.values, shipped.values, original, sample_rows, tolerance)
    relative = difference / size
    targets = original.targets(native)
    label_off, ties = _label_differences(targets, native, shipped, original.threshold, tolerance)
    bad = (difference > allowed) | label_off
    report = ParityReport(
        rows=len(frame),
        by_kind=Counter(kinds.tolist()),
        synthetic=synthetic,
        largest=_without_noise(float(relative.max())),
        p999=_without_noise(float(np.quantile(relative, 0.999, method="higher"))),
        labels_differ=int(label_off.sum()),
        ties=int(ties.sum()),
        failed_rows=int(bad.sum()),
        tolerance=tolerance,
        refused_rows=len(refusals),
        refused=refusals[0] if refusals else "",
        cut_rows=cut + rows.left_out,
        worst=_Compared(layout, frame, kinds, native, shipped, difference, bad).worst(),
    )
    if bad.any():
        raise ParityFailed(report.failure(), report.worst)
    _Steadiness(targets, original.threshold, shipped, batch_tolerance).check(compiled, frame)
    return report


def _without_noise(difference: float) -> float:
    """Return `difference`, or 0 below 1e-12: there it only tells how many threads the original's libraries used."""
    return difference if difference >= NOISE else 0.0


def _native_answers(original: Original, rows: GateRows, refusals: list[str]) -> tuple[np.ndarray, Answers, int]:
    """Return the places that the original answered, its answers, and how many rows were cut for time."""
    places: list[np.ndarray] = []
    answers: list[Answers] = []
    deadline = time.monotonic() + NATIVE_SECONDS
    cut = 0
    for start in range(0, len(rows.frame), CHUNK_ROWS):
        chunk = np.arange(start, min(start + CHUNK_ROWS, len(rows.frame)))
        if time.monotonic() > deadline and places:
            cut += len(chunk)
            continue
        for part, answer in _asked(original, rows, chunk, refusals):
            places.append(part)
            answers.append(answer)
    labels = None if answers[0].labels is None else np.concatenate([a.labels for a in answers if a.labels is not None])
    values = np.concatenate([a.values for a in answers])
    return np.concatenate(places), Answers(values, labels, answers[0].widths), cut


def _asked(
    original: Original, rows: GateRows, places: np.ndarray, refusals: list[str]
) -> list[tuple[np.ndarray, Answers]]:
    """Ask for `places`; when the original raises, find by halving which generated rows it refuses and leave them out."""
    try:
        return [(places, original.answers(rows.frame.iloc[places]))]
    except CompileError:
        raise
    except Exception as error:
        if len(places) == 1:
            if rows.kinds[places[0]] == "sample":
                raise CompileError(f"the original itself refuses row {places[0]} of the sample: {error}") from error
            told = (str(error) or type(error).__name__).splitlines()[0]
            refusals.append(f"{rows.kinds[places[0]]}: {told[:200]}")
            return []
        half = len(places) // 2
        return _asked(original, rows, places[:half], refusals) + _asked(original, rows, places[half:], refusals)


def _check_native(original: Original, frame: pd.DataFrame, native: Answers, sample_rows: int) -> None:
    own = native.values[:sample_rows]
    if not np.isfinite(own).all():
        place = int(np.flatnonzero(~np.isfinite(own).all(axis=1))[0])
        raise CompileError(f"the original answers NaN or infinity to row {place} of the sample.")
    check_varies(native.take(np.arange(sample_rows)) if sample_rows >= ROWS_TO_CALL_CONSTANT else native)
    asked = np.arange(min(sample_rows, CHUNK_ROWS))
    again, before = original.answers(frame.iloc[asked]), native.take(asked)
    is_same = np.allclose(again.values, before.values, rtol=NOISE, atol=NOISE)
    if again.labels is not None and before.labels is not None:
        is_same = is_same and bool((again.labels == before.labels).all())
    if not is_same:
        raise CompileError("the original contradicts itself: asked twice, it answers the same rows differently.")


def _differences(
    native: np.ndarray, shipped: np.ndarray, original: Original, sample_rows: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's largest difference, what is allowed there, and 1 + |a|, which the report's figures are relative to.

    Allowed is T(1 + |a|), or T(sd + |a|) for a prediction.
    """
    if native.shape[1] == 0:  # a label alone
        return np.zeros(len(native)), np.zeros(len(native)), np.ones(len(native))
    unit = 1.0 if original.task != "regression" else native[: max(sample_rows, 1)].std(axis=0)
    with np.errstate(invalid="ignore"):
        off = np.abs(native - shipped)
    same = (native == shipped) | (np.isnan(native) & np.isnan(shipped))
    off = np.where(same, 0.0, np.where(np.isfinite(off), off, np.inf))
    sizes = np.where(np.isfinite(native), np.abs(native), 0.0)
    allowed = tolerance * (unit + sizes)
    column = np.argmax(off - allowed, axis=1)
    place = np.arange(len(off))
    return off[place, column], allowed[place, column], 1.0 + sizes[place, column]


def _label_differences(
    targets: Sequence[Target], native: Answers, shipped: Answers, threshold: float | None, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return where a decision differs, and where one only differs because the original's best two are a tie (within 2T)."""
    off, ties = np.zeros(len(native.values), bool), np.zeros(len(native.values), bool)
    if native.labels is None or shipped.labels is None:
        return off, ties
    one, other = (answers.labels.reshape(len(off), -1) for answers in (native, shipped) if answers.labels is not None)
    for place, target in enumerate(targets):
        differs = one[:, place] != other[:, place]
        close = _is_tie(target, native.values[:, target.columns], threshold, tolerance)
        off |= differs & ~close
        ties |= differs & close
    return off, ties & ~off


def _is_tie(target: Target, values: np.ndarray, threshold: float | None, tolerance: float) -> np.ndarray:
    """Return where `target`'s decision hangs on less than the tolerance; nowhere without numbers to tell by."""
    if target.width == 0 or target.labels is None:
        return np.zeros(len(values), bool)
    if threshold is not None or target.width == 1:
        near: np.ndarray = np.abs(values[:, -1] - (threshold or 0.0)) <= tolerance
    else:
        best = np.sort(-values if target.numbers == DISTANCES else values, axis=1)
        near = best[:, -1] - best[:, -2] <= 2 * tolerance
    return near


@dataclass(frozen=True)
class _Compared:
    """The rows that both answered, and where they differ; all of one length."""

    layout: Layout
    frame: pd.DataFrame
    kinds: np.ndarray
    native: Answers
    shipped: Answers
    difference: np.ndarray
    bad: np.ndarray

    def worst(self) -> tuple[dict[str, Any], ...]:
        """Return the worst rows: those that fail first, then by difference."""
        order = np.lexsort((-self.difference, ~self.bad))[:WORST_ROWS]
        return tuple(self._row(int(place)) for place in order)

    def _row(self, place: int) -> dict[str, Any]:
        native, shipped = self.native.values[place], self.shipped.values[place]
        column = None
        if native.size:
            with np.errstate(invalid="ignore"):
                column = int(np.argmax(np.nan_to_num(np.abs(native - shipped), nan=np.inf)))
        row = {
            "row": place,
            "kind": str(self.kinds[place]),
            "native": None if column is None else float(native[column]),
            "compiled": None if column is None else float(shipped[column]),
            "difference": float(self.difference[place]),
            "inputs": {name: _bare(self.frame[name].iloc[place]) for name in self.layout.names},
        }
        if self.native.labels is not None and self.shipped.labels is not None:
            row["native_label"] = _bare(self.native.labels[place])
            row["compiled_label"] = _bare(self.shipped.labels[place])
        return row


def _bare(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # the labels of several targets
        return ", ".join(str(_bare(label)) for label in value.tolist())
    plain = value.item() if isinstance(value, np.generic) else value
    return None if plain is None or (isinstance(plain, float) and np.isnan(plain)) else plain


@dataclass(frozen=True)
class _Steadiness:
    """What a graph answered to all rows at once, and how far other batches may be from it."""

    targets: Sequence[Target]
    threshold: float | None
    whole: Answers
    tolerance: float

    def check(self, compiled: Compiled, frame: pd.DataFrame) -> None:
        """Raise unless the graph answers the same asked again, with rows shuffled, and in batches of 1, 2, 7 and 64."""
        rng = np.random.default_rng(len(frame))
        everything = np.arange(len(frame))
        self._check_same(compiled(frame), everything, "when it is asked again")
        order = rng.permutation(len(frame))
        self._check_same(compiled(frame.iloc[order]), order, "when rows are shuffled")
        for size in BATCHES:
            places = rng.choice(everything, size=min(max(size, 32), len(frame)), replace=False)
            for start in range(0, len(places), size):
                batch = places[start : start + size]
                self._check_same(compiled(frame.iloc[batch]), batch, f"in batches of {size}")

    def _check_same(self, answers: Answers, places: np.ndarray, when: str) -> None:
        expected = self.whole.take(places)
        same = np.isclose(answers.values, expected.values, rtol=self.tolerance, atol=self.tolerance, equal_nan=True)
        changed, _ = _label_differences(self.targets, expected, answers, self.threshold, self.tolerance)
        if not same.all() or changed.any():
            raise ParityFailed(f"the graph's answers depend on their neighbours: they change {when}.")


def check_refusals(report: ParityReport) -> None:
    """Raise `CompileError` where the original refused a row that the signature lets pass: a graph would answer it."""
    if report.refused_rows:
        raise CompileError(
            f"the original refuses {report.refused_rows} of the rows it was tried with, and a graph would answer them: "
            f"{report.refused}"
        )
