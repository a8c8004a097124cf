"""Values of a tensor request: items 7 to 23, 37 and 41 of the protocol's conformance list, through the front door."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.dataplane.echo import EchoWorld, binary, column, header, parts, tensor
from tests.unit.dataplane.world import World, infer_body
from trivet.core.datatypes import ACCEPTED, DATATYPES, INTEGER_BOUNDS, MAX_ELEMENT_BYTES, MISSING_TEXT
from trivet.core.signature import Input, Output
from trivet.dataplane.plane import Limits

pytestmark = pytest.mark.usefixtures("on_every_mount")

MATRIX = Input(name="x", datatype="FP64", shape=(-1, 2, 2))
EIGHT = list(range(8))
CUBE = [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def matrix(data: Any, shape: Any = (2, 2, 2)) -> dict:
    return {"inputs": [{"name": "x", "datatype": "FP64", "shape": list(shape), "data": data}]}


def one(datatype: str, *values: Any, **parameters: Any) -> dict:
    return {"inputs": [tensor("x", datatype, list(values), **parameters)]}


def test_07_H33_flat_and_nested_data_mean_the_same(tmp_path: Path):
    world = EchoWorld(tmp_path, MATRIX)
    answers = [world.ask(body=matrix(data))[1]["outputs"] for data in (EIGHT, CUBE)]
    assert answers[0] == answers[1]
    assert answers[0][0]["data"] == EIGHT
    first, second = (record.inputs for record in world.records())
    assert first == second


@pytest.mark.parametrize(
    "data",
    [
        [[[0, 1], [2, 3]], [[4, 5], [6]]],
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[0, 1], [2, 3], [4, 5], [6, 7]],
        [*CUBE[:1], 4, 5, 6, 7],
        [0, 1, 2, 3, 4, 5, 6, [7]],
        [[[[0], [1]], [[2], [3]]], [[[4], [5]], [[6], [7]]]],
        [[[0, 1], [2, 3]], [[4, 5], [6, {"a": 7}]]],
        [{}] * 8,
        EIGHT[:-1],
        [*EIGHT, 8],
        [],
        [[]],
        [CUBE],
        {"a": 1},
        "text",
        7,
        None,
        json.loads("[" * 33 + "]" * 33),
    ],
)
def test_07_H32_H33_ragged_partly_nested_or_miscounted_data_is_a_400(tmp_path: Path, data: Any):
    world = EchoWorld(tmp_path, MATRIX)
    code = world.code(matrix(data))
    assert code in {"BAD_NESTING", "BAD_ELEMENT", "COUNT_MISMATCH", "WRONG_TYPE", "MISSING_FIELD"}, code
    assert world.engine.version.runs == 0


@pytest.mark.parametrize(
    "shape",
    [
        "[2.0,2,2]",
        '["2",2,2]',
        "[true,2,2]",
        "[-2,2,2]",
        "[9223372036854775808,2,2]",
        "[4294967296,4294967296,2]",
        "[]",
        "[0,2]",
        "[2,0,2]",
        "[2,2,2,1]",
        "[1,1,1,1,1,1,1,1,1]",
        "null",
        "2",
        "[[2]]",
        None,
    ],
)
def test_08_H30_H31_a_bad_shape_is_a_400_and_nothing_is_allocated(tmp_path: Path, shape: str | None):
    world = EchoWorld(tmp_path, MATRIX)
    written = "" if shape is None else f'"shape":{shape},'
    body = f'{{"inputs":[{{"name":"x",{written}"datatype":"FP64","data":[0,1,2,3,4,5,6,7]}}]}}'
    assert world.code(body.encode()) in {"BAD_SHAPE", "MISSING_FIELD", "TOO_MANY", "WRONG_TYPE", "COUNT_MISMATCH"}


def test_09_a_column_may_have_one_dimension_and_nothing_else_may_leave_one_out(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "INT64"))
    flat = {"inputs": [tensor("x", "INT64", [1, 2], shape=[2])]}
    assert world.ask(body=flat)[1]["outputs"] == world.ask(body=one("INT64", 1, 2))[1]["outputs"]
    assert world.seen["x"].shape == (2, 1)
    head, data = binary("x", "INT64", [1, 2])
    assert parts(world.mixed({"inputs": [head]}, data))[0]["outputs"] == world.ask(body=flat)[1]["outputs"]
    for shape in ([1, 2], [2, 1, 1], []):
        assert world.code({"inputs": [tensor("x", "INT64", [1, 2], shape=shape)]}) == "BAD_SHAPE"
    assert EchoWorld(tmp_path / "matrix", MATRIX).code(matrix(EIGHT, [2, 4])) == "BAD_SHAPE"
    two = EchoWorld(tmp_path / "two", column("a", "INT64"), column("b", "INT64"))
    assert two.code({"inputs": [tensor("a", "INT64", [1]), tensor("b", "INT64", [1, 2])]}) == "ROWS_DIFFER"


def test_10_H37_zero_rows_are_answered_without_a_model_or_a_record(tmp_path: Path):
    outputs = (Output(name="label", datatype="BYTES", shape=(-1,)), Output(name="p", datatype="FP32", shape=(-1, 3)))
    world = EchoWorld(tmp_path, column("x", "INT64"), outputs=outputs)
    empty = {"inputs": [tensor("x", "INT64", [])]}
    body, _ = parts(world.send(body=empty))
    assert [(output["shape"], output["data"]) for output in body["outputs"]] == [([0], []), ([0, 3], [])]
    asked = [{"name": "p", "parameters": {"classification": 2}}, {"name": "label", "parameters": {"binary_data": True}}]
    body, tensors = parts(world.send(body=empty | {"outputs": asked}))
    assert (body["outputs"][0]["shape"], tensors) == ([0, 2], {"label": b""})
    head, data = binary("x", "INT64", np.empty((0, 1)))
    assert parts(world.mixed({"inputs": [head]}, data))[0]["outputs"][1]["shape"] == [0, 3]
    assert (world.engine.version.runs, world.records()) == (0, [])


NOT_INTEGERS = [1.0, 1e3, True, "1", None, [1, 2], {"a": 1}]


@pytest.mark.parametrize("datatype", sorted(INTEGER_BOUNDS))
def test_11_H35_integers_at_their_bounds_and_beyond(tmp_path: Path, datatype: str):
    world = EchoWorld(tmp_path, column("x", datatype))
    low, high = INTEGER_BOUNDS[datatype]
    status, answer, _ = world.ask(body=one(datatype, low, high))
    assert (status, answer["outputs"][0]["data"]) == (200, [low, high])
    assert {world.code(one(datatype, 0, beyond)) for beyond in (low - 1, high + 1)} == {"OUT_OF_RANGE"}
    for value in NOT_INTEGERS:
        assert world.code(one(datatype, value)) in {"BAD_ELEMENT", "NULL_NOT_ALLOWED", "BAD_NESTING"}
    assert world.code(b'{"inputs":[{"name":"x","datatype":"%s","shape":[1],"data":[1e3]}]}' % datatype.encode()) != ""


def test_11_truth_is_true_or_false(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "BOOL"))
    assert world.ask(body=one("BOOL", True, False))[1]["outputs"][0]["data"] == [True, False]
    assert {world.code(one("BOOL", value)) for value in (0, 1, "true", 1.0)} == {"BAD_ELEMENT"}


@pytest.mark.parametrize(("datatype", "top"), [("FP32", "3.4028235e38"), ("FP64", "1.7976931348623157e308")])
def test_11_H35_floats_reach_to_their_largest_number_and_take_integers(tmp_path: Path, datatype: str, top: str):
    world = EchoWorld(tmp_path, column("x", datatype))
    body = f'{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":[4],"data":[{top},-{top},7,-0.0]}}]}}'
    status, answer, _ = world.ask(body=body.encode())
    largest = float(np.finfo(world.seen["x"].dtype).max)
    assert (status, answer["outputs"][0]["data"]) == (200, [largest, -largest, 7.0, -0.0])
    assert {world.code(one(datatype, value)) for value in (True, "1")} == {"BAD_ELEMENT"}


@pytest.mark.parametrize("number", ["1e39", "-1e39", "3.4028236e38", "1e400", "9" * 400, "7" * 5000])
def test_12_H35_a_finite_number_that_would_turn_infinite_is_a_400(tmp_path: Path, number: str):
    world = EchoWorld(tmp_path, column("x", "FP32"))
    for shape in ("[1]", "[1,1]"):
        body = f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":{shape},"data":[{number}]}}]}}'
        assert world.code(body.encode()) == "OUT_OF_RANGE"


def test_12_H36_fp32_outputs_read_back_as_the_same_bits(tmp_path: Path):
    bits = np.random.default_rng(5).integers(0, 2**32, 300, np.uint32).view(np.float32)
    numbers = bits[np.isfinite(bits)].reshape(-1, 1)
    world = EchoWorld(tmp_path, column("x", "FP32"))
    head, data = binary("x", "FP32", numbers)
    body, _ = parts(world.mixed({"inputs": [head]}, data))
    assert np.array(body["outputs"][0]["data"], np.float32).tobytes() == numbers.tobytes()
    assert np.array(body["outputs"][0]["data"], np.float64).tolist() == numbers.ravel().astype(np.float64).tolist()


@pytest.mark.parametrize("wanted", sorted(DATATYPES))
def test_13_H34_what_widens_without_loss_is_taken_and_the_rest_is_refused(tmp_path: Path, wanted: str):
    world = EchoWorld(tmp_path, column("x", wanted))
    for given in sorted(DATATYPES):
        value = {"BYTES": "a", "BOOL": True}.get(given, 1)
        head, data = binary("x", given, np.array([[value]], dtype=object if given == "BYTES" else None))
        response = world.mixed({"inputs": [head], "parameters": {"binary_data_output": True}}, data)
        if given in ACCEPTED[wanted]:
            assert response.status == 200, response.body
            assert world.seen["x"].tolist() == [[value]]
            continue
        assert header(response, "trivet-error") == "BAD_DATATYPE"
        assert f" is {wanted}," in json.loads(response.body)["error"]
        assert world.code(one(given, value)) == "BAD_DATATYPE"


def test_13_an_integer_datatype_sent_for_a_float_takes_integers_of_its_own_range(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "FP64"))
    assert world.code(one("INT8", 127)) == ""
    assert world.code(one("INT8", 1.5)) == "BAD_ELEMENT"
    assert world.code(one("INT8", 128)) == "OUT_OF_RANGE"
    for beyond in (1e39, 10**39, 10**400):
        assert world.code(one("FP32", beyond)) == "OUT_OF_RANGE"


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "nan", "+1", ".5", "1.", "0x1", "01"])
def test_14_numbers_that_are_no_json_are_a_400(tmp_path: Path, literal: str):
    world = EchoWorld(tmp_path, column("x", "FP64", nullable=True, finite=False))
    body = f'{{"inputs":[{{"name":"x","datatype":"FP64","shape":[1],"data":[{literal}]}}]}}'
    assert world.code(body.encode()) == "NOT_JSON"


def test_15_null_is_refused_or_means_missing(tmp_path: Path):
    strict = EchoWorld(tmp_path / "a", column("x", "FP32"))
    assert strict.code(one("FP32", None)) == "NULL_NOT_ALLOWED"
    world = EchoWorld(tmp_path / "b", column("x", "FP32", nullable=True), column("t", "BYTES", nullable=True))
    body = {"inputs": [tensor("x", "FP32", [None, 1]), tensor("t", "BYTES", [None, ""])]}
    status, answer, _ = world.ask(body=body)
    assert (status, answer["outputs"][0]) == (
        200,
        tensor("x", "FP32", [None, 1.0]) | {"shape": [2, 1], "parameters": {"nan": 1}},
    )
    assert np.isnan(world.seen["x"][0, 0])
    assert world.seen["t"].tolist() == [[MISSING_TEXT], [""]]
    assert world.records()[0].inputs == [[None, 1], [None, ""]]
    for datatype, value in (("INT64", 1), ("BOOL", True)):
        other = EchoWorld(tmp_path / datatype, column("x", datatype))
        assert other.code(one(datatype, value, None)) == "NULL_NOT_ALLOWED"


def test_15_nan_bits_decide_as_null_does_and_finite_false_lifts_both(tmp_path: Path):
    nan, infinite = (binary("x", "FP32", np.array([[value], [1]], np.float32)) for value in (np.nan, np.inf))
    cases = [
        ({}, "NULL_NOT_ALLOWED", "NOT_FINITE"),
        ({"nullable": True}, "", "NOT_FINITE"),
        ({"finite": False}, "", ""),
        ({"finite": False, "nullable": True}, "", ""),
    ]
    for number, (rules, *codes) in enumerate(cases):
        world = EchoWorld(tmp_path / str(number), column("x", "FP32", **rules))
        for (head, data), code in zip((nan, infinite), codes, strict=True):
            assert (header(world.mixed({"inputs": [head]}, data), "trivet-error") or "") == code
            if not code:
                np.testing.assert_array_equal(world.seen["x"], np.frombuffer(data, np.float32).reshape(2, 1))
        matrix_world = EchoWorld(tmp_path / f"m{number}", Input(name="x", datatype="FP32", shape=(-1, -1), **rules))
        for (head, data), code in zip((nan, infinite), codes, strict=True):
            assert (header(matrix_world.mixed({"inputs": [head]}, data), "trivet-error") or "") == code


TEXTS = ["", "a\x00b", "é", "\u2028", "😀", "with:colon", '"']


def test_17_texts_of_any_kind_come_back(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "BYTES"))
    assert world.ask(body=one("BYTES", *TEXTS))[1]["outputs"][0]["data"] == TEXTS
    encoded = [base64.b64encode(text.encode()).decode() for text in TEXTS]
    answer = world.ask(body=one("BYTES", *encoded, content_type="base64"))[1]
    assert answer["outputs"][0]["data"] == TEXTS
    nested = {"inputs": [tensor("x", "BYTES", [[e] for e in encoded], content_type="base64")]}
    assert world.ask(body=nested)[1]["outputs"][0]["data"] == TEXTS
    assert world.ask(body=one("BYTES", "a", content_type="str"))[0] == 200


def test_17_a_text_has_up_to_one_mebibyte(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "BYTES"))
    for text, code in (("x" * MAX_ELEMENT_BYTES, ""), ("é" * (MAX_ELEMENT_BYTES // 2) + "x", "TOO_MANY")):
        for data in ([text], [[text]]):
            assert world.code({"inputs": [tensor("x", "BYTES", data, shape=[1, 1])]}) == code
        packed = base64.b64encode(text.encode()).decode()
        assert world.code(one("BYTES", packed, content_type="base64")) == code
        head, data = binary("x", "BYTES", np.array([[text]], dtype=object))
        assert (header(world.mixed({"inputs": [head]}, data), "trivet-error") or "") == code
        raw = world.send(body=text.encode(), headers={"inference-header-content-length": "0"})
        assert (header(raw, "trivet-error") or "") == code


@pytest.mark.parametrize(
    ("element", "code"),
    [
        (b'"\\ud800"', "NOT_JSON"),
        (b'"\xff"', "NOT_JSON"),
        (b'"\xc0\x80"', "NOT_JSON"),
        (b'"\xee\x80\x80"', "BAD_ELEMENT"),
    ],
)
def test_17_what_is_no_text_is_a_400(tmp_path: Path, element: bytes, code: str):
    world = EchoWorld(tmp_path, column("x", "BYTES"))
    assert world.code(b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":[%s]}]}' % element) == code


@pytest.mark.parametrize("packed", ["YQ", "YQ=", "YW\nI=", "Y!==", " YQ==", "YQ==YQ==", "_-8=", "/w=="])
def test_17_base64_is_strict(tmp_path: Path, packed: str):
    world = EchoWorld(tmp_path, column("x", "BYTES"))
    assert world.code(one("BYTES", packed, content_type="base64")) == "BAD_ELEMENT"


def test_17_an_output_that_is_not_all_utf8_comes_as_base64_and_says_so(tmp_path: Path):
    said = np.array([[b"\xff\x00", b"abc"]], dtype=object)
    world = EchoWorld(
        tmp_path,
        column("x", "INT64"),
        outputs=(Output(name="y", datatype="BYTES", shape=(-1, 2)),),
        answers=lambda _: {"y": said},
    )
    output = world.ask(body=one("INT64", 1))[1]["outputs"][0]
    assert output["parameters"] == {"content_type": "base64"}
    assert [base64.b64decode(text) for text in output["data"]] == [b"\xff\x00", b"abc"]
    _, tensors = parts(world.send(body=one("INT64", 1) | {"parameters": {"binary_data_output": True}}))
    assert tensors == {"y": b"\x02\x00\x00\x00\xff\x00\x03\x00\x00\x00abc"}
    said[0, 0] = b"text"
    output = world.ask(body=one("INT64", 1))[1]["outputs"][0]
    assert (output["data"], "parameters" in output) == (["text", "abc"], False)


def test_19_unknown_fields_are_a_400_at_every_level_and_nulls_are_absent(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "FP64"))
    good = one("FP64", 1.0)
    for body in (
        good | {"paramaters": {}},
        {"inputs": [good["inputs"][0] | {"dtype": "FP64"}]},
        good | {"outputs": [{"name": "x", "binary": True}]},
    ):
        assert world.code(body) == "UNKNOWN_FIELD"
    nulls = {"id": None, "parameters": None, "outputs": None, "model_name": None}
    assert world.code(nulls | {"inputs": [good["inputs"][0] | {"parameters": None}]}) == ""
    assert world.code(good | {"outputs": [{"name": "x", "parameters": None}]}) == ""
    assert world.code(good | {"parameters": {"binary_data_output": None, "timeout": None, "route_key": None}}) == ""
    assert world.code(good | {"model_name": "churn"}) == ""
    assert world.code(good | {"model_name": "late"}) == "NAME_MISMATCH"


DUPLICATES = [
    b'{"inputs":[%s],"inputs":[%s]}',
    b'{"inputs":[%s],"id":"a","id":"a"}',
    b'{"inputs":[%s],"id":"a","\\u0069d":"a"}',
    b'{"inputs":[%s],"parameters":{"a":1,"\\u0061":1}}',
    b'{"inputs":[%s],"outputs":[{"name":"x","name":"x"}]}',
    b'{"inputs":[%s],"outputs":[{"name":"x","parameters":{"a":1,"a":1}}]}',
]


@pytest.mark.parametrize("template", DUPLICATES)
def test_20_a_key_twice_is_a_400_at_every_level(tmp_path: Path, template: bytes):
    world = EchoWorld(tmp_path, column("x", "FP64"))
    good = b'{"name":"x","datatype":"FP64","shape":[1],"data":[1]}'
    assert world.code(template.replace(b"%s", good)) == "DUPLICATE_KEY"


@pytest.mark.parametrize(
    ("path", "field"), [("/v2/models/churn/predict", "rows"), ("/v1/models/churn:predict", "instances")]
)
def test_20_a_key_twice_in_a_row_names_the_row(tmp_path: Path, path: str, field: str):
    world = EchoWorld(tmp_path, column("x", "FP64"))
    body = b'{"%s":[{"x":1},{"x":2},{"x":3,"x":4}]}' % field.encode()
    status, told, headers = world.ask(path=path, body=body)
    assert (status, headers["trivet-error"]) == (400, "DUPLICATE_KEY")
    assert told["error"] == "row 2: the key 'x' stands twice in one object."
    twice = body[:-1] + b',"parameters":{"a":1,"a":2}}'
    assert "row 2" in world.ask(path=path, body=twice)[1]["error"]
    assert "row" not in world.ask(path=path, body=twice.replace(b'"x":3,', b""))[1]["error"]


@pytest.mark.parametrize("key", ["name", "shape", "datatype", "data", "parameters", "\\u0064ata"])
def test_20_a_key_twice_in_a_tensor_is_a_400_with_and_without_bytes(tmp_path: Path, key: str):
    world = EchoWorld(tmp_path, column("x", "FP64"))
    values = {"name": '"x"', "shape": "[1]", "datatype": '"FP64"', "data": "[1]", "parameters": "{}"}
    twice = f'"{key}":{values[json.loads(f"{chr(34)}{key}{chr(34)}")]}'
    fields = ",".join([*(f'"{name}":{value}' for name, value in values.items()), twice])
    assert world.code(f'{{"inputs":[{{{fields}}}]}}'.encode()) == "DUPLICATE_KEY"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        b'\xef\xbb\xbf{"inputs":[]}',
        '{"inputs":[]}'.encode("utf-16"),
        b'{"inputs":[]}x',
        b'{"inputs":[]}{"inputs":[]}',
        b'{"inputs":[],}',
        b"{'inputs':[]}",
        b'{"inputs":null}',
        b'{"inputs":{}}',
        b'{"inputs":[null]}',
        b'{"inputs":[[]]}',
        b'{"inputs":[]}',
        b"\x00",
        b'{"inputs":[{"name":7}]}',
    ],
)
def test_21_what_is_no_request_is_a_400_json_or_not(tmp_path: Path, body: bytes):
    world = EchoWorld(tmp_path, column("x", "FP64"))
    assert world.ask(body=body)[0] == 400
    assert header(world.send(body=body, headers={"inference-header-content-length": str(len(body))}), "trivet-error")


def test_22_an_id_is_echoed_and_never_invented(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "INT64"))
    for request_id in ("a", "A-b_c.d:9", "x" * 128):
        assert world.ask(body=one("INT64", 1) | {"id": request_id})[1]["id"] == request_id
        body, _ = parts(
            world.send(body=one("INT64", 1) | {"id": request_id, "parameters": {"binary_data_output": True}})
        )
        assert body["id"] == request_id
    for parameters in ({}, {"binary_data_output": True}):
        assert "id" not in parts(world.send(body=one("INT64", 1) | {"parameters": parameters}))[0]
    assert {world.code(one("INT64", 1) | {"id": bad}) for bad in ("", "a b", "x" * 129, "é")} == {"BAD_ID"}
    assert world.code(one("INT64", 1) | {"id": 7}) == "WRONG_TYPE"


def test_23_H38_H39_inputs_by_name_and_outputs_as_asked(tmp_path: Path):
    world = EchoWorld(tmp_path, column("a", "INT64"), column("b", "INT64"))
    a, b = tensor("a", "INT64", [1]), tensor("b", "INT64", [2])
    answer = world.ask(body={"inputs": [a, b]})[1]["outputs"]
    assert world.ask(body={"inputs": [b, a]})[1]["outputs"] == answer
    assert world.ask(body={"inputs": [a, b], "outputs": []})[1]["outputs"] == answer
    for asked in (["b"], ["b", "a"], ["a", "b"]):
        body = {"inputs": [a, b], "outputs": [{"name": name} for name in asked]}
        assert [output["name"] for output in world.ask(body=body)[1]["outputs"]] == asked
    for inputs, code in (([a], "MISSING_INPUT"), ([a, b, a], "DUPLICATE_INPUT"), ([], "MISSING_INPUT")):
        assert world.code({"inputs": inputs}) == code
    assert world.code({"inputs": [a, b | {"name": "c"}]}) == "UNKNOWN_INPUT"
    assert world.code({"inputs": [a, b], "outputs": [{"name": "a"}, {"name": "a"}]}) == "DUPLICATE_OUTPUT"
    assert world.code({"inputs": [a, b], "outputs": [{"name": "c"}]}) == "UNKNOWN_OUTPUT"


CLASSES = ("no", "maybe", "yes")


@pytest.fixture
def classifier(tmp_path: Path) -> EchoWorld:
    outputs = (
        Output(name="label", datatype="BYTES", shape=(-1,), classes=CLASSES),
        Output(name="probabilities", datatype="FP32", shape=(-1, 3), classes=CLASSES),
        Output(name="votes", datatype="UINT8", shape=(-1, 3)),
        Output(name="value", datatype="FP32", shape=(-1,)),
    )
    said = {
        "label": np.array(["yes", "no"], dtype=object),
        "probabilities": np.array([[0.1, 0.2, 0.7], [0.5, np.nan, 0.5]], np.float32),
        "votes": np.array([[0, 255, 7], [3, 3, 3]], np.uint8),
        "value": np.array([1, 2], np.float32),
    }
    return EchoWorld(tmp_path, column("x", "INT64"), outputs=outputs, answers=lambda _: said)


def classes_of(world: EchoWorld, name: str, count: Any, **parameters: Any) -> dict:
    asked = [{"name": name, "parameters": {"classification": count} | parameters}]
    status, answer, _ = world.ask(body=one("INT64", 1, 2) | {"outputs": asked})
    return answer["outputs"][0] if status == 200 else answer


def test_24_classification_gives_the_largest_with_index_and_class(classifier: EchoWorld):
    output = classes_of(classifier, "probabilities", 1)
    assert (output["shape"], output["datatype"]) == ([2, 1], "BYTES")
    assert output["data"] == ["0.700000:2:yes", "0.500000:0:no"]
    output = classes_of(classifier, "probabilities", 2)
    assert output["data"] == ["0.700000:2:yes", "0.200000:1:maybe", "0.500000:0:no", "0.500000:2:yes"]
    output = classes_of(classifier, "probabilities", 10)
    assert (output["shape"], output["data"][5]) == ([2, 3], "nan:1:maybe")
    output = classes_of(classifier, "votes", 2)
    assert output["data"] == ["255.000000:1", "7.000000:2", "3.000000:0", "3.000000:1"]
    asked = [{"name": "probabilities", "parameters": {"classification": 1, "binary_data": True}}]
    _, tensors = parts(classifier.send(body=one("INT64", 1, 2) | {"outputs": asked}))
    assert tensors["probabilities"].startswith(b"\x0e\x00\x00\x000.700000:2:yes")
    assert classifier.records()[-1].outputs[0][:2] == [np.float32(0.1), np.float32(0.2)], "the record has the numbers"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("label", 1),
        ("value", 1),
        ("probabilities", 0),
        ("probabilities", -1),
        ("probabilities", "1"),
        ("probabilities", True),
        ("probabilities", 1.0),
    ],
)
def test_24_classification_of_what_has_no_classes_is_a_400(classifier: EchoWorld, name: str, count: Any):
    asked = [{"name": name, "parameters": {"classification": count}}]
    assert classifier.code(one("INT64", 1, 2) | {"outputs": asked}) == "BAD_PARAMETER"
    assert classifier.records() == []


BAD_PARAMETERS: list[dict[str, Any]] = [
    {"sequence_id": 7},
    {"sequence_id": "a"},
    {"sequence_start": True},
    {"triton_x": 1},
    {"headers": "x"},
    {"shared_memory_region": "r"},
    {"nested": {"a": 1}},
    {"nested": [1]},
    {"k" * 65: 1},
    {"k": "v" * 1025},
    {"timeout": "5"},
    {"timeout": 1.5},
    {"timeout": True},
    {"timeout": -1},
    {"cache": "no"},
    {"cache": 0},
    {"priority": "high"},
    {"priority": 1.5},
    {"binary_data_output": 1},
    {"binary_data_output": "true"},
    {"route_key": 7},
    {"route_key": "r" * 129},
    {"entity_key": 7},
    {"entity_key": "e" * 129},
    {"content_type": "numpy"},
    {"content_type": 7},
    {"n": 2**64},
    {"n": -(2**63) - 1},
]


@pytest.mark.parametrize("parameters", BAD_PARAMETERS, ids=lambda p: next(iter(p))[:20])
def test_37_parameters_of_the_wrong_kind_are_a_400(tmp_path: Path, parameters: dict):
    world = EchoWorld(tmp_path, column("x", "INT64"))
    assert world.code(one("INT64", 1) | {"parameters": parameters}) == "BAD_PARAMETER"


def test_37_parameters_within_their_bounds_are_taken_and_recorded(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "INT64"))
    given = {
        "k" * 64: "v" * 1024,
        "colour": "red",
        "n": 2**64 - 1,
        "m": -(2**63),
        "sequence_id": 0,
        "priority": 3,
        "content_type": "pd",
    }
    given |= {"route_key": "r" * 128, "entity_key": "e" * 128, "timeout": 5_000_000, "cache": False, "share": 0.5}
    assert world.code(one("INT64", 1) | {"parameters": given}) == ""
    record = world.records()[0]
    assert record.entity_key == "e" * 128
    assert record.parameters == given
    for count, code in ((64, ""), (65, "TOO_MANY")):
        assert world.code(one("INT64", 1) | {"parameters": {f"p{i}": i for i in range(count)}}) == code
        asked = [{"name": "x", "parameters": {f"p{i}": i for i in range(count)}}]
        assert world.code(one("INT64", 1) | {"outputs": asked}) == code
        assert world.code({"inputs": [tensor("x", "INT64", [1], **{f"p{i}": i for i in range(count)})]}) == code


def test_37_an_entity_key_is_for_one_row(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "INT64"))
    assert world.code(one("INT64", 1, 2) | {"parameters": {"entity_key": "c-17"}}) == "BAD_PARAMETER"
    assert world.records() == []


def test_37_base64_is_for_texts_that_come_in(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "INT64"))
    assert world.code(one("INT64", 1, content_type="base64")) == "BAD_PARAMETER"
    asked = [{"name": "x", "parameters": {"content_type": "base64"}}]
    assert world.code(one("INT64", 1) | {"outputs": asked}) == "BAD_PARAMETER"
    assert world.code(one("INT64", 1) | {"parameters": {"content_type": "base64"}}) == "BAD_PARAMETER"


def test_41_bodies_rows_elements_inputs_and_outputs_have_their_bounds(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "INT64"))
    for rows, code in ((1024, ""), (1025, "TOO_MANY")):
        head, data = binary("x", "INT64", np.zeros((rows, 1)))
        assert (header(world.mixed({"inputs": [head]}, data), "trivet-error") or "") == code
    body = json.dumps(one("INT64", 1)).encode()
    world.plane.limits = Limits(max_body_bytes=len(body))
    assert world.ask(body=body)[0] == 200
    assert world.ask(body=body + b" ")[0] == 413
    world.plane.limits = Limits()
    for count, code in ((4096, "DUPLICATE_INPUT"), (4097, "TOO_MANY")):
        assert world.code({"inputs": [tensor("x", "INT64", [1])] * count}) == code
    for count, code in ((64, "UNKNOWN_OUTPUT"), (65, "TOO_MANY")):
        assert world.code(one("INT64", 1) | {"outputs": [{"name": f"o{i}"} for i in range(count)]}) == code
    assert world.code({"inputs": [tensor("n" * 257, "INT64", [1])]}) == "UNKNOWN_INPUT"
    assert world.code(one("INT64", 1) | {"model_name": "n" * 257}) == "NAME_MISMATCH"


def test_41_elements_over_all_inputs_have_a_bound(tmp_path: Path):
    world = EchoWorld(tmp_path, Input(name="x", datatype="BOOL", shape=(1, -1)))
    for size, code in ((4_194_304, ""), (4_194_305, "TOO_MANY")):
        head = {"name": "x", "datatype": "BOOL", "shape": [1, size], "parameters": {"binary_data_size": size}}
        request = {"inputs": [head], "parameters": {"binary_data_output": True}}
        assert (header(world.mixed(request, bytes(size)), "trivet-error") or "") == code


@pytest.mark.parametrize(("rank", "code"), [(8, ""), (9, "BAD_SHAPE")])
def test_41_a_tensor_has_up_to_eight_dimensions(tmp_path: Path, rank: int, code: str):
    world = EchoWorld(tmp_path, Input(name="x", datatype="INT64", shape=(-1,) + (1,) * (rank - 1)))
    assert world.code({"inputs": [tensor("x", "INT64", [7], shape=[1] * rank)]}) == code


@pytest.mark.parametrize("depth", [32, 33, 900, 5000, 40_000])
def test_41_a_body_nested_too_deeply_is_a_400_wherever_it_is(tmp_path: Path, depth: int):
    lists = b"[" * depth + b'"YQ=="' + b"]" * depth
    for datatype in (b"FP64", b"BYTES"):
        world = EchoWorld(tmp_path / datatype.decode(), column("x", datatype.decode()))
        for data in (lists, b'[{"a":%s}]' % lists, b'["%s",%s]' % (b"x" * MAX_ELEMENT_BYTES, lists)):
            tensor_head = b'{"name":"x","datatype":"%s","shape":[1,1],"data":%s' % (datatype, data)
            for parameters in (b"", b',"parameters":{"content_type":"base64"}'):
                assert world.ask(body=b'{"inputs":[%s%s}]}' % (tensor_head, parameters))[0] == 400
        for row in (b'{"x":%s}' % lists, b'{"x":{"a":%s}}' % lists):
            assert world.ask(path="/v2/models/churn/predict", body=b'{"rows":[%s]}' % row)[0] == 400


def test_41_an_answer_over_its_bound_is_refused_before_the_model_runs_where_the_signature_tells(tmp_path: Path):
    wide = Output(name="y", datatype="FP64", shape=(-1, 1024))
    free = Output(name="z", datatype="FP64", shape=(-1, -1))
    world = EchoWorld(
        tmp_path,
        column("x", "INT64"),
        outputs=(wide, free),
        answers=lambda inputs: {"y": np.zeros((len(inputs["x"]), 1024)), "z": np.zeros((len(inputs["x"]), 1024))},
    )
    world.plane.limits = Limits(max_answer_bytes=2 * 1024 * 8)
    for name, rows, code, runs in (("y", 2, "", 1), ("y", 3, "ANSWER_TOO_LARGE", 1), ("z", 3, "ANSWER_TOO_LARGE", 2)):
        asked = [{"name": name, "parameters": {"binary_data": True}}]
        assert world.code(one("INT64", *range(rows)) | {"outputs": asked}) == code
        assert world.engine.version.runs == runs
    assert world.code(one("INT64", 1, 2)) == "ANSWER_TOO_LARGE", "outputs count together"


def test_a_64_bit_integer_is_written_in_full(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "UINT64"), column("y", "INT64"))
    body = {"inputs": [tensor("x", "UINT64", [2**64 - 1]), tensor("y", "INT64", [2**53 + 1])]}
    assert b"18446744073709551615" in world.send(body=body).body
    assert b"9007199254740993" in world.send(body=body).body


def test_the_world_of_rows_takes_bytes_too(tmp_path: Path):
    world = World(tmp_path)
    sent = infer_body()
    (age, ages), (seats, seat_bytes) = binary("age", "FP64", [[50.0]]), binary("seats", "INT64", [[3]])
    head = json.dumps({"inputs": [seats, sent["inputs"][1], age]}).encode()
    response = world.send(body=head + seat_bytes + ages, headers={"inference-header-content-length": str(len(head))})
    assert parts(response)[0]["outputs"] == world.ask(body=sent)[1]["outputs"]
