"""Limits at the doors: who is refused, what that costs, and what makes no difference."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.unit.dataplane.grpc_world import Door, request
from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.core.rates import read_rates
from trivet.dataplane.authentication import trusted
from trivet.dataplane.frontends.rest import Exchange
from trivet.dataplane.infer import enter

ADDRESSES = [f"203.0.113.{number}" for number in range(1, 41)]
FORGED = (
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "x-remote-addr",
)


def limited(folder: Path, text: str, **of_models: str) -> World:
    """Return a world whose key may ask as often as `text` says."""
    world = World(folder)
    world.limits = {model: read_rates(rates) for model, rates in ({"*": text} | of_models).items()}
    world.route({1: 100})
    return world


def test_one_too_many_is_told_so_and_when_to_ask_again_and_nothing_is_run_or_recorded(
    tmp_path: Path, on_every_mount: str
):
    world = limited(tmp_path, "3/h")
    assert [world.ask()[0] for _ in range(3)] == [200] * 3
    status, answer, headers = world.ask()
    assert (status, headers["trivet-error"]) == (429, "RATE")
    assert 3590 < int(headers["retry-after"]) <= 3600
    assert answer == {"error": f"over what this key may ask: 3/h. Ask again in {headers['retry-after']} s."}
    assert world.engine.loaded[0].runs == len(world.records()) == 3
    assert world.plane.meter.read()["refused", "churn", "", "rest", "RATE"][0] == 1


def test_the_body_of_one_too_many_is_not_waited_for(tmp_path: Path):
    world = limited(tmp_path, "1/h")
    world.ask()
    headers = {b"host": b"localhost", b"content-length": b"90000", b"authorization": f"Bearer {world.key}".encode()}
    refusal = Exchange(world.plane, "POST", "/v2/models/churn/infer", headers).begin()
    assert refusal is not None
    assert refusal.status == 429


def test_D20_forged_addresses_make_no_difference(tmp_path: Path, on_every_mount: str):
    world = limited(tmp_path, "5/h")
    told = [world.ask(headers=dict.fromkeys(FORGED, address))[0] for address in ADDRESSES[:10]]
    assert told == [200] * 5 + [429] * 5


def test_D21_steps_of_the_clock_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a person, NTP or a leap second does to the time of day gives nobody more, and makes nobody wait longer."""
    world = limited(tmp_path, "4/h")
    step = [0.0]
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + step[0])
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(step[0] * 1e9))
    told, waits = [], []
    for seconds in (0, 86_400, -3_600, 1, -86_400 * 365, 86_400 * 365, 0, 3_601):
        step[0] = seconds
        status, _, headers = world.ask()
        told.append(status)
        waits.append(int(headers.get("retry-after", 0)))
    assert told == [200] * 4 + [429] * 4
    assert all(3590 < wait <= 3600 for wait in waits[4:])


def test_every_way_to_ask_counts_and_what_was_let_in_counts_whatever_became_of_it(tmp_path: Path):
    world = limited(tmp_path, "5/h")
    assert world.ask()[0] == 200
    assert world.ask(path="/v2/models/churn/predict", body={"rows": [GOOD_ROW] * 10})[0] == 200
    assert world.ask(path="/v1/models/churn:predict", body={"instances": [GOOD_ROW]})[0] == 200
    assert world.ask(path="/v2/models/churn/versions/9/infer")[0] == 404
    assert world.ask(body=b"{")[0] == 400
    assert world.ask()[0] == 429


def test_what_is_no_prediction_and_who_may_not_ask_count_nothing(tmp_path: Path):
    world = limited(tmp_path, "1/h")
    for path in ("/v2", "/v2/models", "/v2/models/churn", "/v2/models/churn/ready", "/v2/health/ready"):
        assert world.ask("GET", path)[0] == 200
    assert world.ask(path="/v2/models/chorn/infer")[0] == 404
    assert world.ask(key="trivet_made_up")[0] == 401
    assert [world.ask()[0], world.ask()[0]] == [200, 429]
    assert world.ask("GET", "/v2/models/churn")[0] == 200


def test_a_limit_of_a_model_is_named(tmp_path: Path):
    world = limited(tmp_path, "10/h", churn="1/h")
    world.ask()
    assert world.ask()[1]["error"].startswith("over what this key may ask of 'churn': 1/h.")


def test_a_limit_that_is_taken_away_is_away_and_one_that_is_set_holds(tmp_path: Path):
    world = limited(tmp_path, "1/h")
    assert [world.ask()[0], world.ask()[0]] == [200, 429]
    world.limits = {}
    world.route({1: 100})
    assert [world.ask()[0], world.ask()[0]] == [200, 200]
    world.limits = {"*": read_rates("2/h")}
    world.route({1: 100})
    assert [world.ask()[0], world.ask()[0]] == [200, 429], "one was counted, before"


def test_callers_without_a_key_share_one_limit(tmp_path: Path):
    world = World(tmp_path)
    world.keyless_limits = {"*": read_rates("2/h")}
    world.route({1: 100}, anonymous=True)
    told = [world.ask(key=None, headers={"x-forwarded-for": address}) for address in ADDRESSES[:3]]
    assert [status for status, _, _ in told] == [200, 200, 429]
    assert told[2][1]["error"].startswith("over what callers without a key may ask together: 2/h.")
    assert [world.ask()[0] for _ in range(5)] == [200] * 5, "a key without a limit"


def test_code_of_the_process_is_not_limited(tmp_path: Path):
    world = limited(tmp_path, "1/h")
    for _ in range(5):
        enter(world.plane, trusted("process:tests"), "churn", "predict")


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with Door(limited(tmp_path, "3/h")) as door:
        yield door


def test_over_grpc_it_is_resource_exhausted_and_the_metadata_say_when(door: Door):
    for address in ADDRESSES[:3]:
        door.ask("ModelInfer", request(), metadata=[*door.metadata, *((name, address) for name in FORGED)])
    with pytest.raises(grpc.RpcError) as refused:
        door.ask("ModelInfer", request())
    metadata = dict(refused.value.trailing_metadata())
    assert (refused.value.code(), metadata["trivet-error"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE")
    assert 3590 < int(metadata["retry-after"]) <= 3600
    assert refused.value.details().startswith("over what this key may ask: 3/h.")


def test_each_message_of_a_stream_counts(door: Door):
    answers = list(door.stream(request() for _ in range(5)))
    codes = [answer.infer_response.parameters["trivet_error"].string_param for answer in answers]
    assert codes == ["", "", "", "RATE", "RATE"]


def test_rest_and_grpc_count_together(door: Door):
    assert door.world.ask(body=infer_body())[0] == 200
    list(door.stream(iter([request(), request()])))
    assert door.world.ask()[0] == 429
