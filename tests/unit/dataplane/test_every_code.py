"""Every code of the catalogue, in an answer: each is provoked over a connection to a web worker (item 39)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.dataplane.echo import EchoWorld, binary, column, header, tensor
from tests.unit.dataplane.inside import Recorder
from tests.unit.dataplane.mounts import MOUNTS, by_uvicorn
from tests.unit.dataplane.world import ByHand, ByHandEngine, World, infer_body
from trivet.core.errors import BundleError, Conflict, TrivetError, Unavailable
from trivet.core.rates import read_rates
from trivet.core.signature import Input
from trivet.dataplane.frontends import uvicorn as http
from trivet.dataplane.frontends.rest import Response
from trivet.dataplane.plane import Limits, LoadingChange
from trivet.dataplane.protocol.catalogue import HTTP_STATUS
from trivet.dataplane.spool import Spool
from trivet.model.bundle.bundle import Bundle

INFER = "/v2/models/churn/infer"
NOT_YET = {"NOT_EXPLAINABLE", "EXPLANATION_FAILED"}  # nothing is explained

Provoke = Callable[[Path, pytest.MonkeyPatch], Response]


def asked(body: dict | bytes | None = None, method: str = "POST", path: str = INFER, **headers: str) -> Provoke:
    """Ask the world of `churn`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda folder, _: World(folder).send(method, path, body, headers=named)


def good(**fields: Any) -> Provoke:
    """Ask what would be answered, but for these fields."""
    return asked(infer_body() | fields)


def values(**changes: Any) -> Provoke:
    return asked(infer_body(**changes))


def age(**changes: Any) -> Provoke:
    """Change the tensor of the age."""
    body = infer_body()
    body["inputs"][0] |= changes
    return asked(body)


def echo(spec: Input, body: dict, *tensors: bytes) -> Provoke:
    """Ask a model of one input."""
    if not tensors:
        return lambda folder, _: EchoWorld(folder, spec).send(body=body)
    return lambda folder, _: EchoWorld(folder, spec).mixed(body, *tensors)


def raw(value: float, cut: int = 0, more: bytes = b"") -> Provoke:
    head, data = binary("x", "FP64", [[value]])
    return echo(column("x", "FP64"), {"inputs": [head]}, data[: len(data) - cut] + more)


def elsewhere(folder: Path, _: pytest.MonkeyPatch) -> Response:
    return World(folder, allowed_hosts=("models.example.com",)).send()


def unknown_category(folder: Path, _: pytest.MonkeyPatch) -> Response:
    spec = column("x", "BYTES", categories=("Lyon",), unknown="reject")
    return EchoWorld(folder, spec).send(body={"inputs": [tensor("x", "BYTES", ["Bergen"])]})


def large_answer(folder: Path, _: pytest.MonkeyPatch) -> Response:
    world = EchoWorld(folder, column("x", "INT64"))
    world.plane.limits = Limits(max_answer_bytes=8)
    return world.send(body={"inputs": [tensor("x", "INT64", [1, 2])]})


def without_verb(folder: Path, _: pytest.MonkeyPatch) -> Response:
    world = World(folder)
    world.route({1: 100}, verbs={"view"})
    return world.send()


def slowly(folder: Path, patch: pytest.MonkeyPatch) -> Response:
    patch.setattr(http, "WATCH_SECONDS", 0.02)
    patch.setattr(http, "BODY_GRACE_SECONDS", 0.0)
    return World(folder).send(body=b"{", headers={"content-length": "2"})


def loading(error: TrivetError) -> Provoke:
    """Ask for a version to be loaded where the registry says no."""

    def refuse(_: LoadingChange) -> None:
        raise error

    def provoke(folder: Path, _: pytest.MonkeyPatch) -> Response:
        world = World(folder)
        world.route({1: 100}, verbs={"promote"})
        world.plane.change_loading = refuse
        return world.send(path="/v2/repository/models/churn/load", body=b"{}")

    return provoke


def by_mistake(folder: Path, patch: pytest.MonkeyPatch) -> Response:
    patch.setattr("trivet.dataplane.infer.choose", lambda *_: 1 / 0)
    return World(folder).send()


def one_connection_too_many(folder: Path, patch: pytest.MonkeyPatch) -> Response:
    patch.setattr(http, "MAX_CONNECTIONS", 0)
    return World(folder).send()


def at_its_end(folder: Path, _: pytest.MonkeyPatch) -> Response:
    world = World(folder)
    world.plane.is_draining = world.plane.is_closed = True
    return world.send()


class Unwilling(ByHandEngine):
    def load(self, _: Bundle) -> ByHand:
        raise BundleError("it cannot be loaded.")


def not_loaded(folder: Path, _: pytest.MonkeyPatch) -> Response:
    return World(folder, engine=Unwilling()).send()


def broken(folder: Path, _: pytest.MonkeyPatch) -> Response:
    world = World(folder)
    world.engine.loaded[0].broken = True
    return world.send()


def too_often(folder: Path, _: pytest.MonkeyPatch) -> Response:
    world = World(folder)
    world.limits = {"*": read_rates("1/s")}
    world.route({1: 100})
    world.send()
    return world.send()


def full_disk(folder: Path, _: pytest.MonkeyPatch) -> Response:
    world = World(folder)
    world.plane.spool.close()
    world.plane.spool = Spool(world.spool_root, "full", limit_bytes=1)
    return world.send()


PROVOKED: dict[str, Provoke] = {
    "BAD_HOST": elsewhere,
    "BAD_PATH": asked(method="GET", path="/v2/models/%ff"),
    "BAD_HEADER": asked(inference_header_content_length="+5"),
    "BAD_ENCODING": asked(b"no gzip", content_encoding="gzip"),
    "NOT_JSON": asked(b"{"),
    "DUPLICATE_KEY": asked(b'{"inputs":[],"inputs":[]}'),
    "UNKNOWN_FIELD": good(paramaters={}),
    "MISSING_FIELD": asked({}),
    "WRONG_TYPE": asked(b"[]"),
    "BAD_ID": good(id="with space"),
    "NAME_MISMATCH": good(model_name="late"),
    "UNKNOWN_INPUT": values(aeg=[1.0]),
    "MISSING_INPUT": values(city=None),
    "DUPLICATE_INPUT": asked({"inputs": infer_body()["inputs"] * 2}),
    "UNKNOWN_OUTPUT": good(outputs=[{"name": "lable"}]),
    "DUPLICATE_OUTPUT": good(outputs=[{"name": "label"}] * 2),
    "BAD_DATATYPE": age(datatype="FLOAT"),
    "BAD_SHAPE": age(shape=[1, 1, 1]),
    "ROWS_DIFFER": values(age=[1.0, 2.0]),
    "COUNT_MISMATCH": age(data=[]),
    "BAD_NESTING": values(age=[[1.0, 2.0]]),
    "BAD_ELEMENT": values(age=["far"]),
    "OUT_OF_RANGE": values(seats=[2**63]),
    "UNKNOWN_CATEGORY": unknown_category,
    "NULL_NOT_ALLOWED": values(city=[None]),
    "NOT_FINITE": raw(float("inf")),
    "BINARY_REQUIRED": echo(column("x", "FP16"), {"inputs": [tensor("x", "FP16", [1.0])]}),
    "BINARY_SIZE": raw(1.0, cut=1),
    "TRAILING_BYTES": raw(1.0, more=b"\x00"),
    "BAD_PARAMETER": good(parameters={"sequence_id": 7}),
    "TOO_MANY": good(parameters={f"p{number}": number for number in range(65)}),
    "ANSWER_TOO_LARGE": large_answer,
    "INVALID_ROWS": asked({"rows": [{"age": "far"}]}, path="/v2/models/churn/predict"),
    "KEY_REQUIRED": asked(x_api_key="another"),
    "VERB_NOT_GRANTED": without_verb,
    "NOT_FOUND": asked(path="/v2/models/churn/infer/"),
    "UNKNOWN_MODEL": asked(path="/v2/models/chorn/infer"),
    "UNKNOWN_VERSION": asked(path="/v2/models/churn/versions/9/infer"),
    "METHOD": asked(method="PUT"),
    "BODY_TIMEOUT": slowly,
    "CONFLICT": loading(Conflict("churn 1 has traffic or an alias; move that first.")),
    "BODY_TOO_LARGE": asked(content_length="100001"),
    "LINE_TOO_LONG": asked(method="GET", path="/" + "v" * http.MAX_LINE),
    "CONTENT_TYPE": asked(content_type="application/x-python-pickle"),
    "CONTENT_ENCODING": asked(content_encoding="br"),
    "RATE": too_often,
    "HEADERS_TOO_LARGE": asked(x="y" * (http.MAX_HEADER + 1)),
    "INTERNAL": by_mistake,
    "QUEUE_FULL": one_connection_too_many,
    "DRAINING": at_its_end,
    "VERSION_NOT_LOADED": not_loaded,
    "MODEL_FAILED": broken,
    "LOG_UNAVAILABLE": full_disk,
    "MANAGEMENT_AWAY": loading(Unavailable("the registry is away; ask again.", code="MANAGEMENT_AWAY")),
    "DEADLINE": good(parameters={"timeout": 1}),
}


@pytest.mark.parametrize("code", sorted(HTTP_STATUS.keys() - NOT_YET))
def test_39_each_code_is_told_with_its_status_its_header_and_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
):
    monkeypatch.setattr(World, "mount", staticmethod(by_uvicorn))
    response = PROVOKED[code](tmp_path, monkeypatch)
    assert (response.status, header(response, "trivet-error")) == (HTTP_STATUS[code], code), response.body
    assert json.loads(response.body).keys() == ({"error", "errors"} if code == "INVALID_ROWS" else {"error"})
    assert header(response, "www-authenticate") == ("Bearer" if response.status == 401 else None)
    assert header(response, "retry-after") == ("1" if response.status in (429, 503) else None)


OF_THE_SITE = {"LINE_TOO_LONG"}  # its path is none of ours, where the server lets it through


@pytest.mark.parametrize("is_debugging", [False, True], ids=["as it is", "with DEBUG"])
@pytest.mark.parametrize("mount", MOUNTS)
def test_H61_no_code_tells_of_the_inside_on_any_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, mount: str, *, is_debugging: bool
):
    settings.DEBUG = is_debugging
    recorder, told = Recorder(), set()
    for code in PROVOKED.keys() - OF_THE_SITE:
        provoke = PROVOKED[code]
        with monkeypatch.context() as patch:
            patch.setattr(World, "mount", staticmethod(MOUNTS[mount]))
            response = provoke(tmp_path / code, patch)
        told.add(header(response, "trivet-error"))
        fields = b"".join(b"%b: %b\r\n" % field for field in response.headers)
        recorder.keep(code, b"", b"%d\r\n%b\r\n%b" % (response.status, fields, response.body))
    assert "INTERNAL" in told
    assert len(told) > len(PROVOKED) * 0.8
    keys = [world.key_id for world in World.made]
    assert recorder.found([*keys, str(tmp_path), "by hand"]) == {}
