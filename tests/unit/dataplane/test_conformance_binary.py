"""Binary tensors over REST, and compression: items 18 and 25 to 33 of the protocol's conformance list."""

from __future__ import annotations

import gzip
import json
import zlib
from bisect import bisect_left
from pathlib import Path

import numpy as np
import pytest

from tests.unit.dataplane.echo import EchoWorld, binary, column, header, parts, tensor
from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.core.signature import Input, Output
from trivet.dataplane.plane import Limits
from trivet.dataplane.protocol.compression import COMPRESSED_FROM, MAX_RATIO
from trivet.dataplane.protocol.raw import frame, from_bf16

pytestmark = pytest.mark.usefixtures("on_every_mount")


@pytest.fixture
def world(tmp_path: Path) -> EchoWorld:
    return EchoWorld(tmp_path, column("a", "FP32"), column("b", "BYTES"), column("c", "INT64"))


A, A_BYTES = binary("a", "FP32", [[0.1], [1.0]])
B, B_BYTES = binary("b", "BYTES", np.array([["Zürich"], [""]], dtype=object))
C, C_BYTES = binary("c", "INT64", [[-(2**63)], [7]])
JSON_A = tensor("a", "FP32", [0.1, 1.0])
JSON_B = tensor("b", "BYTES", ["Zürich", ""])
JSON_C = tensor("c", "INT64", [-(2**63), 7])
OF_JSON = {"inputs": [JSON_A, JSON_B, JSON_C]}


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_43_rows_give_and_record_the_number_that_a_half_float_holds(tmp_path: Path, datatype: str):
    made = np.array([0.1], np.float16 if datatype == "FP16" else np.float32)
    half = Output(name="prediction", datatype=datatype, shape=(-1,))
    world = EchoWorld(tmp_path, column("x", "FP32"), outputs=(half,), answers=lambda _: {"prediction": made})
    body = {"inputs": [tensor("x", "FP32", [0.5])], "parameters": {"binary_data_output": True}}
    _, tensors = parts(world.send(body=body))
    held = np.frombuffer(tensors["prediction"], "<f2") if datatype == "FP16" else from_bf16(tensors["prediction"])
    _, answer, _ = world.ask(path="/v2/models/churn/predict", body={"rows": [{"x": 0.5}]})
    assert answer["rows"][0]["value"] == float(held[0]) != 0.1
    assert [record.outputs for record in world.records()] == [[[float(held[0])]]] * 2


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_18_half_floats_travel_as_bytes_and_are_refused_as_json(tmp_path: Path, datatype: str):
    world = EchoWorld(tmp_path, column("x", datatype))
    head, data = binary("x", datatype, np.array([[1.5], [-0.25]], np.float32))
    body, tensors = parts(world.mixed({"inputs": [head], "parameters": {"binary_data_output": True}}, data))
    assert tensors == {"x": data}
    assert body["outputs"][0]["datatype"] == datatype
    assert world.seen["x"].dtype == (np.float16 if datatype == "FP16" else np.float32)
    as_json = world.mixed({"inputs": [head]}, data)
    assert (as_json.status, header(as_json, "trivet-error")) == (400, "BINARY_REQUIRED")
    assert world.code({"inputs": [tensor("x", datatype, [1.5])]}) == "BINARY_REQUIRED"
    assert world.records()[0].outputs == [[1.5, -0.25]]


def test_25_binary_in_and_json_out(world: EchoWorld):
    response = world.mixed({"inputs": [A, B, C], "id": "b1"}, A_BYTES, B_BYTES, C_BYTES)
    body, tensors = parts(response)
    assert (tensors, header(response, "content-type")) == ({}, "application/json")
    assert body["id"] == "b1"
    assert body["outputs"] == world.ask(body=OF_JSON)[1]["outputs"]
    by_bytes, by_json = (np.float32(record.inputs[0]).tolist() for record in world.records())
    assert by_bytes == by_json


def test_26_json_in_and_binary_out(world: EchoWorld):
    response = world.send(body=OF_JSON | {"parameters": {"binary_data_output": True}})
    body, tensors = parts(response)
    assert header(response, "content-type") == "application/octet-stream"
    assert tensors == {"a": A_BYTES, "b": B_BYTES, "c": C_BYTES}
    assert [output["shape"] for output in body["outputs"]] == [[2, 1]] * 3


def test_27_mixed_inputs_and_outputs_and_the_outputs_own_setting_wins(world: EchoWorld):
    asked = [{"name": "c"}, {"name": "a", "parameters": {"binary_data": False}}, {"name": "b", "parameters": {}}]
    request = {"inputs": [C, JSON_A, B], "outputs": asked, "parameters": {"binary_data_output": True}}
    body, tensors = parts(world.mixed(request, C_BYTES, B_BYTES))
    assert [output["name"] for output in body["outputs"]] == ["c", "a", "b"]
    assert tensors == {"c": C_BYTES, "b": B_BYTES}
    assert np.float32(body["outputs"][1]["data"][0]) == np.float32(0.1)
    only = [{"name": "a", "parameters": {"binary_data": True}}, {"name": "c", "parameters": {"binary_data": None}}]
    body, tensors = parts(world.send(body=OF_JSON | {"outputs": only}))
    assert tensors == {"a": A_BYTES}
    assert body["outputs"][1]["data"] == [-(2**63), 7]


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_28_H22_sizes_and_lengths_that_lie_are_refused(tmp_path: Path, datatype: str):
    world = EchoWorld(tmp_path, column("x", datatype))
    head, data = binary("x", datatype, [[1.0]] if datatype == "FP32" else np.array([["abcd"]], dtype=object))
    lying = [(-1, "TRAILING_BYTES"), (1, "BINARY_SIZE"), (-len(data), "TRAILING_BYTES")]
    cases = [(head | {"parameters": {"binary_data_size": len(data) + by}}, data, code) for by, code in lying]
    cases += [(head | {"parameters": {"binary_data_size": size}}, data, "BINARY_SIZE") for size in (-1, "8", True, 8.0)]
    cases += [(head, data + b"\x00", "TRAILING_BYTES"), (head, data[:-1], "BINARY_SIZE")]
    cases += [(head | {"data": [1]}, data, "BINARY_SIZE"), (head | {"shape": [2, 1]}, data, "BINARY_SIZE")]
    cases += [(head | {"parameters": {"binary_data_size": len(data) - 1}}, data[:-1], "BINARY_SIZE")]
    for tensor_head, sent, code in cases:
        response = world.mixed({"inputs": [tensor_head]}, sent)
        assert (response.status, header(response, "trivet-error")) == (400, code), (tensor_head, response.body)
    without_header = json.dumps({"inputs": [head]}).encode()
    for body in (without_header, without_header + data):
        assert world.ask(body=body)[0] == 400
    assert world.code({"inputs": [head | {"data": [1.0]}]}) == "BINARY_SIZE"
    assert world.records() == []


@pytest.mark.parametrize("length", ["-1", "abc", "+5", "9" * 20, "", "5 5", "5.0", "²"])
def test_29_H22_a_length_of_the_json_that_is_none_is_refused_before_the_body_is_read(world: EchoWorld, length: str):
    response = world.mixed(OF_JSON, length=length)
    assert (response.status, header(response, "trivet-error")) == (400, "BAD_HEADER")


def test_29_the_json_may_be_the_whole_body_and_no_more(world: EchoWorld):
    assert parts(world.mixed(OF_JSON))[0]["outputs"] == world.ask(body=OF_JSON)[1]["outputs"]
    size = len(json.dumps(OF_JSON))
    assert header(world.mixed(OF_JSON, length=size + 1), "trivet-error") == "BINARY_SIZE"
    assert header(world.mixed(OF_JSON, length=size - 1), "trivet-error") == "NOT_JSON"
    rows = world.send(path="/v2/models/churn/predict", headers={"inference-header-content-length": "5"})
    assert header(rows, "trivet-error") == "BAD_HEADER"


def test_30_a_raw_request_is_the_one_tensor_of_its_signature(tmp_path: Path):
    def raw(place: str, shape: tuple[int, ...], body: bytes, datatype: str = "FP32"):
        world = EchoWorld(tmp_path / place, Input(name="x", datatype=datatype, shape=shape))
        return world, world.send(body=body, headers={"inference-header-content-length": "0"})

    four = np.array([1, 2, 3, 4], "<f4").tobytes()
    for place, shape, seen in (("1", (-1, 4), (1, 4)), ("2", (-1, -1, 2), (1, 2, 2)), ("3", (4,), (4,))):
        world, response = raw(place, shape, four)
        body, tensors = parts(response)
        assert (tensors, world.seen["x"].shape) == ({"x": four}, seen)
        assert "id" not in body
    world, response = raw("text", (-1, 1), "whole ✓".encode(), "BYTES")
    assert parts(response)[1] == {"x": frame(["whole ✓".encode()])}
    assert world.seen["x"].tolist() == [["whole ✓"]]
    refused = [
        ((-1, -1, -1), four, "BAD_SHAPE"),
        ((-1, 3), four, "BINARY_SIZE"),
        ((-1, 4), four * 2, "BINARY_SIZE"),
        ((-1, -1), b"", "BINARY_SIZE"),
        ((-1, -1), four[:-1], "BINARY_SIZE"),
    ]
    for number, (shape, body, code) in enumerate(refused):
        _, response = raw(f"bad{number}", shape, body)
        assert (response.status, header(response, "trivet-error")) == (400, code)
    _, response = raw("texts", (-1, 2), b"ab", "BYTES")
    assert header(response, "trivet-error") == "BAD_SHAPE"


def test_30_a_raw_request_to_a_model_of_several_inputs_is_refused(world: EchoWorld):
    response = world.send(body=A_BYTES, headers={"inference-header-content-length": "0"})
    assert (response.status, header(response, "trivet-error")) == (400, "MISSING_INPUT")


PACKED = {"gzip": gzip.compress, "deflate": zlib.compress}
UNPACKED = {"gzip": gzip.decompress, "deflate": zlib.decompress}


def many(world: EchoWorld, rows: int = 1000) -> tuple[dict, bytes]:
    head, data = binary("a", "FP32", np.random.default_rng(7).random((rows, 1), np.float32))
    texts, ints = tensor("b", "BYTES", ["x"] * rows), tensor("c", "INT64", [5] * rows)
    return {"inputs": [head, texts, ints], "parameters": {"binary_data_output": True}}, data


@pytest.mark.parametrize("encoding", sorted(PACKED))
def test_31_H27_compression_in_and_out_alone_and_with_binary(world: EchoWorld, encoding: str):
    plain = world.ask(body=OF_JSON)[1]["outputs"]
    packed = PACKED[encoding](json.dumps(OF_JSON).encode())
    response = world.send(body=packed, headers={"content-encoding": encoding.upper(), "accept-encoding": encoding})
    assert header(response, "content-encoding") is None, "a small answer stays plain"
    assert parts(response)[0]["outputs"] == plain

    request, data = many(world)
    head = json.dumps(request).encode()
    length = {"inference-header-content-length": str(len(head))}
    expected = world.send(body=head + data, headers=length)
    response = world.send(
        body=PACKED[encoding](head + data),
        headers=length | {"content-encoding": encoding, "accept-encoding": f"br, {encoding};q=0.5"},
    )
    assert header(response, "content-encoding") == encoding
    assert header(response, "content-length") == str(len(response.body))
    assert len(response.body) < len(expected.body)
    body, tensors = parts(response._replace(body=UNPACKED[encoding](response.body)))
    assert tensors == parts(expected)[1]
    assert tensors["a"] == data
    assert body["outputs"] == parts(expected)[0]["outputs"]


def test_31_gzip_is_preferred_and_what_is_not_taken_is_not_sent(world: EchoWorld):
    request, data = many(world)
    for accept, encoding in {
        "deflate, gzip": "gzip",
        "*": "gzip",
        "gzip;q=0, *": "deflate",
        "gzip;q=0.0, deflate;q=1": "deflate",
        "br": None,
        "identity": None,
        "gzip;q=0": None,
    }.items():
        assert header(world.mixed(request, data, accept_encoding=accept), "content-encoding") == encoding


def test_31_only_answers_of_four_kibibytes_and_more_are_compressed(tmp_path: Path):
    world = EchoWorld(tmp_path, column("x", "BYTES"))
    empty = len(world.send(body={"inputs": [tensor("x", "BYTES", [""])]}).body)
    for size, encoding in ((COMPRESSED_FROM - 1, None), (COMPRESSED_FROM, "gzip")):
        body = {"inputs": [tensor("x", "BYTES", ["x" * (size - empty)])]}
        response = world.send(body=body, headers={"accept-encoding": "gzip"})
        assert header(response, "content-encoding") == encoding


GOOD = json.dumps(infer_body()).encode()
BAD_STREAMS = {
    "not gzip": (GOOD, "gzip", 400, "BAD_ENCODING"),
    "zlib called gzip": (zlib.compress(GOOD), "gzip", 400, "BAD_ENCODING"),
    "raw deflate": (zlib.compress(GOOD)[2:-4], "deflate", 400, "BAD_ENCODING"),
    "empty": (b"", "gzip", 400, "BAD_ENCODING"),
    "truncated": (gzip.compress(GOOD)[:-1], "gzip", 400, "BAD_ENCODING"),
    "a bad checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "gzip", 400, "BAD_ENCODING"),
    "trailing bytes": (gzip.compress(GOOD) + b"x", "gzip", 415, "CONTENT_ENCODING"),
    "a second member": (gzip.compress(GOOD) * 2, "gzip", 415, "CONTENT_ENCODING"),
    "doubled": (gzip.compress(gzip.compress(GOOD)), "gzip, gzip", 415, "CONTENT_ENCODING"),
    "brotli": (GOOD, "br", 415, "CONTENT_ENCODING"),
    "a bomb by ratio": (gzip.compress(b" " * 90_000), "gzip", 413, "BODY_TOO_LARGE"),
    "a bomb by size": (gzip.compress(GOOD.ljust(100_001)), "gzip", 413, "BODY_TOO_LARGE"),
}


@pytest.mark.usefixtures("on_every_mount")
@pytest.mark.parametrize("case", BAD_STREAMS)
def test_32_H26_H27_H28_bad_encodings_are_refused(tmp_path: Path, case: str):
    body, encoding, status, code = BAD_STREAMS[case]
    world = World(tmp_path)
    answered, answer, headers = world.ask(body=body, headers={"content-encoding": encoding})
    assert (answered, headers["trivet-error"]) == (status, code), answer
    assert world.records() == []


@pytest.mark.usefixtures("on_every_mount")
def test_H20_a_body_may_be_as_long_as_its_bound_and_not_one_byte_longer(tmp_path: Path):
    world = World(tmp_path)
    world.plane.limits = Limits(max_body_bytes=20_000)
    for path in ("/v2/models/churn/infer", "/v1/models/churn:predict"):
        good = GOOD if path.endswith("infer") else json.dumps({"instances": [GOOD_ROW]}).encode()
        for size, status in ((19_999, 200), (20_000, 200), (20_001, 413)):
            assert world.ask(path=path, body=good.ljust(size))[0] == status


@pytest.mark.usefixtures("on_every_mount")
def test_32_H20_H26_a_body_may_inflate_to_its_bounds_and_not_one_byte_beyond(tmp_path: Path):
    world = World(tmp_path)
    noise = np.random.default_rng(3).bytes(600).hex()
    body = json.dumps(infer_body() | {"parameters": {"note": noise[:1000]}}).encode()

    def padded(size: int) -> bytes:
        return gzip.compress(body.ljust(size))

    beyond = range(70_000, 100_000)
    ratio = beyond[bisect_left(beyond, True, key=lambda size: size > MAX_RATIO * len(padded(size)))]
    for size, status in ((ratio - 1, 200), (ratio, 413)):
        assert world.ask(body=padded(size), headers={"content-encoding": "gzip"})[0] == status
    for limit, status in ((20_000, 200), (19_999, 413)):
        world.plane.limits = Limits(max_body_bytes=limit)
        assert world.ask(body=padded(20_000), headers={"content-encoding": "gzip"})[0] == status


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "application/octet-stream", "application/x-www-form-urlencoded", "APPLICATION/JSON"],
)
def test_33_what_clients_send_unasked_is_read_as_json(world: EchoWorld, content_type: str | None):
    for charset in ("", "; charset=utf-8"):
        headers = {"content-type": content_type + charset} if content_type else {}
        assert world.code(OF_JSON, headers=headers) == ""


@pytest.mark.usefixtures("on_every_mount")
@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=x",
        "application/python-pickle",
        "application/x-pickle",
        "text/csv",
        "text/plain",
        "application/json; charset=utf-16",
        "application/xml",
    ],
)
def test_33_H29_other_content_types_are_415(world: EchoWorld, content_type: str):
    status, _, headers = world.ask(body=OF_JSON, headers={"content-type": content_type})
    assert (status, headers["trivet-error"]) == (415, "CONTENT_TYPE")


def test_16_binary_keeps_the_bits_of_nan_and_infinity_and_json_counts_them(tmp_path: Path):
    bits = np.array([[0x7FC00001, 0xFF800000, 0x3F800000]], np.uint32).view(np.float32)
    world = EchoWorld(
        tmp_path,
        column("x", "INT64"),
        outputs=(Output(name="y", datatype="FP32", shape=(-1, 3)),),
        answers=lambda _: {"y": bits},
    )
    asked = {"inputs": [tensor("x", "INT64", [1])]}
    body, _ = parts(world.send(body=asked))
    assert body["outputs"][0]["data"] == [None, None, 1.0]
    assert body["outputs"][0]["parameters"] == {"nan": 1, "inf": 1}
    body, tensors = parts(world.send(body=asked | {"parameters": {"binary_data_output": True}}))
    assert body["outputs"][0]["parameters"] == {"nan": 1, "inf": 1, "binary_data_size": 12}
    assert tensors["y"] == bits.tobytes()
