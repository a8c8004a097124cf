"""Names, shapes, parameters and paths that nobody means well, on every mount; and what none of the answers may tell."""

from __future__ import annotations

import json
import string
import sys
import tracemalloc
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from tests.unit.dataplane.echo import EchoWorld, binary, column, header, tensor
from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.test_hostile_json import alike
from tests.unit.dataplane.test_mutated_requests import mirror
from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.core.signature import Input
from trivet.dataplane.plane import Limits

INFER = "/v2/models/churn/infer"
PREDICT = "/v2/models/churn/predict"
MIB = 1 << 20


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return mirror(tmp_path_factory.mktemp("hostile"), limits=Limits())


def changed(**fields: Any) -> bytes:
    """Return the good body with a tensor changed."""
    body = infer_body()
    body["inputs"][0] |= fields
    return json.dumps(body).encode()


# --- shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [*range(11), 32, 33, 100, 1_000])
def test_H30_a_rank_that_the_signature_has_not_is_a_400(world: World, rank: int):
    assert alike(world, changed(shape=[1] * rank))[0] == (200 if rank in (1, 2) else 400)


SIZES = [-1, -(2**31), 2**31, 2**32, 2**62, 2**63, 2**64, 10**30, 1.0, 1e0, True, None, "1", [1], {}]


@pytest.mark.parametrize("size", SIZES, ids=repr)
def test_H31_a_dimension_that_is_none_or_does_not_fit_is_a_400_and_nothing_is_allocated(world: World, size: Any):
    for shape in ([size], [size, 1], [1, size], [size, size], [2**32, 2**32]):
        tracemalloc.start()
        try:
            told = world.send(body=changed(shape=shape))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert told.status == 400, (shape, told)
        assert peak < MIB
    assert alike(world, changed(shape=[size, 1]))[0] == 400


@pytest.mark.parametrize("size", [2**31, 2**32, 2**62])
def test_H31_the_same_of_bytes(tmp_path: Path, size: int):
    world = EchoWorld(tmp_path, Input(name="x", datatype="FP64", shape=(-1, -1)))
    for shape in ([size, 1], [1, size], [size, size], [size, 0], [0, size]):
        for sent in (8, 0, (shape[0] * shape[1] * 8) % 2**64):
            head = {"name": "x", "shape": shape, "datatype": "FP64", "parameters": {"binary_data_size": sent}}
            assert world.mixed({"inputs": [head]}, bytes(min(sent, 8))).status == 400, (shape, sent)


@pytest.mark.parametrize("by", [-1, 1])
def test_H32_one_value_or_one_byte_too_few_or_many_is_a_400(world: World, tmp_path: Path, by: int):
    assert (
        alike(world, json.dumps(infer_body(age=[1.0] * (3 + by), city=["Lyon"] * 3, seats=[1] * 3)).encode())[0] == 400
    )
    assert alike(world, changed(shape=[3 + by, 1], data=[1.0] * 3))[0] == 400
    echo = EchoWorld(tmp_path, column("x", "FP64"))
    head, data = binary("x", "FP64", np.ones((3, 1)))
    assert echo.mixed({"inputs": [head]}, data[:by] if by < 0 else data + b"\0").status == 400


@pytest.mark.parametrize(
    "datatype",
    [
        "fp64",
        "Fp64",
        "FP64 ",
        "",
        "FP128",
        "STRING",
        "DOUBLE",
        "float64",
        "<f8",
        "O",
        "object",
        "TYPE_FP64",
        "\u0000",
        "INT64",
        "BOOL",
    ],
)
def test_H34_a_datatype_is_one_of_the_list_and_written_as_there(world: World, datatype: str):
    assert alike(world, changed(datatype=datatype))[0] == 400


def test_H36_denormals_and_the_sign_of_nought_arrive_as_they_were_sent(tmp_path: Path):
    sent = [5e-324, -5e-324, 2.2250738585072014e-308, -0.0, 0.0, sys.float_info.max, -sys.float_info.max]
    world = EchoWorld(tmp_path, column("x", "FP64"))
    status, answer, _ = world.ask(body={"inputs": [tensor("x", "FP64", sent)]})
    assert (status, repr(answer["outputs"][0]["data"])) == (200, repr(sent))
    head, data = binary("x", "FP64", np.array(sent).reshape(-1, 1))
    assert repr(json.loads(world.mixed({"inputs": [head]}, data).body)["outputs"][0]["data"]) == repr(sent)


@pytest.mark.parametrize(("rows", "status"), [(0, 200), (1, 200), (1_024, 200), (1_025, 400), (20_000, 400)])
def test_H37_none_and_too_many_rows(world: World, rows: int, status: int):
    body = infer_body(age=[1.0] * rows, city=["Lyon"] * rows, seats=[1] * rows)
    assert alike(world, json.dumps(body).encode())[0] == status
    as_rows = json.dumps({"rows": [GOOD_ROW] * rows}).encode()
    assert world.send(path=PREDICT, body=as_rows).status == status
    table = b"age,city,seats\n" + b"50,Lyon,3\n" * rows
    assert world.send(path=PREDICT, body=table, headers={"content-type": "text/csv"}).status == (
        status if rows else 200
    )


# --- names and parameters ----------------------------------------------------------------------------------------------

NAMES = [
    *(
        "__proto__",
        "constructor",
        "__class__",
        "__init__",
        "prototype",
        "toString",
        "",
        " ",
        "Age",
        "age ",
        "a\u0067e\u0301",
        "\u0430ge",
    ),
    *(
        "age\u0000",
        "../../etc/passwd",
        "%s%n",
        "{0.__class__}",
        "{{7*7}}",
        "${jndi:x}",
        "$(id)",
        "`id`",
        "'; --",
        "<script>",
        "\u202e",
        "x" * 65_536,
    ),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_H38_H40_H41_a_name_that_is_none_of_the_models_is_a_400_in_every_place(world: World, name: str):
    good = infer_body()
    bodies = [
        {"inputs": [good["inputs"][0] | {"name": name}, *good["inputs"][1:]]},
        {"inputs": [*good["inputs"], good["inputs"][0] | {"name": name}]},
        good | {"outputs": [{"name": name}]},
        good | {name: 1},
        {"inputs": [good["inputs"][0] | {name: 1}, *good["inputs"][1:]]},
        good | {"outputs": [{"name": "age", name: 1}]},
        good | {"model_name": name},
        good | {"id": name if name != "__class__" else "\n"} if name not in ("Age",) else {},
    ]
    for body in bodies:
        status, told = alike(world, json.dumps(body).encode())
        if body.get("id") in NAMES and status == 200:
            assert told["id"] == body["id"]  # it fits the grammar, and is the caller's
            continue
        assert (status, set(told)) == (400, {"error"})
        assert len(told["error"]) < 2_000
    status, told = alike(world, json.dumps({"rows": [GOOD_ROW | {name: 1}]}).encode(), PREDICT)
    assert (status, len(json.dumps(told)) < 4_000) == (400, True)


def test_H40_ten_thousand_inputs_outputs_fields_and_parameters_are_refused_quickly(world: World):
    good = infer_body()
    many = range(10_000)
    for body in (
        {"inputs": [tensor(f"n{i}", "FP64", [1.0]) for i in many]},
        {"inputs": good["inputs"] * 3_000},
        good | {"outputs": [{"name": f"n{i}"} for i in many]},
        good | {"parameters": {f"n{i}": i for i in many}},
        good | {"parameters": {"a": "x" * 65_536}},
    ):
        assert alike(world, json.dumps(body).encode())[0] == 400
    assert alike(world, json.dumps({"rows": [{f"n{i}": 1 for i in many}]}).encode(), PREDICT)[0] == 400


RESERVED: list[dict[str, Any]] = [
    {name: value}
    for name in ("sequence_id", "sequence_start", "sequence_end", "triton_final", "headers")
    for value in (7, "a", True)
]
RESERVED += [{name: "r"} for name in ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")]
RESERVED += [
    {"a": {}},
    {"a": []},
    {"a": {"a": {"a": 1}}},
    {"priority": 1.0},
    {"cache": "false"},
    {"classification": "1"},
]


@pytest.mark.parametrize("parameters", RESERVED, ids=str)
def test_H42_H45_reserved_and_deep_parameters_are_a_400_wherever_they_stand(world: World, parameters: dict[str, Any]):
    good = infer_body()
    for body in (
        good | {"parameters": parameters},
        {"inputs": [good["inputs"][0] | {"parameters": parameters}, *good["inputs"][1:]]},
        good | {"outputs": [{"name": "age", "parameters": parameters}]},
    ):
        assert alike(world, json.dumps(body).encode())[0] == 400
    assert alike(world, json.dumps({"rows": [GOOD_ROW], "parameters": parameters}).encode(), PREDICT)[0] == 400


@pytest.mark.parametrize("depth", [1, 2, 32, 33, 10_000])
def test_H45_no_parameter_is_nested(world: World, depth: int):
    for deep in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        body = json.dumps(infer_body() | {"parameters": {"a": "@"}}).replace('"@"', deep)
        assert alike(world, body.encode())[0] == 400


# --- cost --------------------------------------------------------------------------------------------------------------


def test_H43_rows_cost_what_they_cost_in_one_request_or_in_many(tmp_path: Path):
    world = mirror(tmp_path, limits=Limits())
    world.sees_all = True
    world.route({1: 100}, verbs={"predict", "view"})
    for count, each in ((64, 1), (1, 64)):
        before = world.ask("GET", "/v2/models/churn/stats")[1]["model_stats"][0]["inference_count"]
        for _ in range(count):
            body = infer_body(age=[1.0] * each, city=["Lyon"] * each, seats=[1] * each)
            assert world.send(body=body).status == 200
        assert world.ask("GET", "/v2/models/churn/stats")[1]["model_stats"][0]["inference_count"] - before == 64
    assert sum(record.rows for record in world.records()) == 128


def test_H44_an_answer_a_hundred_times_the_request_is_refused_by_its_bound_before_the_model_runs(tmp_path: Path):
    from trivet.core.signature import Output

    wide = Output(name="y", datatype="FP64", shape=(-1, 100_000))
    world = EchoWorld(
        tmp_path,
        column("x", "BOOL"),
        outputs=(wide,),
        answers=lambda given: {"y": np.zeros((len(given["x"]), 100_000))},
    )
    body = {"inputs": [tensor("x", "BOOL", [True] * 1_024)]}
    tracemalloc.start()
    response = world.send(body=body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (response.status, header(response, "trivet-error")) == (400, "ANSWER_TOO_LARGE")
    assert (world.engine.version.runs, world.records()) == (0, [])
    assert peak < 2 * MIB
    few = {"inputs": [tensor("x", "BOOL", [True])]}
    assert world.send(body=few).status == 200


# --- paths -------------------------------------------------------------------------------------------------------------

PATHS = [
    *(
        "/v2/models/churn/infer/",
        "/v2//models/churn/infer",
        "/v2/models//churn/infer",
        "/v2/models/./churn/infer",
        "/v2/models/x/../churn/infer",
    ),
    *(
        "/v2/models/%2e%2e/churn/infer",
        "/v2/models/churn%2finfer%2f",
        "/v2/models/churn%252finfer",
        "/v2/models/churn%00/infer",
        "/v2/models/churn;a=1/infer",
    ),
    *(
        "/v2/models/churn/versions/01/infer",
        "/v2/models/churn/versions/+1/infer",
        "/v2/models/churn/versions/1.0/infer",
        "/v2/models/churn/versions/0/infer",
    ),
    *(
        "/v2/models/churn/versions/-1/infer",
        "/v2/models/churn/versions/1e0/infer",
        "/v2/models/churn/versions/%31%00/infer",
        "/v2/models/churn/versions/\u0661/infer",
    ),
    *(
        "/v2/models/churn/versions/18446744073709551616/infer",
        "/v2/models/churn/versions/latest/infer",
        "/v2/models/CHURN/infer",
        "/v2/models/churn/INFER",
    ),
    *(
        "/v2/models/churn%zz/infer",
        "/v2/models/%/infer",
        "/v2/models/ch%75rn%/infer",
        "/v2/models/.churn/infer",
        "/v2/models/-churn/infer",
        "/v2/models/__proto__/infer",
    ),
    *(
        "/v2/models/" + "a" * 64 + "/infer",
        "/v2/models/" + "a/" * 3_500 + "infer",
        "/v2/models/" + "%61" * 2_000 + "/infer",
        "/v2/models/churn/versions/" + "9" * 7_000 + "/infer",
    ),
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ascii(path[11:50]))
def test_H62_to_H66_a_form_of_a_path_that_names_nothing_is_a_404_or_a_400_and_never_a_redirect(world: World, path: str):
    body = json.dumps(infer_body()).encode()
    sent = {
        b"host": b"localhost",
        b"content-length": b"%d" % len(body),
        b"authorization": b"Bearer " + world.key.encode(),
    }
    for name, mount in MOUNTS.items():
        response = mount(world.plane, "POST", quote(path, safe=string.punctuation), sent, body)
        assert response.status in (400, 404), (name, response)
        assert "location" not in {key.decode() for key, _ in response.headers}
        assert set(json.loads(response.body)) == {"error"}


@pytest.mark.parametrize("path", ["/v2/models/%ff/infer", "/v2/models/%c0%af/infer", "/v2/models/%ed%a0%80/infer"])
def test_H65_a_path_that_is_not_utf_8_is_a_400(world: World, path: str):
    body = json.dumps(infer_body()).encode()
    sent = {
        b"host": b"localhost",
        b"content-length": b"%d" % len(body),
        b"authorization": b"Bearer " + world.key.encode(),
    }
    for name, statuses in {
        "uvicorn": {400},
        "wsgi": {400},
        "urls": {400, 404},
    }.items():  # Django writes such bytes as %FF
        assert MOUNTS[name](world.plane, "POST", path, sent, body).status in statuses, name
