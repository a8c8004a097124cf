"""Laws of the wire: JSON, binary tensors and raw requests of the same values are the same request."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from tests.unit.dataplane.echo import EchoWorld, binary, parts, tensor
from trivet.core.datatypes import MISSING_TEXT, NO_JSON, NUMPY_DTYPES, WIRE_DTYPES
from trivet.core.errors import InvalidRequest
from trivet.core.signature import Input, Signature
from trivet.dataplane.protocol.decode import decode_infer
from trivet.dataplane.protocol.messages import RawTensor
from trivet.dataplane.protocol.raw import frame, raw_bytes, unframe, values_told
from trivet.dataplane.validation.plan import Plan
from trivet.dataplane.validation.tensors import validate

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=MISSING_TEXT), max_size=20)
JSON_DATATYPES = sorted(NUMPY_DTYPES.keys() - NO_JSON)


@st.composite
def inputs(draw: st.DrawFn) -> tuple[Input, np.ndarray]:
    """Return an input of any datatype and shape JSON can carry, and values for it; NaN where it may be missing."""
    datatype = draw(st.sampled_from(JSON_DATATYPES))
    rest = draw(st.sampled_from([(1,), (3,), (-1,), (2, 2), (2, -1), ()]))
    shape = (draw(st.integers(1, 4)), *(draw(st.integers(1, 3)) if size == -1 else size for size in rest))
    nullable = datatype in ("FP32", "FP64") and draw(st.booleans())
    if datatype == "BYTES":
        values = draw(arrays.arrays(object, shape, elements=TEXT))
    elif datatype in ("FP32", "FP64"):
        width = NUMPY_DTYPES[datatype].itemsize * 8
        elements = st.floats(width=width, allow_nan=nullable, allow_infinity=False)
        values = draw(arrays.arrays(NUMPY_DTYPES[datatype], shape, elements=elements))
    else:
        values = draw(arrays.arrays(NUMPY_DTYPES[datatype], shape))
    return Input(name="x", datatype=datatype, shape=(-1, *rest), nullable=nullable), values


def as_json(values: np.ndarray, *, nested: bool) -> list[Any]:
    def plain(value: Any) -> Any:
        return [plain(v) for v in value] if isinstance(value, list) else None if value != value else value  # noqa: PLR0124

    return plain(values.tolist() if nested else values.ravel().tolist())


@settings(max_examples=60, deadline=None)
@given(inputs())
def test_json_binary_and_raw_are_the_same_arrays_and_the_same_answer(given_input: tuple[Input, np.ndarray]):
    spec, values = given_input
    head, data = binary("x", spec.datatype, values)
    with tempfile.TemporaryDirectory() as folder:
        world = EchoWorld(Path(folder), spec)
        seen, answers = [], []
        for nested in (False, True):
            body = {"inputs": [tensor("x", spec.datatype, as_json(values, nested=nested), values.shape)]}
            answers.append(parts(world.send(body=body))[0]["outputs"])
            seen.append(world.seen["x"])
        answers.append(parts(world.mixed({"inputs": [head]}, data))[0]["outputs"])
        seen.append(world.seen["x"])
        if len(values) == 1 and spec.shape.count(-1) <= 2 and spec.datatype != "BYTES":
            response = world.send(body=data, headers={"inference-header-content-length": "0"})
            seen.append(world.seen["x"])
            assert parts(response)[1] == {"x": data}
        _, tensors = parts(world.mixed({"inputs": [head], "parameters": {"binary_data_output": True}}, data))
        assert tensors == {"x": data} or np.isnan(values.astype(float)).any()
    for array in seen:
        assert (array.dtype, array.shape) == (NUMPY_DTYPES[spec.datatype], values.shape)
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, values)
    assert all(answer == answers[0] for answer in answers)


@given(st.lists(st.binary(max_size=50)))
def test_framed_elements_are_read_back(elements: list[bytes]):
    assert unframe(frame(elements), len(elements)) == elements
    told = RawTensor("x", [len(elements)], "BYTES", frame(elements))
    assert values_told(told) == elements


@given(st.binary(max_size=60), st.integers(0, 8))
def test_what_is_read_as_framed_elements_is_exactly_those_bytes(data: bytes, count: int):
    try:
        elements = unframe(data, count)
    except InvalidRequest as refusal:
        assert refusal.code in ("BINARY_SIZE", "TOO_MANY")  # noqa: PT017  (most bytes are no elements)
    else:
        assert (frame(elements), len(elements)) == (data, count)


@given(arrays.arrays(np.uint32, 50))
def test_bfloat16_is_rounded_to_the_nearest_and_read_back_exactly(bits: np.ndarray):
    numbers = bits.view(np.float32)
    words = np.frombuffer(raw_bytes(numbers, "BF16"), WIRE_DTYPES["BF16"])
    read = np.array(values_told(RawTensor("x", [50], "BF16", words.tobytes())), np.float32)
    assert np.array_equal(np.isnan(read), np.isnan(numbers))
    assert raw_bytes(read, "BF16") == words.tobytes() or np.isnan(read).any()
    finite = np.isfinite(read) & np.isfinite(numbers)
    below, above = (words[finite].astype(np.int64) + step for step in (-1, 1))
    for neighbour in (below, above):
        other = (np.clip(neighbour, 0, 0xFFFF).astype(np.uint32) << 16).view(np.float32)
        nearer = np.abs(other.astype(np.float64) - numbers[finite]) < np.abs(
            read[finite].astype(np.float64) - numbers[finite]
        )
        assert not nearer.any()


@pytest.mark.parametrize("datatype", JSON_DATATYPES)
def test_a_column_takes_the_quick_way_and_the_general_way_to_the_same_array(datatype: str):
    value = {"BYTES": "a", "BOOL": True}.get(datatype, 7)
    plan = Plan(Signature(inputs=(Input(name="x", datatype=datatype, shape=(-1, 1)),), outputs=()), 10)
    (quick, general) = (
        validate(plan, decode_infer(body, "m").inputs, "m").feed["x"]
        for body in (
            b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"%s","data":[%s]}]}' % (datatype.encode(), text)
            for text in (_json(value), b"[" + _json(value) + b"]")
        )
    )
    assert quick.dtype == general.dtype == NUMPY_DTYPES[datatype]
    assert quick.tolist() == general.tolist() == [[value]]


def _json(value: Any) -> bytes:
    return {"a": b'"a"', True: b"true", 7: b"7"}[value]
