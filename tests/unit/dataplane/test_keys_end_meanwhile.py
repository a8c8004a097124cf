"""D16: a key that ends while a request is under way, between its headers and its body or in front of a thread, ends it too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.dataplane.grpc_world import request
from tests.unit.dataplane.world import PEPPER, World, infer_body
from trivet.core.errors import Unauthenticated
from trivet.core.keys import hash_secret, mint_key
from trivet.core.rates import read_rates
from trivet.dataplane import authentication
from trivet.dataplane.frontends.grpc.call import Call, Prediction
from trivet.dataplane.frontends.rest import Exchange, Response

LATER_SECONDS = 60
BODY = json.dumps(infer_body()).encode()
INFER, ROWS, LOAD = "/v2/models/churn/infer", "/v2/models/churn/predict", "/v2/repository/models/churn/load"
STATISTICS = "/v2/models/churn/stats"
FEEDBACK = "/v2/models/churn/feedback"
VERBS = {INFER: "predict", ROWS: "predict", LOAD: "promote", STATISTICS: "view", FEEDBACK: "label"}
BODIES = {FEEDBACK: b"{}", INFER: BODY, ROWS: b'{"rows": []}', LOAD: b"{}", STATISTICS: b""}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.route({1: 100}, verbs=set(VERBS.values()))
    return world


def begun(world: World, path: str = INFER) -> Exchange:
    """Return an exchange whose headers were let in."""
    method = "GET" if path == STATISTICS else "POST"
    headers = {b"host": b"localhost", b"authorization": b"Bearer " + world.key.encode()}
    exchange = Exchange(world.plane, method, path, headers)
    assert exchange.begin() is None
    return exchange


def with_body(exchange: Exchange, path: str = INFER) -> Response | None:
    return exchange.receive(BODIES[path])


def revoke(world: World) -> None:
    world.plane.follow(replace(world.snapshot({1: 100}), keys={}))


def rotate(world: World) -> None:
    """Give the key another secret; the one that callers have ends at once."""
    snapshot = world.snapshot({1: 100}, verbs={"predict"})
    (key,) = snapshot.keys.values()
    world.plane.follow(replace(snapshot, keys={key.id: replace(key, hash=hash_secret(PEPPER, mint_key()[1]))}))


def take_the_grant(world: World) -> None:
    world.plane.follow(world.snapshot({1: 100}, verbs=set()))


@pytest.mark.parametrize("path", BODIES)
def test_D16_a_key_revoked_while_the_body_came_is_refused(world: World, path: str):
    exchange = begun(world, path)
    revoke(world)
    refused = with_body(exchange, path)
    assert refused is not None
    assert (refused.status, json.loads(refused.body)["error"]) == (401, authentication._NOT_VALID)
    assert world.records() == []


@pytest.mark.parametrize(("end", "status"), [(rotate, 401), (take_the_grant, 404)])
def test_D16_so_is_a_secret_or_a_grant_that_was_taken(world: World, end: Callable[[World], None], status: int):
    exchange = begun(world)
    end(world)
    refused = with_body(exchange)
    assert refused is not None
    assert refused.status == status


def test_D15_a_key_that_expires_while_the_body_comes_is_refused(world: World, monkeypatch: pytest.MonkeyPatch):
    snapshot = world.snapshot({1: 100}, verbs={"predict"})
    (key,) = snapshot.keys.values()
    ends = authentication.time.time() + LATER_SECONDS / 2
    world.plane.follow(replace(snapshot, keys={key.id: replace(key, expires_at=ends)}))
    exchange = begun(world)
    exchange._judged -= LATER_SECONDS * 1_000_000_000  # as if it had begun so long ago
    monkeypatch.setattr(authentication.time, "time", lambda: ends + 1)
    refused = with_body(exchange)
    assert refused is not None
    assert refused.status == 401


def test_D16_a_key_revoked_while_the_request_waited_for_a_thread_is_refused(world: World):
    exchange = begun(world)
    assert with_body(exchange) is None
    assert exchange.start_clock() is None
    revoke(world)
    assert exchange.run().status == 401
    assert world.engine.loaded[0].runs == 0


def test_D16_so_is_one_over_grpc(world: World):
    call = Call(world.plane, [("authorization", f"Bearer {world.key}")])
    prediction = Prediction(call, call.authenticate(), request())
    prediction.wait()
    revoke(world)
    with pytest.raises(Unauthenticated):
        prediction.run()
    assert world.records() == []


@pytest.mark.parametrize("path", VERBS)
def test_a_key_that_may_do_this_alone_may_still_do_it_once_the_body_is_there(world: World, path: str):
    world.route({1: 100}, verbs={VERBS[path]})
    exchange = begun(world, path)
    world.route({1: 100}, verbs={VERBS[path]})
    refused = with_body(exchange, path)
    assert refused is None or refused.status not in (401, 403, 404)


def test_a_key_that_lasts_is_answered_by_the_model_it_began_with_and_counts_once(world: World):
    world.limits = {"churn": read_rates("2/d")}
    world.route({1: 100})
    exchange = begun(world)
    world.route({2: 100})
    assert with_body(exchange) is None
    response = exchange.run()
    assert (response.status, json.loads(response.body)["model_version"]) == (200, "1")
    assert world.ask()[0] == 200, "the second of two"
    assert world.ask()[0] == 429
