"""What compiling an estimator, and serving it unchanged, begin with: it answers its sample. Needs no onnx."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd

import trivet
from trivet.core.errors import CompileError
from trivet.core.signature import Signature
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.sample import SAMPLE_ROWS
from trivet.model.compile.fields import Layout, layout_of
from trivet.model.compile.lowering import check_functions
from trivet.model.compile.original import Answers, Original, Target, check_fitted
from trivet.model.compile.parity import ROWS_TO_CALL_CONSTANT, check_tolerance, check_varies
from trivet.model.compile.report import DEFAULT_TOLERANCE, ParityReport, Speed
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
    first: Answers  # to the first rows of the sample

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
    _check_labels(original, labels)
    return Prepared(original, layout, frame, is_synthetic or sample is None, first_answers(original, frame))


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
    """Return the original's answers to the first sample rows, so that what cannot be served is refused at once."""
    rows = frame.head(SAMPLE_ROWS)
    try:
        answers = original.answers(rows)
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(f"the original itself refuses the sample: {error}") from error
    if len(rows) >= ROWS_TO_CALL_CONSTANT:
        check_varies(answers)
    return answers


def _check_labels(original: Original, labels: Any) -> None:
    if labels is None or original.classes is None:
        return
    known = set(original.classes.tolist())
    strange = next((value for value in np.asarray(labels, object).tolist() if value not in known), None)
    if strange is not None:
        raise CompileError(
            f"the label {strange!r} is no class of the model; it knows {', '.join(original.class_names[:30])}. "
            "Is it the right column?"
        )


def _versions(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
