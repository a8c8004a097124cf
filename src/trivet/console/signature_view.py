"""What a version takes and gives, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from trivet.console.figures import between
from trivet.console.words import TASKS, enumerated
from trivet.core.signature import Input, Output, Signature

CATEGORIES_SHOWN = 8


@dataclass(frozen=True)
class SignatureView:
    """What a version takes and gives."""

    task: str
    inputs: tuple[InputRow, ...]
    outputs: tuple[OutputRow, ...]
    has_units: bool


@dataclass(frozen=True)
class InputRow:
    """One input of the signature."""

    name: str
    title: str
    datatype: str
    shape: str
    unit: str
    seen: str
    outside: str
    is_nullable: bool


@dataclass(frozen=True)
class OutputRow:
    """One output of the signature."""

    name: str
    datatype: str
    shape: str
    unit: str
    classes: str


def signature_view(signature: Signature) -> SignatureView:
    """Return `signature` as the page tells it."""
    return SignatureView(
        task=str(TASKS.get(signature.task, signature.task)),
        inputs=tuple(_input(tensor) for tensor in signature.inputs),
        outputs=tuple(_output(tensor) for tensor in signature.outputs),
        has_units=any(i.unit for i in signature.inputs) or any(o.unit for o in signature.outputs),
    )


def _input(tensor: Input) -> InputRow:
    policy = tensor.unknown if tensor.categories else tensor.outside
    policies = {
        "pass": _("flagged"),
        "missing": _("taken as missing"),
        "reject": _("refused"),
        "flag": _("flagged"),
        "clip": _("clipped"),
    }
    seen = _seen(tensor)
    return InputRow(
        name=tensor.name,
        title=tensor.title,
        datatype=tensor.datatype,
        shape="" if tensor.is_column else _shape(tensor.shape),
        unit=tensor.unit,
        seen=seen,
        outside=policies[policy] if seen and not tensor.columns else "",
        is_nullable=tensor.nullable,
    )


def _seen(tensor: Input) -> str:
    """Return the values seen in training, or the names of a matrix's columns."""
    if tensor.categories:
        return enumerated(tensor.categories, CATEGORIES_SHOWN)
    if tensor.columns:
        return _("columns %(names)s") % {"names": enumerated(tensor.columns, CATEGORIES_SHOWN)}
    return between(tensor.low, tensor.high)


def _output(tensor: Output) -> OutputRow:
    return OutputRow(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=_shape(tensor.shape),
        unit=tensor.unit,
        classes=enumerated(tensor.classes, CATEGORIES_SHOWN) if tensor.classes else "",
    )


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(
        _("rows") if place == 0 and size == -1 else _("any") if size == -1 else str(size)
        for place, size in enumerate(shape)
    )
