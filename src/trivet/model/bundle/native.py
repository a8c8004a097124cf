"""Native: how a trained object that runs unchanged is asked. Part of the manifest of a bundle that was not compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from trivet.core.errors import BundleError
from trivet.core.signature import Signature

Method = Literal["predict", "predict_proba", "decision_function", "score_samples", "transform"]
Gap = Literal["nan", "none"]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One column of the table that the object is given: an input of the signature, in this place."""

    name: str
    datatype: Literal["FP64", "INT64", "BOOL", "BYTES"]
    gap: Gap = "nan"  # what a missing word is in it; a missing number is NaN


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where one output comes from: a method of the object, and what is taken of its answer.

    Several targets answer with a list, of which `item` is taken, or with an array, of which `column` is; a column that
    `is_of_two` is the probability of a label's being set, and becomes those of both.
    """

    output: str
    method: Method
    item: int | None = None
    column: int | None = None
    is_of_two: bool = False


class Native(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a native runtime must know besides the file: the table or matrix it makes of tensors, and what it asks then.

    Without `columns` the object takes the one input of the signature as it is: a matrix of FP64, or texts. `kind` is
    for formats that do not say whether they classify. `accepted_types` are types of a skops file on no list of ours
    that a person accepted.
    """

    answers: tuple[Asked, ...]
    columns: tuple[Column, ...] = ()
    kind: Literal["classifier", "regressor"] | None = None
    accepted_types: tuple[str, ...] = ()


def check_native(native: Native, signature: Signature) -> None:
    """Raise `BundleError` unless `native` takes the inputs of `signature`, in order, and gives all its outputs once."""
    if [asked.output for asked in native.answers] != [output.name for output in signature.outputs]:
        raise BundleError("the manifest says of other outputs how they are asked for than its signature has.")
    if not native.columns:
        fits = len(signature.inputs) == 1 and _stands_alone(signature.inputs[0].datatype, signature.inputs[0].shape)
    else:
        taken = [(column.name, column.datatype) for column in native.columns]
        fits = taken == [(spec.name, spec.datatype) for spec in signature.inputs]
        fits = fits and all(spec.is_column for spec in signature.inputs)
    if not fits:
        raise BundleError("the manifest makes a table of other inputs than its signature has.")


def _stands_alone(datatype: str, shape: Sequence[int]) -> bool:
    """Tell whether it is a matrix, or a text a row."""
    return (datatype, len(shape)) in (("FP64", 2), ("BYTES", 1))
