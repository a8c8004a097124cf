"""gRPC among the mounts: a canonical request, good or bad, is answered over it as by every mount of REST."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.unit.dataplane.grpc_world import Door
from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.test_hostile_json import FORMS, by
from tests.unit.dataplane.world import World, infer_body
from trivet.core.datatypes import NUMPY_DTYPES
from trivet.dataplane.cache.key import keyed_hash
from trivet.dataplane.cache.prediction_cache import PredictionCache
from trivet.dataplane.frontends.grpc.codec import CONTENTS
from trivet.dataplane.frontends.grpc.descriptor import inference

STATUS = {  # of protocol.md, section 8
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
KINDS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


def message_of(body: dict[str, Any], *, version: str = "", is_raw: bool = False) -> Any:
    """Return the request that a JSON body is, with typed or raw contents."""
    message = inference.ModelInferRequest(model_name="churn", model_version=version, id=body.get("id") or "")
    for tensor in body["inputs"]:
        added = message.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        if is_raw:
            message.raw_input_contents.append(raw(tensor["datatype"], tensor["data"]))
        else:
            values = [value.encode() if isinstance(value, str) else value for value in numbered(tensor["data"])]
            getattr(added.contents, CONTENTS.get(tensor["datatype"], "fp64_contents")).extend(values)
    for output in body.get("outputs") or ():
        message.outputs.add(name=output["name"])
    for name, value in (body.get("parameters") or {}).items():
        setattr(message.parameters[name], KINDS[type(value)], value)
    return message


def numbered(data: list[Any]) -> list[Any]:
    """Return a tensor's values in one row, null as it goes over gRPC."""
    flat = [value for part in data for value in (part if isinstance(part, list) else [part])]
    return [math.nan if value is None else value for value in flat]


def raw(datatype: str, data: list[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in data)
    return np.array(numbered(data), dtype=NUMPY_DTYPES[datatype]).tobytes()


def outputs_of(answer: Any) -> dict[str, tuple[str, list[int], list[Any]]]:
    """Return the outputs of an answer by name: datatype, shape, values as JSON has them."""
    found = {}
    for place, output in enumerate(answer.outputs):
        if answer.raw_output_contents:
            values = unpacked(output.datatype, answer.raw_output_contents[place])
        else:
            told = getattr(output.contents, CONTENTS[output.datatype])
            values = [value.decode() if isinstance(value, bytes) else value for value in told]
        found[output.name] = (output.datatype, list(output.shape), values)
    return found


def unpacked(datatype: str, data: bytes) -> list[Any]:
    if datatype != "BYTES":
        return list(np.frombuffer(data, NUMPY_DTYPES[datatype]).tolist())
    values = []
    while data:
        (size,) = struct.unpack_from("<I", data)
        values.append(data[4 : 4 + size].decode())
        data = data[4 + size :]
    return values


def as_by_rest(told: dict[str, Any]) -> dict[str, tuple[str, list[int], list[Any]]]:
    return {output["name"]: (output["datatype"], output["shape"], output["data"]) for output in told["outputs"]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    with Door(world) as opened:
        yield opened


@pytest.mark.parametrize("is_raw", [False, True], ids=["typed", "raw"])
def test_H13_to_H19_one_question_has_one_answer_and_one_cache_key_by_grpc_as_by_every_mount(
    tmp_path: Path, is_raw: bool
):
    world = World(tmp_path, cache=PredictionCache(1 << 20, keyed_hash(b"of a test"), is_forced=True))
    forms = {name: body for name, body in FORMS.items() if not (is_raw and name == "nested")}  # raw has no nesting
    with Door(world) as door:
        cold = door.ask("ModelInfer", message_of(FORMS["flat"], is_raw=is_raw))
        assert not cold.parameters["cached"].bool_param
        for place, (name, body) in enumerate(forms.items()):
            warm = door.ask("ModelInfer", message_of(body, is_raw=is_raw))
            assert outputs_of(warm) == outputs_of(cold), name
            for mount in MOUNTS.values():
                status, told = (response := by(mount, world, json.dumps(body).encode())).status, response.body
                assert (status, as_by_rest(json.loads(told))) == (200, outputs_of(cold)), name
            runs = world.engine.loaded[0].runs
            if not place:
                after_first = runs
            if name not in ("of one dimension", "narrower"):
                assert runs == after_first, f"{name} is another question"
        asked = FORMS["flat"] | {"outputs": [{"name": "probabilities"}]}
        one = outputs_of(door.ask("ModelInfer", message_of(asked, is_raw=is_raw)))
        assert one == {"probabilities": outputs_of(cold)["probabilities"]}


def spoiled(place: int, **changes: Any) -> dict[str, Any]:
    """Return the good body with one input changed."""
    body = infer_body()
    body["inputs"][place] |= changes
    return body


def longer(**more: Any) -> dict[str, Any]:
    return infer_body() | more


AGE, _, SEATS = range(3)
MANY = 1025
IN_OTHER_WORDS = "in other words"  # of whoever reads the request first: JSON has a place in the text, a message none
BAD: dict[str, dict[str, Any]] = {
    "UNKNOWN_INPUT": spoiled(AGE, name="aeg"),
    "MISSING_INPUT": {"inputs": infer_body()["inputs"][:2]},
    "DUPLICATE_INPUT": {"inputs": [*infer_body()["inputs"], infer_body()["inputs"][0]]},
    "UNKNOWN_OUTPUT": longer(outputs=[{"name": "labels"}]),
    "DUPLICATE_OUTPUT": longer(outputs=[{"name": "label"}, {"name": "label"}]),
    "BAD_DATATYPE": spoiled(SEATS, datatype="FP64", data=[3.0]),
    f"BAD_DATATYPE, {IN_OTHER_WORDS}": spoiled(AGE, datatype="fp64"),
    "BAD_SHAPE": spoiled(AGE, shape=[1, 1, 1]),
    f"BAD_SHAPE, {IN_OTHER_WORDS}": spoiled(AGE, shape=[-1, 1]),
    "COUNT_MISMATCH": spoiled(AGE, data=[50.0, 51.0]),
    "ROWS_DIFFER": spoiled(AGE, shape=[2, 1], data=[50.0, 51.0]),
    "TOO_MANY": infer_body(age=[1.0] * MANY, city=["Lyon"] * MANY, seats=[1] * MANY),
    "BAD_PARAMETER": longer(parameters={"timeout": -1}),
    "BAD_ID": longer(id="two words"),
}


def refused(door: Door, message: Any, **options: Any) -> tuple[grpc.StatusCode, str, str]:
    """Return status, code and text of the refusal of `message`."""
    with pytest.raises(grpc.RpcError) as raised:
        door.ask("ModelInfer", message, **options)
    error: Any = raised.value
    return error.code(), dict(error.trailing_metadata())["trivet-error"], error.details()


@pytest.mark.parametrize("case", BAD)
def test_H13_to_H19_a_bad_request_has_the_code_and_the_text_of_rest_by_grpc_cold_and_warm(
    world: World, door: Door, case: str
):
    body, code = BAD[case], case.partition(",")[0]
    by_grpc = []
    for is_warm in (False, True):
        if is_warm:
            door.ask("ModelInfer", message_of(infer_body()))
        by_grpc += [refused(door, message_of(body)), refused(door, message_of(body))]
    assert len(set(by_grpc)) == 1, "it is refused alike each time"
    status, told_code, text = by_grpc[0]
    assert told_code == code
    for name, mount in MOUNTS.items():
        response = by(mount, world, json.dumps(body).encode())
        told = json.loads(response.body)["error"]
        found = STATUS[response.status], dict(response.headers)[b"trivet-error"].decode()
        assert found == (status, code), name
        assert told == text or IN_OTHER_WORDS in case, name
    assert door.ask("ModelInfer", message_of(infer_body())).outputs, "a good one after it"


@pytest.mark.parametrize(
    ("version", "key"), [("9", ""), ("nobody", ""), ("", "none"), ("", "nothing"), ("", "of another model")]
)
def test_H13_to_H19_who_may_not_or_asks_for_what_is_not_there_is_told_alike(
    world: World, door: Door, version: str, key: str
):
    given = {"": world.key, "of another model": world.key}.get(key, key)
    metadata = [] if key == "none" else [("x-api-key", given)]
    if key == "of another model":
        world.route({1: 100}, verbs=set())
    by_grpc = refused(door, message_of(infer_body(), version=version), metadata=metadata)
    path, body = f"/v2/models/churn{f'/versions/{version}' if version else ''}/infer", json.dumps(infer_body()).encode()
    for name, mount in MOUNTS.items():
        headers = {b"host": b"localhost", b"content-length": b"%d" % len(body)}
        headers |= {b"x-api-key": given.encode()} if key != "none" else {}
        response = mount(world.plane, "POST", path, headers, body)
        told = json.loads(response.body)["error"].replace("as 'Authorization:", "as metadata 'authorization:")
        found = STATUS[response.status], dict(response.headers)[b"trivet-error"].decode(), told
        assert found == by_grpc, name
