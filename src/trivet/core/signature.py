"""What a version takes and gives: named tensors, their datatypes, shapes, bounds and known values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from trivet.core.datatypes import MISSABLE, MISSING_TEXT
from trivet.core.errors import did_you_mean, quoted

Unknown = Literal["pass", "missing", "reject"]
Outside = Literal["flag", "clip", "reject"]
Task = Literal["classification", "regression", "outlier", "cluster", "tensors"]


class Input(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One input tensor. A table has one per column, of shape `(-1, 1)`; a matrix is one of shape `(-1, n)`."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: any; the first -1 is the row dimension
    nullable: bool = False  # NaN in a float tensor, `missing` in a BYTES one
    optional: bool = False
    finite: bool = True  # False lifts the refusal of infinities
    categories: tuple[str, ...] | None = None  # values seen in training
    unknown: Unknown = "pass"  # what happens to a value outside `categories`
    low: float | None = None  # smallest and largest value seen in training, in `unit`
    high: float | None = None
    outside: Outside = "flag"  # what happens to a value outside low..high
    unit: str = ""
    title: str = ""
    missing: str = MISSING_TEXT
    columns: tuple[str, ...] | None = None  # names of a matrix's columns, where it had any

    @property
    def is_column(self) -> bool:
        """True for a tensor of shape `(-1, 1)`: one value a row."""
        return self.shape == (-1, 1)

    @property
    def may_be_left_out(self) -> bool:
        """True for an optional tensor whose datatype has a form of a missing value: each row then has that."""
        return self.optional and self.datatype in MISSABLE

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names a row may use for this tensor's values, in order."""
        if self.is_column or self.shape == (-1,):
            return (self.name,)
        if self.columns is not None:
            return self.columns
        width = self.shape[1] if len(self.shape) == 2 else 0
        return tuple(f"x{i}" for i in range(width))


class Output(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One output tensor: `label`, `probabilities`, `scores`, `prediction`, or a name of the graph's own."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    classes: tuple[str, ...] | None = None  # names of the last dimension's places
    unit: str = ""


class Signature(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, cache_hash=True):
    """What a version takes and gives, in the model's own order. Clients send names, never positions."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    task: Task = "tensors"
    threshold: float | None = None  # decision threshold of a two-class model, on its second class
    stochastic: bool = False  # the same inputs may give other outputs: then no answer is given twice

    @property
    def has_rows(self) -> bool:
        """True when every input's first dimension is free: then it is the row dimension, shared by all."""
        return all(i.shape and i.shape[0] == -1 for i in self.inputs)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of a row's fields, in the model's order."""
        return tuple(name for i in self.inputs for name in i.field_names)

    @property
    def lenient(self) -> Signature:
        """This signature as named rows meet it, and tensors some of which were left out: what may be is nullable.

        No input of it is optional: one that has no form of a missing value is required.
        """
        return msgspec.structs.replace(
            self,
            inputs=tuple(
                msgspec.structs.replace(i, optional=False, nullable=i.nullable or i.may_be_left_out)
                if i.optional
                else i
                for i in self.inputs
            ),
        )

    def output(self, name: str) -> Output | None:
        """Return the output called `name`, or None."""
        return next((o for o in self.outputs if o.name == name), None)


def input_changes(before: Signature, after: Signature) -> list[str]:
    """Return in what the inputs of `after` differ for whoever asks as `before` wants it: names, datatypes, shapes."""
    old, new = ({i.name: i for i in signature.inputs} for signature in (before, after))
    changes = [f"{name} is new" for name in new if name not in old]
    changes += [f"{name} is gone" for name in old if name not in new]
    for name in (name for name in new if name in old):
        now, was = ((i.datatype, list(i.shape)) for i in (new[name], old[name]))
        if now != was:
            changes.append(f"{name} is {now[0]} {now[1]}, was {was[0]} {was[1]}")
    return changes


NAMES_IN_A_MESSAGE = 30


def enumerate_names(names: Sequence[str]) -> str:
    """Return `names` joined for a message, cut after 30 of them."""
    shown = ", ".join(names[:NAMES_IN_A_MESSAGE])
    rest = len(names) - NAMES_IN_A_MESSAGE
    return f"{shown} and {rest} more" if rest > 0 else shown


def unknown_input(name: str, known: Sequence[str]) -> str:
    """Return the sentence for a name that is no input, with the closest of `known` and all that are expected."""
    return f"unknown input {quoted(name)}.{did_you_mean(name, known)} Expected: {enumerate_names(known)}."
