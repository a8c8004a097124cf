"""Outputs: in which form a request wants each: as JSON, as bytes, or as its largest classes (protocol, sections 7 and 12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from trivet.core.datatypes import NO_JSON
from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Output
from trivet.dataplane.protocol.messages import Answer, InferRequest, OutputTensor, RequestedOutput, RowsRequest

NOBODY: frozenset[str] = frozenset()


def binary_outputs(request: InferRequest, names: Sequence[str]) -> frozenset[str]:
    """Return which of the outputs `names` are wanted as bytes; what an output says of itself wins over the request."""
    if request.outputs is None and request.parameters is None:
        return NOBODY
    by_default = (request.parameters or {}).get("binary_data_output")
    own = {o.name: (o.parameters or {}).get("binary_data") for o in request.outputs or ()}
    return frozenset(name for name in names if (by_default if own.get(name) is None else own[name]))


def check_outputs(request: InferRequest, declared: Mapping[str, Output], model: str) -> None:
    """Raise `InvalidRequest` where an output is wanted in a form that it does not have: classes of texts, FP16 as JSON.

    `declared` are the version's outputs; what `request` names are among them.
    """
    names = [output.name for output in request.outputs or ()] or list(declared)
    as_classes = {output.name for output in request.outputs or () if _classes_wanted(output) is not None}
    for output in request.outputs or ():
        if output.name in as_classes:
            _check_classes(output, declared[output.name], model)
    if not request.takes_json:
        return
    for name in names:
        datatype = declared[name].datatype
        if datatype in NO_JSON and name not in as_classes and name not in binary_outputs(request, names):
            raise InvalidRequest(
                f"{model}: output {quoted(name)} is {datatype}, which has no JSON form; ask for it with binary_data.",
                code="BINARY_REQUIRED",
            )


def _check_classes(output: RequestedOutput, declared: Output, model: str) -> None:
    count = _classes_wanted(output) or 0
    if count < 1:
        raise InvalidRequest(f"{model}: classification is {count}; at least 1.", code="BAD_PARAMETER")
    if declared.datatype == "BYTES" or len(declared.shape) < 2:
        raise InvalidRequest(
            f"{model}: output {quoted(output.name)} has no classes: {declared.datatype} {list(declared.shape)}.",
            code="BAD_PARAMETER",
        )


def classified(answer: Answer, request: InferRequest | RowsRequest) -> Answer:
    """Return `answer` with the outputs that `request` wants so as texts, `<value>:<index>[:<class>]`, largest first.

    As many as asked for along the last dimension, or all there are; of equal values the lower index comes first, and
    NaN comes last. The other dimensions stay.
    """
    if not request.outputs or isinstance(request, RowsRequest):
        return answer
    counts = {output.name: count for output in request.outputs if (count := _classes_wanted(output)) is not None}
    if not counts:
        return answer
    outputs, arrays = list(answer.outputs), list(answer.arrays)
    for place, output in enumerate(outputs):
        if output.name in counts:
            declared = answer.signature.output(output.name)
            texts = _largest(arrays[place], counts[output.name], declared.classes if declared else None)
            arrays[place] = texts
            outputs[place] = OutputTensor(
                output.name, list(texts.shape), "BYTES", texts.ravel().tolist(), output.parameters
            )
    return msgspec.structs.replace(answer, outputs=outputs, arrays=arrays)


def _classes_wanted(output: RequestedOutput) -> int | None:
    """Return the parameter `classification` of an output, which is a whole number where there is one."""
    count = (output.parameters or {}).get("classification")
    return int(count) if count is not None else None


def _largest(array: np.ndarray, count: int, classes: tuple[str, ...] | None) -> np.ndarray:
    """Return an object array of shape `(..., n)`, n being the smaller of `count` and the last dimension."""
    flat = array.reshape(-1, array.shape[-1])
    names = classes if classes is not None and len(classes) == array.shape[-1] else None
    order = _descending(flat)[:, :count]
    texts = np.empty(order.shape, dtype=object)
    for row, places in enumerate(order.tolist()):
        for rank, place in enumerate(places):
            name = f":{names[place]}" if names else ""
            texts[row, rank] = f"{flat[row, place]:.6f}:{place}{name}"
    return texts.reshape(*array.shape[:-1], order.shape[1])


def _descending(values: np.ndarray) -> np.ndarray:
    """Return, per row, the places of the largest value, the second largest and so on."""
    if values.dtype.kind == "f":
        return np.argsort(-values, axis=1, kind="stable")
    ascending: np.ndarray = np.argsort(
        values[:, ::-1], axis=1, kind="stable"
    )  # negating may leave a whole number's range
    places: np.ndarray = values.shape[1] - 1 - ascending[:, ::-1]
    return places
