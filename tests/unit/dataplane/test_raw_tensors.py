"""Tensors as bytes mean what the same values mean as JSON, for every datatype."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from tests.unit.dataplane.world import SIGNATURE, World
from trivet.core.datatypes import MAX_ELEMENT_BYTES, NO_JSON, WIRE_DTYPES
from trivet.core.errors import InvalidRequest
from trivet.core.signature import Input, Signature
from trivet.dataplane.authentication import trusted
from trivet.dataplane.infer import enter, infer
from trivet.dataplane.protocol.messages import InferRequest, RawTensor, Tensor
from trivet.dataplane.validation.plan import Plan, Validated
from trivet.dataplane.validation.tensors import validate

EXAMPLES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "BYTES": ["", "Zürich", "nul \x00 in it"],
    "FP16": [0.5, -65504.0],
    "BF16": [1.0, -0.15625],
    "FP32": [0.1, 3.4028234663852886e38],
    "FP64": [0.1, -1.7976931348623157e308],
    **{
        name: [int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)]
        for name, dtype in WIRE_DTYPES.items()
        if dtype.kind in "iu" and name != "BF16"
    },
}


def framed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def raw_bytes(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        return framed(*(value.encode() for value in values))
    if datatype == "BF16":
        return (np.array(values, np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    return np.array(values, WIRE_DTYPES[datatype]).tobytes()


def take(spec: Input, tensor: Tensor | RawTensor) -> Validated:
    return validate(Plan(Signature(inputs=(spec,), outputs=()), max_rows=1024), [tensor], "m")


def raw(datatype: str, data: bytes, rows: int, **spec: Any) -> Validated:
    return take(
        Input(name="x", datatype=spec.pop("wanted", datatype), shape=(-1, 1), **spec),
        RawTensor("x", [rows, 1], datatype, data),
    )


@pytest.mark.parametrize("datatype", sorted(EXAMPLES))
def test_each_datatype_is_read_exactly(datatype: str):
    values = EXAMPLES[datatype]
    answer = raw(datatype, raw_bytes(datatype, values), len(values))
    if datatype in ("FP32", "FP16"):
        values = np.array(values, WIRE_DTYPES[datatype]).tolist()
    assert answer.feed["x"].ravel().tolist() == answer.columns[0] == values
    if datatype not in NO_JSON:
        spec = Input(name="x", datatype=datatype, shape=(-1, 1))
        json = take(spec, Tensor("x", [len(values), 1], datatype, values))
        np.testing.assert_array_equal(json.feed["x"], answer.feed["x"])
        assert json.feed["x"].dtype == answer.feed["x"].dtype


@pytest.mark.parametrize("surplus", [-1, 1])
@pytest.mark.parametrize("datatype", sorted(EXAMPLES))
def test_bytes_that_are_not_exactly_the_elements_are_refused(datatype: str, surplus: int):
    data = raw_bytes(datatype, EXAMPLES[datatype])
    data = data[:surplus] if surplus < 0 else data + b"\x00" * surplus
    with pytest.raises(InvalidRequest) as refusal:
        raw(datatype, data, len(EXAMPLES[datatype]))
    assert refusal.value.code == "BINARY_SIZE"


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff\xffab", b"\x03\x00\x00\x00ab", b"\x01\x00", framed(b"a"), framed(b"a", b"b", b"c")]
)
def test_lengths_that_lie_are_refused(data: bytes):
    with pytest.raises(InvalidRequest) as refusal:
        raw("BYTES", data, 2)
    assert refusal.value.code == "BINARY_SIZE"


def test_a_text_has_at_most_one_mebibyte_and_is_utf8():
    assert raw("BYTES", framed(b"x" * MAX_ELEMENT_BYTES), 1).columns == [["x" * MAX_ELEMENT_BYTES]]
    with pytest.raises(InvalidRequest) as refusal:
        raw("BYTES", framed(b"x" * (MAX_ELEMENT_BYTES + 1)), 1)
    assert refusal.value.code == "TOO_MANY"
    with pytest.raises(InvalidRequest, match="UTF-8") as refusal:
        raw("BYTES", framed(b"\xff"), 1)
    assert refusal.value.code == "BAD_ELEMENT"


def test_a_byte_that_is_no_truth_is_refused():
    with pytest.raises(InvalidRequest, match="row 1: the byte 2") as refusal:
        raw("BOOL", b"\x01\x02", 2)
    assert refusal.value.code == "BAD_ELEMENT"


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_nan_bits_are_null_and_infinite_ones_are_refused(datatype: str):
    nan, infinite = raw_bytes(datatype, [1.0, float("nan")]), raw_bytes(datatype, [float("-inf"), 1.0])
    answer = raw(datatype, nan, 2, nullable=True)
    assert answer.columns == [[1.0, None]]
    assert np.isnan(answer.feed["x"][1, 0])
    for data, code, row in ((nan, "NULL_NOT_ALLOWED", 1), (infinite, "NOT_FINITE", 0)):
        with pytest.raises(InvalidRequest) as refusal:
            raw(datatype, data, 2)
        assert (refusal.value.code, refusal.value.row) == (code, row)
        lifted = raw(datatype, data, 2, finite=False)
        np.testing.assert_array_equal(
            lifted.feed["x"].ravel(), [1.0, np.nan] if code == "NULL_NOT_ALLOWED" else [-np.inf, 1.0]
        )


def test_narrower_datatypes_widen_and_others_are_refused():
    answer = raw("BF16", raw_bytes("BF16", [-0.15625]), 1, wanted="FP64")
    assert (answer.feed["x"].dtype, answer.feed["x"].tolist()) == (np.float64, [[-0.15625]])
    with pytest.raises(InvalidRequest, match="FP32") as refusal:
        raw("FP64", raw_bytes("FP64", [1.0]), 1, wanted="FP32")
    assert refusal.value.code == "BAD_DATATYPE"


def test_a_matrix_of_bytes_is_row_major():
    spec = Input(name="X", datatype="FP32", shape=(-1, 2))
    answer = take(spec, RawTensor("X", [2, 2], "FP32", memoryview(raw_bytes("FP32", [1, 2, 3, 4]))))
    assert answer.feed["X"].tolist() == [[1, 2], [3, 4]]
    for shape in ([4, 1], [2, -2], [-2, -2]):
        with pytest.raises(InvalidRequest) as refusal:
            take(spec, RawTensor("X", shape, "FP32", raw_bytes("FP32", [1, 2, 3, 4])))
        assert refusal.value.code == "BAD_SHAPE"


def test_raw_and_typed_tensors_mix_in_one_request(tmp_path):
    world = World(tmp_path)
    age = RawTensor("age", [2, 1], "FP64", raw_bytes("FP64", [50.0, float("nan")]))
    city = RawTensor("city", [2, 1], "BYTES", framed(b"Lyon", b"Paris"))
    seats = Tensor("seats", [2, 1], "INT64", [3, 600])
    entrance = enter(world.plane, trusted("process:test"), "churn", "predict")
    answer = infer(world.plane, entrance, InferRequest([age, city, seats]), door="grpc")
    assert answer.flags == {1: {"city": "unknown_category", "seats": "above_high"}}
    assert [output.name for output in answer.outputs] == [output.name for output in SIGNATURE.outputs]
    np.testing.assert_array_equal(answer.arrays[1], [[0.5, 0.5], [1.0, 0.0]])
    assert world.records()[0].inputs == [[50.0, None], ["Lyon", "Paris"], [3, 600]]


def test_typed_contents_of_grpc_may_hold_nan_and_bytes():
    spec = Input(name="x", datatype="FP64", shape=(-1, 1))
    for value, code in ((float("nan"), "NULL_NOT_ALLOWED"), (float("inf"), "NOT_FINITE")):
        with pytest.raises(InvalidRequest) as refusal:
            take(spec, Tensor("x", [1, 1], "FP64", [value]))
        assert refusal.value.code == code
    text = Input(name="x", datatype="BYTES", shape=(-1, 1))
    assert take(text, Tensor("x", [1, 1], "BYTES", [b"Lyon"])).columns == [["Lyon"]]
    with pytest.raises(InvalidRequest, match="UTF-8"):
        take(text, Tensor("x", [1, 1], "BYTES", [b"\xff"]))
