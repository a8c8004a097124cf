"""Messages to corridor and back: a ModelInferRequest becomes an `InferRequest`, an `Answer` a ModelInferResponse.

Raw contents stay bytes; typed ones become lists, as JSON would have brought them. Either way the same validation judges
them, so a request by gRPC answers with the bits of the same request by REST.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from trivet.core.datatypes import DATATYPES, MAX_ELEMENT_BYTES, NO_JSON, WIRE_DTYPES
from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.frontends.grpc.descriptor import inference
from trivet.dataplane.protocol.decode import MAX_INPUTS, MAX_OUTPUTS, check_request
from trivet.dataplane.protocol.encode import answer_parameters
from trivet.dataplane.protocol.messages import (
    Answer,
    InferRequest,
    OutputTensor,
    RawTensor,
    RequestedOutput,
    Scalar,
    Tensor,
)
from trivet.dataplane.protocol.parameters import MAX_PARAMETERS
from trivet.dataplane.protocol.raw import raw_bytes

Message = Any  # what protobuf makes at run time has no type to name
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
INT64 = range(-(2**63), 2**63)
ONE_VALUE = ([1, 1], [1])
FEW_BYTES = 1024
_LAYOUTS = {
    "INT8": struct.Struct("<b"),
    "INT16": struct.Struct("<h"),
    "INT32": struct.Struct("<i"),
    "INT64": struct.Struct("<q"),
    "UINT8": struct.Struct("<B"),
    "UINT16": struct.Struct("<H"),
    "UINT32": struct.Struct("<I"),
    "UINT64": struct.Struct("<Q"),
    "FP32": struct.Struct("<f"),
    "FP64": struct.Struct("<d"),
}


# --- requests -------------------------------------------------------------------------------------------------------


def read_request(message: Message, *, ignored: frozenset[str] = frozenset()) -> InferRequest:
    """Return the request in a ModelInferRequest, without the parameters that are `ignored`; raises `InvalidRequest`.

    With any raw input all are raw; what is ordinary of them becomes a list as well. Of what there is too much
    of, one more than may be is read, so that it is refused without being built.
    """
    model = message.model_name
    inputs = _raw_inputs(message, model) if message.raw_input_contents else _typed_inputs(message, model)
    wanted = message.outputs[: MAX_OUTPUTS + 1]
    outputs = [RequestedOutput(output.name, _parameters(output.parameters)) for output in wanted]
    parameters = _parameters(message.parameters, ignored)
    request = InferRequest(inputs, message.id or None, parameters, outputs or None)
    check_request(request, model)
    return request


def _raw_inputs(message: Message, model: str) -> list[Tensor | RawTensor]:
    contents = message.raw_input_contents
    if len(contents) != len(message.inputs):
        raise InvalidRequest(
            f"{model}: {len(contents)} raw_input_contents for {len(message.inputs)} inputs; each has one.",
            code="BINARY_SIZE",
        )
    tensors: list[Tensor | RawTensor] = []
    for tensor, data in zip(message.inputs[: MAX_INPUTS + 1], contents[: MAX_INPUTS + 1], strict=True):
        if tensor.HasField("contents"):
            raise InvalidRequest(
                f"{model}: input {quoted(tensor.name)} has typed contents beside raw ones; send all in one way.",
                code="BINARY_SIZE",
            )
        raw = RawTensor(tensor.name, _shape(tensor, model), tensor.datatype, data, _parameters(tensor.parameters))
        tensors.append(_single(raw) or raw)
    return tensors


def _single(raw: RawTensor) -> Tensor | None:
    """Return the tensor of one ordinary value as a list, for one row is checked faster so; None for any other."""
    data = bytes(raw.data)
    if raw.shape not in ONE_VALUE:
        return None
    value: Any
    if layout := _LAYOUTS.get(raw.datatype):
        if len(data) != layout.size:
            return None
        (value,) = layout.unpack(data)
        if not math.isfinite(value):
            return None
    elif raw.datatype != "BYTES" or len(data) - 4 != int.from_bytes(data[:4], "little") or len(data) > FEW_BYTES:
        return None
    else:
        try:
            value = data[4:].decode()
        except UnicodeDecodeError:
            return None
    return Tensor(raw.name, raw.shape, raw.datatype, [value], raw.parameters)


def _typed_inputs(message: Message, model: str) -> list[Tensor | RawTensor]:
    return [_typed(tensor, model) for tensor in message.inputs[: MAX_INPUTS + 1]]


def _typed(tensor: Message, model: str) -> Tensor | RawTensor:
    name, datatype, shape = tensor.name, tensor.datatype, _shape(tensor, model)
    field = _field_of(tensor, model)
    values = list(getattr(tensor.contents, field))
    parameters = _parameters(tensor.parameters)
    if field.startswith("fp") and not math.isfinite(sum(values)):  # a NaN counts as null, infinities may be refused
        data = np.array(values, dtype=WIRE_DTYPES[datatype]).tobytes()
        return RawTensor(name, shape, datatype, data, parameters)
    if datatype in ("INT8", "INT16", "UINT8", "UINT16"):  # they travel in 32 bits
        _check_range(name, datatype, values, model)
    if datatype == "BYTES" and max(map(len, values), default=0) > MAX_ELEMENT_BYTES:
        raise InvalidRequest(
            f"{model}: input {quoted(name)}: an element has over {MAX_ELEMENT_BYTES} bytes.", code="TOO_MANY"
        )
    if datatype == "BYTES":
        with suppress(UnicodeDecodeError):  # what is no text is refused where the model's input is one
            values = [value.decode() for value in values]
    return Tensor(name, shape, datatype, values, parameters)


def _field_of(tensor: Message, model: str) -> str:
    """Return the field that holds the values of `tensor`; raises `InvalidRequest` if there are values in another."""
    name, datatype = tensor.name, tensor.datatype
    if datatype in NO_JSON:
        raise InvalidRequest(
            f"{model}: input {quoted(name)}: {datatype} has no typed contents; send raw_input_contents.",
            code="BINARY_REQUIRED",
        )
    field = CONTENTS.get(datatype)
    if field is None:
        raise InvalidRequest(
            f"{model}: input {quoted(name)}: {quoted(datatype)} is no datatype; they are {', '.join(sorted(DATATYPES))}.",
            code="BAD_DATATYPE",
        )
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise InvalidRequest(
                f"{model}: input {quoted(name)} has {other.name}, but {datatype} stands in {field}.", code="WRONG_TYPE"
            )
    return field


def _check_range(name: str, datatype: str, values: Sequence[int], model: str) -> None:
    bounds = np.iinfo(WIRE_DTYPES[datatype])
    for place, value in enumerate(values):
        if not bounds.min <= value <= bounds.max:
            raise InvalidRequest(
                f"{model}: input {quoted(name)}, element {place}: {value} does not fit {datatype}.",
                code="OUT_OF_RANGE",
                field=name,
            )


def _shape(tensor: Message, model: str) -> list[int]:
    shape = list(tensor.shape)
    if any(dimension < 0 for dimension in shape):
        raise InvalidRequest(
            f"{model}: input {quoted(tensor.name)}: a dimension of {quoted(shape)} is negative.", code="BAD_SHAPE"
        )
    return shape


def _parameters(given: Mapping[str, Message], ignored: frozenset[str] = frozenset()) -> dict[str, Scalar] | None:
    if not given:
        return None
    return {
        name: _scalar(name, value) for name, value in islice(given.items(), MAX_PARAMETERS + 1) if name not in ignored
    }


def _scalar(name: str, parameter: Message) -> Scalar:
    choice = parameter.WhichOneof("choice")
    value: Scalar = getattr(parameter, choice) if choice else None
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"parameter {quoted(name)} is not a finite number.", code="BAD_PARAMETER")
    return value


# --- answers --------------------------------------------------------------------------------------------------------


def write_answer(answer: Answer, *, is_raw: bool) -> Message:
    """Return the ModelInferResponse of `answer`, raw or typed; raw also where an output has no typed form."""
    is_raw = is_raw or any(output.datatype in NO_JSON for output in answer.outputs)
    message = inference.ModelInferResponse(
        model_name=answer.model, model_version=str(answer.version), id=answer.id or ""
    )
    _set_parameters(message.parameters, answer_parameters(answer))
    for output, array in zip(answer.outputs, answer.arrays, strict=True):
        tensor = message.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if output.parameters:
            _set_parameters(tensor.parameters, output.parameters)
        if is_raw:
            message.raw_output_contents.append(raw_bytes(array, output.datatype))
        else:
            getattr(tensor.contents, CONTENTS[output.datatype]).extend(_values(output, array))
    return message


def _values(output: OutputTensor, array: np.ndarray) -> list[Any]:
    values: list[Any] = array.ravel().tolist()
    if output.datatype == "BYTES":
        return [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return values


def _set_parameters(parameters: Mapping[str, Message], values: Mapping[str, Scalar]) -> None:
    for name, value in values.items():
        if value is not None:
            setattr(parameters[name], _choice(value), value)


def _choice(value: Scalar) -> str:
    if isinstance(value, bool):
        return "bool_param"
    if isinstance(value, int):
        return "int64_param" if value in INT64 else "uint64_param"
    return "string_param" if isinstance(value, str) else "double_param"
