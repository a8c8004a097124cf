"""Policies: what is declared of inputs, frozen into the signature by which the data plane judges whoever asks."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from trivet.core.signature import Input, Signature


def with_policies(signature: Signature, declared: Collection[Input]) -> Signature:
    """Return `signature` with the bounds, categories, units and titles that are declared of inputs of the same name.

    Bounds and categories of training stay where nothing is declared, and what the model itself refuses stays refused.
    """
    by_name = {spec.name: spec for spec in declared}
    inputs = tuple(
        _frozen(spec, by_name[spec.name]) if spec.is_column and spec.name in by_name else spec
        for spec in signature.inputs
    )
    return msgspec.structs.replace(signature, inputs=inputs)


def _frozen(spec: Input, said: Input) -> Input:
    if (spec.datatype == "BYTES") != (said.datatype == "BYTES"):
        return spec
    spec = msgspec.structs.replace(spec, unit=said.unit or spec.unit, title=said.title or spec.title)
    if said.low is not None or said.high is not None:
        spec = msgspec.structs.replace(spec, low=said.low, high=said.high, outside=said.outside)
    if said.categories is not None and spec.unknown != "reject":
        spec = msgspec.structs.replace(spec, categories=said.categories, unknown=said.unknown)
    return spec
