"""What is declared of inputs, frozen into a signature."""

from __future__ import annotations

from typing import Any

from trivet.core.policies import with_policies
from trivet.core.signature import Input, Signature


def column(name: str, datatype: str = "FP64", **said: Any) -> Input:
    return Input(name=name, datatype=datatype, shape=(-1, 1), **said)


def frozen(trained: Input, *declared: Input) -> Input:
    (spec,) = with_policies(Signature(inputs=(trained,), outputs=()), declared).inputs
    return spec


def test_bounds_that_are_declared_stand_in_place_of_those_of_training():
    trained = column("seats", "INT64", low=1, high=40)
    assert frozen(trained, column("seats", low=0, outside="reject", unit="seats", title="Seats")) == column(
        "seats", "INT64", low=0, outside="reject", unit="seats", title="Seats"
    )
    assert frozen(trained, column("seats", unit="seats")) == column("seats", "INT64", low=1, high=40, unit="seats")
    assert frozen(trained, column("other", low=0)) == frozen(trained) == trained


def test_choices_that_are_declared_stand_in_place_of_those_of_training_unless_the_model_refuses_others():
    said = column("plan", "BYTES", categories=("free", "pro", "team"), unknown="missing")
    assert frozen(column("plan", "BYTES", categories=("free", "pro")), said) == said
    strict = column("plan", "BYTES", categories=("free", "pro"), unknown="reject")
    assert frozen(strict, said) == strict
    assert frozen(column("plan", categories=None), said).categories is None  # of another sort


def test_a_matrix_has_no_policies_of_its_columns():
    matrix = Input(name="x", datatype="FP64", shape=(-1, 2), columns=("seats", "plan"))
    assert frozen(matrix, column("x", low=0)) == matrix
