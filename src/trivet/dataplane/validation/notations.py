"""Rows in each notation, held against a signature: named values, and the bare rows of a model's only tensor."""

from __future__ import annotations

from typing import Any

from trivet.core.errors import InvalidRequest
from trivet.dataplane.protocol.messages import InstancesRequest, RowsRequest, Tensor
from trivet.dataplane.validation.plan import Plan, Validated
from trivet.dataplane.validation.rows import validate_rows
from trivet.dataplane.validation.tensors import validate


def fit_rows(plan: Plan, request: RowsRequest, model: str) -> Validated:
    """Return the arrays of `request`; raises `InvalidRequest`, or `InvalidRows` with each problem's row and field."""
    if isinstance(request, InstancesRequest):
        return validate(plan, [_tensor(plan, request.rows, model)], model)
    return validate_rows(plan, request.rows, model)


def _tensor(plan: Plan, instances: list[Any], model: str) -> Tensor:
    """Return the model's only tensor, of which each instance is a row. A scalar is a row of one element."""
    inputs = plan.signature.inputs
    if len(inputs) != 1 or not plan.signature.has_rows:
        raise InvalidRequest(
            f"{model}: this model takes {len(inputs)} inputs; send each instance as an object of them.",
            code="MISSING_INPUT",
        )
    (spec,) = inputs
    shape = [len(instances)]
    if not instances:
        shape += [max(size, 1) for size in spec.shape[1:]]
    elif isinstance(instances[0], list):
        part: Any = instances[0]
        while isinstance(part, list):
            shape.append(len(part))
            part = part[0] if part else None
    else:
        shape += [1] * (len(spec.shape) - 1)
    return Tensor(spec.name, shape, spec.datatype, instances)
