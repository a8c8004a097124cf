"""What compiling an estimator, and serving it unchanged, begin with: it answers its sample. Needs no onnx."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd

import trivet
from trivet.core.decisions import in_words
from trivet.core.errors import CompileError
from trivet.core.profile.labels import class_of, is_guess
from trivet.core.signature import Signature
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.sample import SAMPLE_ROWS
from trivet.model.compile.fields import Layout, layout_of
from trivet.model.compile.lowering import check_functions
from trivet.model.compile.original import Answers, Original, Target, check_fitted
from trivet.model.compile.parity import ROWS_TO_CALL_CONSTANT, check_tolerance, check_varies
from trivet.model.compile.report import DEFAULT_TOLERANCE, ParityReport, Speed
from trivet.model.compile.rows import spread
from trivet.model.compile.synthetic import synthetic_sample


@dataclass(frozen=True)
class Compiled:
    """A compiled model: its bundle, the proof that it answers as the original, and what a row costs."""

    bundle: Bundle
    parity: ParityReport
    speed: Speed

    @property
    def signature(self) -> Signature:
        """What the version takes and gives."""
        return self.bundle.signature


@dataclass(frozen=True)
class Prepared:
    """A fitted estimator that answered its sample: what compiling it, or serving it as it is, begins with."""

    original: Original
    layout: Layout
    frame: pd.DataFrame  # the sample, in the layout
    is_synthetic: bool
    first: Answers  # to some rows of the sample
    truths: list[Any] | None = None  # what turned out true of each row of the sample, where that was given

    @property
    def targets(self) -> tuple[Target, ...]:
        """What the model says of a row."""
        return self.original.targets(self.first)


def prepare(
    model: Any,
    *,
    sample: pd.DataFrame | pd.Series | np.ndarray | list[str] | None = None,
    labels: Any = None,
    tolerance: float = DEFAULT_TOLERANCE,
    is_synthetic: bool = False,
) -> Prepared:
    """Return fitted `model` with its sample, after it answered the first rows; the arguments are `compile_model`'s.

    Raises `CompileError` for what can be served in no way: not fitted, a sample that does not fit, a constant answer.
    """
    check_tolerance(tolerance)
    check_fitted(model)
    check_functions(model)
    layout, frame = layout_of(model, synthetic_sample(model) if sample is None else sample)
    original = Original(model, takes_matrix=layout.is_matrix, takes_texts=layout.is_text)
    is_synthetic = is_synthetic or sample is None
    truths = truths_of(labels, None if is_synthetic else len(frame))
    check_truths(original.class_names if original.classes is not None else (), truths)
    return Prepared(original, layout, frame, is_synthetic, first_answers(original, frame), truths)


def environment() -> dict[str, str]:
    """Return the versions of what compiles here, which the manifest records."""
    versions = {"python": ".".join(platform.python_version_tuple()[:2]), "trivet": trivet.__version__}
    return versions | _versions("skl2onnx", "onnx")


def source_of(model: Any) -> dict[str, Any]:
    """Return what the manifest says of the trained object: library, class, and the versions found here."""
    kind = type(model)
    library = kind.__module__.split(".")[0]
    named = {"sklearn": "scikit-learn", "xgboost": "xgboost", "lightgbm": "lightgbm"}.get(library, library)
    installed = _versions("scikit-learn", "numpy") | (_versions(named) or _versions(f"{named}-cpu"))
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "kind": library,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "opened_with": {"python": python} | installed,
    }


def first_answers(original: Original, frame: pd.DataFrame) -> Answers:
    """Return the original's answers to some sample rows, so that what cannot be served is refused at once."""
    rows = spread(frame, SAMPLE_ROWS)
    try:
        answers = original.answers(rows)
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(f"the original itself refuses the sample: {error}") from error
    if len(rows) >= ROWS_TO_CALL_CONSTANT:
        check_varies(answers)
    return answers


def truths_of(labels: Any, rows: int | None) -> list[Any] | None:
    """Return `labels` as plain values, None for a missing one; those of several targets are one text a row.

    Raises `CompileError` unless there is one for each of `rows`, where these are given.
    """
    if labels is None:
        return None
    array = np.asarray(labels, object)
    if rows is not None and (array.ndim == 0 or len(array) != rows):
        raise CompileError(f"{len(np.atleast_1d(array))} labels for {rows} rows of the sample: give one for each.")
    if array.ndim > 1 and array.shape[1] != 1:
        return [", ".join(in_words(_plain(value)) for value in row) for row in array.reshape(len(array), -1)]
    return [_plain(value) for value in array.ravel()]


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def check_truths(classes: Sequence[str], truths: Sequence[Any] | None) -> None:
    """Raise `CompileError` where none of the labels is one of `classes`: it is another column; or where one may be either.

    Some that are none are counted as what they are.
    """
    known = [truth for truth in truths or () if truth is not None]
    if classes and known and not any(class_of(truth, classes) in classes for truth in known):
        named = ", ".join(classes[:30])
        raise CompileError(
            f"the label {known[0]!r} is no class of the model; it knows {named}. Is it the right column?"
        )
    guess = next((truth for truth in known if is_guess(truth, classes)), None)
    if guess is not None:
        words = " or ".join(classes)
        raise CompileError(f"the label {in_words(guess)!r} of the sample may be either of two classes: write {words}.")


def _versions(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
