"""KServe V1's `:predict` on the same corridor (conformance item 55), without a server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.dataplane.world import GOOD_ROW, ByHand, World
from trivet.core.datatypes import MAX_ELEMENT_BYTES
from trivet.core.errors import InvalidRequest
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.protocol.v1 import decode_instances

pytestmark = pytest.mark.usefixtures("on_every_mount")

PATH = "/v1/models/churn:predict"
MATRIX = Signature(
    inputs=(Input(name="x", datatype="FP64", shape=(-1, 2)),),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
    task="regression",
)
SCALARS = Signature(
    inputs=(Input(name="age", datatype="FP64", shape=(-1, 1), nullable=True),),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
    task="regression",
)


def summing(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Make the model of `world` add each row up."""
    monkeypatch.setattr(
        ByHand, "run", lambda _self, feed, _outputs, *_: [np.nansum(next(iter(feed.values())), axis=1, dtype=float)]
    )
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_55_objects_are_rows_and_the_decision_comes_back(world: World):
    rows = [GOOD_ROW, {**GOOD_ROW, "age": 10}]
    status, answer, headers = world.ask(path=PATH, body={"instances": rows})
    assert (status, answer) == (200, {"predictions": ["stays", "churned"]})
    assert world.ask(path=PATH, body={"inputs": rows})[1] == answer
    assert world.ask(path=PATH, body={"instances": rows, "inputs": None, "signature_name": None})[1] == answer
    assert headers["trivet-model-version"] == "1"
    record = world.records()[0]
    assert (record.id, record.door, record.rows) == (headers["trivet-prediction-id"], "v1", 2)


def test_55_outputs_asked_for_come_as_an_object_per_instance(world: World):
    body = {"instances": [GOOD_ROW], "outputs": ["probabilities", "label"], "signature_name": "serving_default"}
    status, answer, _ = world.ask(path=PATH, body=body)
    assert status == 200
    assert answer == {"predictions": [{"probabilities": {"churned": 0.5, "stays": 0.5}, "label": "stays"}]}


def test_55_lists_are_rows_of_the_only_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = summing(World(tmp_path, signature=MATRIX), monkeypatch)
    assert world.ask(path=PATH, body={"instances": [[1, 2], [3, 4.5]]})[:2] == (200, {"predictions": [3.0, 7.5]})
    assert world.ask(path=PATH, body={"instances": [{"x0": 1, "x1": 2}]})[1] == {"predictions": [3.0]}
    assert world.ask(path=PATH, body={"instances": []})[:2] == (200, {"predictions": []})


def test_55_a_scalar_is_a_row_of_one_element_and_may_be_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = summing(World(tmp_path, signature=SCALARS), monkeypatch)
    expected = (200, {"predictions": [1.0, 0.0, 2.5]})
    assert world.ask(path=PATH, body={"instances": [1, None, 2.5]})[:2] == expected
    assert world.ask(path=PATH, body={"instances": [[1], [None], [2.5]]})[:2] == expected
    assert world.ask(path=PATH, body={"instances": [{"age": 1}, {"age": None}, {"age": 2.5}]})[:2] == expected


def test_55_bare_rows_name_no_field_to_be_sticky_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = summing(World(tmp_path, signature=MATRIX), monkeypatch)
    world.route({1: 50, 2: 50}, sticky_by="x0")
    assert world.ask(path=PATH, body={"instances": [[1, 2]]})[0] == 200


def test_55_an_alias_may_stand_before_the_verb(world: World):
    world.route({2: 100})
    _, _, headers = world.ask(path="/v1/models/churn/versions/champion:predict", body={"instances": [GOOD_ROW]})
    assert headers["trivet-model-version"] == "2"
    _, _, headers = world.ask(path="/v1/models/churn/versions/1:predict", body={"instances": [GOOD_ROW]})
    assert headers["trivet-model-version"] == "1"
    assert [record.route for record in world.records()] == ["alias", "pinned"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"instances": [GOOD_ROW], "inputs": [GOOD_ROW]}, "BAD_PARAMETER"),
        ({}, "MISSING_FIELD"),
        ({"inputs": {"age": [1], "city": ["Lyon"]}}, "WRONG_TYPE"),
        ({"instances": GOOD_ROW}, "WRONG_TYPE"),
        ({"instances": [GOOD_ROW, [1]]}, "WRONG_TYPE"),
        ({"instances": [[1, "Lyon", 3]]}, "MISSING_INPUT"),
        ({"instances": [GOOD_ROW], "signature_name": "other"}, "BAD_PARAMETER"),
        ({"instances": [GOOD_ROW], "parameters": {"partial": True}}, "BAD_PARAMETER"),
        ({"instances": [GOOD_ROW], "outputs": ["lable"]}, "UNKNOWN_OUTPUT"),
        ({"instances": [{**GOOD_ROW, "city": None}]}, "INVALID_ROWS"),
        ({"instances": [GOOD_ROW], "id": "x"}, "UNKNOWN_FIELD"),
        (b'{"instances":[{"age":1,"age":2}]}', "DUPLICATE_KEY"),
        (b'{"instances":[],"instances":[]}', "DUPLICATE_KEY"),
        (b"", "NOT_JSON"),
    ],
)
def test_55_a_bad_body_is_a_400_that_says_what_is_wrong(world: World, body: dict | bytes, code: str):
    status, answer, headers = world.ask(path=PATH, body=body)
    assert (status, headers["trivet-error"]) == (400, code), answer
    assert world.records() == []


@pytest.mark.parametrize(
    ("instances", "code"),
    [
        ([[1, 2], [3]], "BAD_NESTING"),
        ([[1, 2], 3], "BAD_NESTING"),
        ([3, [1, 2]], "BAD_SHAPE"),
        ([[1, 2, 3]], "BAD_SHAPE"),
        ([[]], "BAD_SHAPE"),
        ([[[1, 2]]], "BAD_SHAPE"),
        ([[1, "2"]], "BAD_ELEMENT"),
        ([[1, None]], "NULL_NOT_ALLOWED"),
        ([[1, {"x1": 2}]], "BAD_ELEMENT"),
    ],
)
def test_55_lists_are_held_to_the_tensors_shape(tmp_path: Path, instances: list, code: str):
    status, answer, headers = World(tmp_path, signature=MATRIX).ask(path=PATH, body={"instances": instances})
    assert (status, headers["trivet-error"]) == (400, code), answer


@pytest.mark.parametrize("nested", [False, True])
def test_41_a_text_of_an_instance_has_the_bound_of_every_text(nested: bool):
    def body(size: int) -> bytes:
        return json.dumps({"instances": [["x" * size] if nested else "x" * size]}).encode()

    assert decode_instances(body(MAX_ELEMENT_BYTES), "m").rows
    with pytest.raises(InvalidRequest) as refused:
        decode_instances(body(MAX_ELEMENT_BYTES + 1), "m")
    assert refused.value.code == "TOO_MANY"


def test_55_v1_keeps_to_grants_methods_and_paths(world: World):
    assert world.ask("GET", PATH)[2]["allow"] == "POST"
    assert world.ask(path="/v1/models/churn")[2]["allow"] == "GET, HEAD"
    for path in ("/v1/models/:predict", "/v1/models/churn/:predict", "/v1/models/churn:explode", "/v1/models/churn:"):
        assert world.ask(path=path)[0] == 404
    assert world.ask(path=PATH, key=None)[0] == 401
    world.route({1: 100}, verbs={"view"})
    assert world.ask(path=PATH, body={"instances": [GOOD_ROW]})[0] == 403
