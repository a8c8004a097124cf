"""The quick way through validation gives what the general way gives; policies do what they say."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tests.unit.dataplane.world import SIGNATURE
from trivet.core.datatypes import ACCEPTED, DATATYPES, MISSING_TEXT, NUMPY_DTYPES
from trivet.core.errors import InvalidRequest
from trivet.core.signature import Input, Signature
from trivet.dataplane.protocol.decode import decode_infer
from trivet.dataplane.protocol.messages import RawTensor, Tensor
from trivet.dataplane.validation import tensors as validation
from trivet.dataplane.validation.plan import Plan, Validated
from trivet.dataplane.validation.rows import validate_rows
from trivet.dataplane.validation.tensors import validate
from trivet.model.bundle.packing import Pack

PLAN = Plan(SIGNATURE, max_rows=1024)
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False), st.integers(-(2**70), 2**70), st.booleans())
TEXTS = st.one_of(st.sampled_from(["Lyon", "Oslo", "Paris", MISSING_TEXT]), st.none(), st.integers())


def column(name: str, datatype: str, *values: object) -> Tensor:
    return Tensor(name, [len(values), 1], datatype, list(values))


def one(spec: Input, *values: object, datatype: str = "") -> Validated:
    plan = Plan(Signature(inputs=(spec,), outputs=()), max_rows=1024)
    return validate(plan, [column(spec.name, datatype or spec.datatype, *values)], "m")


@given(NUMBERS, TEXTS, st.one_of(st.integers(-5, 600), st.floats(), st.none()))
def test_the_quick_way_and_the_general_way_agree(age: object, city: object, seats: object):
    tensors = [column("age", "FP64", age), column("city", "BYTES", city), column("seats", "INT64", seats)]
    quick = validation._plain_row(PLAN, tensors)
    if quick is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "_plain_row", lambda *_: None)
        general = validate(PLAN, tensors, "m")
    assert (quick.rows, quick.columns, quick.flags) == (general.rows, general.columns, general.flags)
    assert quick.feed.keys() == general.feed.keys()
    for name, array in quick.feed.items():
        assert array.dtype == general.feed[name].dtype
        assert array.shape == general.feed[name].shape == (1, 1)
        np.testing.assert_array_equal(array, general.feed[name])


def test_an_ordinary_row_takes_the_quick_way():
    tensors = [column("age", "FP64", 30.5), column("city", "BYTES", "Oslo"), column("seats", "INT64", 2)]
    assert validation._plain_row(PLAN, tensors) is not None


USUAL = {
    "inputs": [
        {"name": "age", "shape": [1, 1], "datatype": "FP64", "data": [30.5]},
        {"name": "city", "shape": [1, 1], "datatype": "BYTES", "data": ["Oslo"]},
        {"name": "seats", "shape": [1, 1], "datatype": "INT64", "data": [2]},
    ]
}
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-5, 200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["Lyon", "Oslo", MISSING_TEXT, "FP32", "INT64", "age", "", [1], [1, 1], [1.0, 1], [True, 1], [2, 1], [[]]]
    ),
    st.just({}),
)
PLACES = st.sampled_from(["name", "shape", "datatype", "data", "parameters", "element", "extra", "whole"])


def told(body: bytes, *, usual: bool) -> object:
    """Return what becomes of `body`: its arrays, or the refusal."""
    row = PLAN.usual_row
    assert row is not None
    try:
        request = decode_infer(body, "m", row.decoder if usual else None)
        valid = validate(PLAN, request.inputs, "m")
    except InvalidRequest as refusal:
        return refusal.code, refusal.message
    arrays = {name: (array.dtype, array.tolist()) for name, array in valid.feed.items()}
    return repr(arrays), valid.rows, valid.flags, request.id, request.parameters, request.outputs


@given(st.lists(st.tuples(st.integers(0, 2), PLACES, ANYTHING), max_size=2), st.booleans())
def test_a_body_is_the_same_request_whether_the_usual_decoder_takes_it_or_not(changes, twice: bool):
    asked = json.loads(json.dumps(USUAL))
    for place, field, value in changes:
        if field == "element":
            asked["inputs"][place]["data"] = [value]
        elif field == "whole":
            asked[("id", "parameters", "outputs")[place]] = value
        else:
            asked["inputs"][place][field] = value
    body = json.dumps(asked)
    if twice:
        body = body.replace('"data":', '"data": [1], "data":', 1)
    assert told(body.encode(), usual=True) == told(body.encode(), usual=False)


@pytest.mark.parametrize("value", ["30.5", "30", "null", "-0.0"])
def test_the_usual_decoder_takes_the_usual_row(value: str):
    row = PLAN.usual_row
    assert row is not None
    body = json.dumps(USUAL).replace("30.5", value).encode()
    request = decode_infer(body, "m", row.decoder)
    assert type(request.inputs[0]) is row.first
    other = Plan(SIGNATURE, max_rows=1024)  # the same row for another version: judged by its own rules
    assert validate(other, request.inputs, "m").feed.keys() == validate(PLAN, request.inputs, "m").feed.keys()


@pytest.mark.parametrize(
    "spec",
    [
        Input(name="x", datatype="BYTES", shape=(-1, 1)),  # any text: the missing one would be taken
        Input(name="x", datatype="UINT64", shape=(-1, 1)),  # beyond the bounds that the decoder knows
        Input(name="x", datatype="FP64", shape=(-1, 3)),
    ],
)
def test_a_version_whose_values_have_no_type_is_decoded_by_the_general_rules(spec: Input):
    assert Plan(Signature(inputs=(spec,), outputs=()), max_rows=10).usual_row is None


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.sampled_from(["Lyon", "Oslo"]), st.integers(1, 500)), min_size=1, max_size=20
    )
)
def test_rows_and_tensors_of_the_same_values_are_the_same(rows: list[tuple[float, str, int]]):
    ages, cities, seats = zip(*rows, strict=True)
    tensors = [column("age", "FP64", *ages), column("city", "BYTES", *cities), column("seats", "INT64", *seats)]
    named = [dict(zip(("age", "city", "seats"), row, strict=True)) for row in rows]
    by_tensor, by_row = validate(PLAN, tensors, "m"), validate_rows(PLAN, named, "m")
    assert by_tensor.columns == by_row.columns
    for name, array in by_tensor.feed.items():
        np.testing.assert_array_equal(array, by_row.feed[name])


@pytest.mark.parametrize("wanted", sorted(DATATYPES - {"BF16", "FP16", "BYTES", "BOOL"}))
def test_each_datatype_widens_into_what_the_protocol_says_and_nothing_else(wanted: str):
    spec = Input(name="x", datatype=wanted, shape=(-1, 1))
    for given_datatype in sorted(DATATYPES - {"FP16", "BF16", "BYTES", "BOOL"}):
        if given_datatype in ACCEPTED[wanted]:
            answer = one(spec, 1, datatype=given_datatype)
            assert answer.feed["x"].dtype == NUMPY_DTYPES[wanted]
        else:
            with pytest.raises(InvalidRequest) as refusal:
                one(spec, 1, datatype=given_datatype)
            assert refusal.value.code == "BAD_DATATYPE"
            assert wanted in refusal.value.message


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"])
def test_integers_are_taken_up_to_their_bounds_and_refused_beyond(datatype: str):
    bounds = np.iinfo(NUMPY_DTYPES[datatype])
    spec = Input(name="x", datatype=datatype, shape=(-1, 1))
    low, high = int(bounds.min), int(bounds.max)
    assert one(spec, low, high).feed["x"].ravel().tolist() == [low, high]
    for beyond in (low - 1, high + 1):
        with pytest.raises(InvalidRequest) as refusal:
            one(spec, 0, beyond)
        assert (refusal.value.code, refusal.value.row) == ("OUT_OF_RANGE", 1)


def test_a_number_that_would_become_infinite_in_fp32_is_refused():
    spec = Input(name="x", datatype="FP32", shape=(-1, 1))
    assert one(spec, 3.4e38).feed["x"].dtype == np.float32
    for value in (1e39, -1e39):
        with pytest.raises(InvalidRequest, match="FP32"):
            one(spec, value)


def test_fp32_sent_for_fp64_means_the_fp32_number():
    spec = Input(name="x", datatype="FP64", shape=(-1, 1))
    assert one(spec, 0.1, datatype="FP32").feed["x"][0, 0] == float(np.float32(0.1))


def test_missing_values_become_what_the_signature_recorded():
    number = one(Input(name="x", datatype="FP64", shape=(-1, 1), nullable=True), None, 1.0)
    assert math.isnan(number.feed["x"][0, 0])
    text = one(Input(name="x", datatype="BYTES", shape=(-1, 1), nullable=True, categories=("a",)), None, "a")
    assert text.feed["x"].ravel().tolist() == [MISSING_TEXT, "a"]
    assert text.columns == [[None, "a"]]
    assert text.flags is None


@pytest.mark.parametrize("rows", [1, 20])
def test_outside_flags_clips_or_rejects(rows: int):
    values = [150.0] + [50.0] * (rows - 1)
    base = {"name": "x", "datatype": "FP64", "shape": (-1, 1), "low": 0, "high": 100}
    flagged = one(Input(**base), *values)
    assert (flagged.flags, flagged.feed["x"][0, 0]) == ({0: {"x": "above_high"}}, 150.0)
    clipped = one(Input(**base, outside="clip"), *values)
    assert (clipped.flags, clipped.feed["x"][0, 0]) == ({0: {"x": "clipped"}}, 100.0)
    with pytest.raises(InvalidRequest, match="Allowed: 0 to 100"):
        one(Input(**base, outside="reject"), *values)


@pytest.mark.parametrize("bound", [0.1, -0.1, 0.3, 16777217.0])
def test_a_number_at_its_bound_is_inside_though_fp32_rounds_it(bound: float):
    for outside in ("reject", "flag"):
        spec = Input(name="x", datatype="FP32", shape=(-1, 1), low=min(bound, 0), high=max(bound, 0), outside=outside)
        for sent in (bound, float(np.float32(bound))):
            assert one(spec, sent).flags is None
            assert one(spec, sent, sent).flags is None
        with pytest.raises(InvalidRequest) if outside == "reject" else nullcontext():
            assert one(spec, float(np.nextafter(np.float32(bound), np.float32(2 * bound)))).flags


@pytest.mark.parametrize("bound", [0.1, -0.1, 0.3, 16777217.0])
@pytest.mark.parametrize("is_raw", [False, True], ids=["json", "binary"])
def test_the_bound_of_an_fp64_input_may_be_sent_as_fp32(bound: float, is_raw: bool):
    spec = Input(name="x", datatype="FP64", shape=(-1, 1), low=min(bound, 0), high=max(bound, 0), outside="reject")
    plan = Plan(Signature(inputs=(spec,), outputs=()), max_rows=1024)
    beyond = float(np.nextafter(np.float32(bound), np.float32(2 * bound)))

    def send(*values: float) -> Validated:
        raw = RawTensor("x", [len(values), 1], "FP32", np.array(values, "<f4").tobytes())
        return validate(plan, [raw if is_raw else column("x", "FP32", *values)], "m")

    assert send(bound, 0.0).feed["x"].tolist() == [[bound], [0.0]]
    with pytest.raises(InvalidRequest):
        send(beyond)
    with pytest.raises(InvalidRequest):
        one(spec, math.nextafter(bound, 2 * bound))


def test_unknown_categories_pass_go_missing_or_are_rejected():
    base = {"name": "plan", "datatype": "BYTES", "shape": (-1, 1), "categories": ("free", "pro")}
    passed = one(Input(**base), "gold")
    assert (passed.feed["plan"][0, 0], passed.flags) == ("gold", {0: {"plan": "unknown_category"}})
    missing = one(Input(**base, unknown="missing", nullable=True), "gold")
    assert (missing.feed["plan"][0, 0], missing.flags) == (MISSING_TEXT, {0: {"plan": "unknown_category"}})
    with pytest.raises(InvalidRequest, match=r"'plan' is 'gold', row 0.* Known: free, pro"):
        one(Input(**base, unknown="reject"), "gold")


def test_an_optional_input_may_be_left_out():
    signature = Signature(
        inputs=(
            Input(name="a", datatype="FP64", shape=(-1, 1)),
            Input(name="b", datatype="FP64", shape=(-1, 1), nullable=True, optional=True),
        ),
        outputs=(),
    )
    answer = validate(Plan(signature, 10), [column("a", "FP64", 1.0, 2.0)], "m")
    assert np.isnan(answer.feed["b"]).all()
    assert answer.feed["b"].shape == (2, 1)


OPTIONAL = Signature(
    inputs=(
        Input(name="a", datatype="FP64", shape=(-1, 1)),
        Input(name="b", datatype="FP32", shape=(-1, 1), optional=True),
        Input(name="c", datatype="BYTES", shape=(-1, 1), optional=True, categories=("x",), unknown="reject"),
        Input(name="d", datatype="FP64", shape=(-1, 3), optional=True),
    ),
    outputs=(),
)


def test_an_optional_input_that_is_left_out_is_missing_though_it_takes_no_null():
    answer = validate(Plan(OPTIONAL, 10), [column("a", "FP64", 1.0, 2.0)], "m")
    assert np.isnan(answer.feed["b"]).all()
    assert answer.feed["b"].dtype == np.float32
    assert answer.feed["c"].tolist() == [[MISSING_TEXT]] * 2
    assert (answer.feed["d"].shape, np.isnan(answer.feed["d"]).all()) == ((2, 3), True)
    assert answer.columns == [[1.0, 2.0], [None] * 2, [None] * 2, [None] * 6]
    two = Signature(inputs=OPTIONAL.inputs[:2], outputs=())
    with pytest.raises(InvalidRequest, match="no missing values"):
        validate(Plan(two, 10), [column("a", "FP64", 1.0), column("b", "FP32", None)], "m")


def test_a_row_may_leave_out_an_optional_field_that_another_row_has():
    rows = [{"a": 1, "b": 2.5, "c": "x"}, {"a": 2}]
    signature = Signature(inputs=OPTIONAL.inputs[:3], outputs=())
    answer = validate_rows(Plan(signature, 10), rows, "m")
    np.testing.assert_array_equal(answer.feed["b"], [[2.5], [np.nan]])
    assert answer.feed["c"].tolist() == [["x"], [MISSING_TEXT]]
    with pytest.raises(InvalidRequest, match="'a' is missing"):
        validate_rows(Plan(signature, 10), [{"b": 1}], "m")


def test_an_optional_input_whose_datatype_has_no_missing_value_cannot_be_left_out():
    """Any number in its place would be an answer to something that nobody asked."""
    whole = Input(name="n", datatype="INT64", shape=(-1, 1), optional=True)
    plan = Plan(Signature(inputs=(*OPTIONAL.inputs[:1], whole), outputs=()), 10)
    with pytest.raises(InvalidRequest) as refused:
        validate(plan, [column("a", "FP64", 1.0)], "m")
    assert refused.value.code == "MISSING_INPUT"
    with pytest.raises(InvalidRequest, match="'n' is missing"):
        validate_rows(plan, [{"a": 1}], "m")


def test_what_is_left_out_is_measured_before_it_is_filled_in():
    picture = Input(name="p", datatype="FP32", shape=(-1, 2048, 2048, 1024), optional=True, nullable=True)
    plan = Plan(Signature(inputs=(*OPTIONAL.inputs[:1], picture), outputs=()), 10)
    with pytest.raises(InvalidRequest, match="elements; one request takes at most") as refused:
        validate(plan, [column("a", "FP64", 1.0)], "m")
    assert refused.value.code == "TOO_MANY"


def test_a_matrix_is_taken_flat_or_nested_and_by_its_columns_names():
    matrix = Signature(inputs=(Input(name="X", datatype="FP32", shape=(-1, 2), columns=("w", "h")),), outputs=())
    plan = Plan(matrix, 10)
    flat = validate(plan, [Tensor("X", [2, 2], "FP32", [1, 2, 3, 4])], "m").feed["X"]
    nested = validate(plan, [Tensor("X", [2, 2], "FP32", [[1, 2], [3, 4]])], "m").feed["X"]
    rows = validate_rows(plan, [{"w": 1, "h": 2}, {"h": 4, "w": 3}], "m").feed["X"]
    for array in (flat, nested, rows):
        np.testing.assert_array_equal(array, [[1, 2], [3, 4]])
    for data in ([[1, 2], [3]], [[1, 2], 3, 4], [1, 2, 3]):
        with pytest.raises(InvalidRequest):
            validate(plan, [Tensor("X", [2, 2], "FP32", data)], "m")


def test_more_rows_than_allowed_are_refused_with_the_setting_that_allows_them():
    plan = Plan(SIGNATURE, max_rows=2)
    with pytest.raises(InvalidRequest, match="TRIVET_MAX_ROWS"):
        validate_rows(plan, [{"age": 1, "city": "Oslo", "seats": 1}] * 3, "m")


@pytest.mark.parametrize("rows", [1, 3])
def test_packed_columns_enter_the_graph_as_one_array(rows: int):
    names = ("a", "b", "c")
    signature = Signature(inputs=tuple(Input(name=name, datatype="FP64", shape=(-1, 1)) for name in names), outputs=())
    plan = Plan(signature, 10, (Pack("a..b", ("a", "b")),))
    values = {name: [float(10 * place + row) for row in range(rows)] for place, name in enumerate(names)}
    answer = validate(plan, [column(name, "FP64", *values[name]) for name in names], "m")
    assert answer.feed.keys() == {"a..b", "c"}
    np.testing.assert_array_equal(answer.feed["a..b"], np.array([values["a"], values["b"]]).T)
    assert answer.feed["a..b"].flags.c_contiguous
    assert answer.columns == [values[name] for name in names]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "_plain_row", lambda *_: None)
        general = validate(plan, [column(name, "FP64", *values[name]) for name in names], "m")
    np.testing.assert_array_equal(answer.feed["a..b"], general.feed["a..b"])
