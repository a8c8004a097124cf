"""A version that is promoted, retired, deleted or not loaded, while it is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import msgspec
import pytest

from tests.scale import scaled
from tests.unit.dataplane.grpc_world import Door, request
from tests.unit.dataplane.world import GOOD_ROW, ByHand, ByHandEngine, World, infer_body
from trivet.core.snapshot import Snapshot
from trivet.dataplane.frontends.grpc.descriptor import inference
from trivet.model.bundle.bundle import Bundle

ASKED = scaled(test=300, ci=2_000, full=10_000)
SECONDS = 20  # the longest that anything here is waited for


def test_H71_to_H74_infer_and_metadata_of_one_instant_agree_while_versions_come_and_go(tmp_path: Path):
    world = World(tmp_path)
    stop, moves = threading.Event(), 0

    def move() -> None:
        nonlocal moves
        while not stop.is_set():
            moves += 1
            snapshot = world.snapshot({2: 100} if moves % 2 else {1: 100})
            if moves % 5 == 0:  # deleted
                snapshot = msgspec.structs.replace(snapshot, models={})
            elif moves % 5 == 2:  # retired: one version is left
                model = snapshot.models["churn"]
                kept = {route.version: model.versions[route.version] for route in model.routes}
                snapshot = msgspec.structs.replace(
                    snapshot, models={"churn": msgspec.structs.replace(model, versions=kept)}
                )
            world.plane.follow(snapshot)

    mover = threading.Thread(target=move)
    mover.start()
    seen: set[tuple[int, str]] = set()
    try:
        deadline, number = time.monotonic() + SECONDS, 0
        while number < ASKED or (not (moves > 5 and (200, "") in seen) and time.monotonic() < deadline):
            number += 1
            selector = ("", "/versions/1", "/versions/champion", "/versions/2")[number % 4]
            status, told, headers = world.ask(path=f"/v2/models/churn{selector}/infer")
            seen.add((status, headers.get("trivet-error", "")))
            if status == 200:
                assert told["model_version"] == headers["trivet-model-version"]
                assert selector not in ("/versions/1", "/versions/2") or selector.endswith(told["model_version"])
            before = world.plane.table
            status, told, _ = world.ask("GET", "/v2/models/churn", b"")
            if before is world.plane.table:
                assert (status == 200) == ("churn" in before.models)
    finally:
        stop.set()
        mover.join()
    assert moves > 5
    assert (200, "") in seen
    assert seen <= {
        (200, ""),
        (404, "UNKNOWN_MODEL"),
        (404, "UNKNOWN_VERSION"),
        (503, "VERSION_NOT_LOADED"),
    }


class Gated(ByHandEngine):
    """Loads a version only once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.waits = threading.Event(), threading.Event()
        self.gate.set()

    def load(self, bundle: Bundle) -> ByHand:
        if not self.gate.is_set():
            self.waits.set()
            assert self.gate.wait(SECONDS)
        return super().load(bundle)


@contextmanager
def loading(world: World, snapshot: Snapshot) -> Iterator[None]:
    """Let the world follow `snapshot`; while the block runs, what that needs is being loaded."""
    engine = world.engine
    assert isinstance(engine, Gated)
    engine.gate.clear()
    engine.waits.clear()
    follower = threading.Thread(target=world.plane.follow, args=(snapshot,))
    follower.start()
    try:
        assert engine.waits.wait(SECONDS)
        yield
    finally:
        engine.gate.set()
        follower.join(SECONDS)
        assert not follower.is_alive()


def told(world: World, path: str, selector: str) -> dict[str, tuple[int, str]]:
    """Return status and code of each way to ask for what `selector` names, by REST."""
    found = {}
    for kind, method in (("", "GET"), ("/ready", "GET"), ("/infer", "POST"), ("/predict", "POST")):
        body = {"rows": [GOOD_ROW]} if kind == "/predict" else infer_body() if kind else b""
        status, _, headers = world.ask(method, f"{path}{selector}{kind}", body)
        found[kind] = status, headers.get("trivet-error", "")
    return found


ANSWERED = dict.fromkeys(("", "/ready", "/infer", "/predict"), (200, ""))
CHURN = "/v2/models/churn"


def alike(status: int, code: str) -> dict[str, tuple[int, str]]:
    return dict.fromkeys(ANSWERED, (status, code))


@pytest.mark.usefixtures("on_every_mount")
def test_H74_what_is_new_is_not_found_while_it_loads_and_what_was_there_answers(tmp_path: Path):
    world = World(tmp_path, engine=Gated())
    first = of_versions(world.snapshot({1: 100}), {1})
    world.plane.follow(msgspec.structs.replace(first, generation=world.generation, models={}))
    assert told(world, CHURN, "") == alike(404, "UNKNOWN_MODEL")
    with loading(world, of_versions(world.snapshot({1: 100}), {1})):
        assert told(world, CHURN, "") == alike(404, "UNKNOWN_MODEL"), "its first version loads"
    assert told(world, CHURN, "") == ANSWERED
    with loading(world, world.snapshot({2: 100})):
        assert told(world, CHURN, "/versions/2") == alike(404, "UNKNOWN_VERSION")
        for selector in ("", "/versions/1", "/versions/champion"):
            assert told(world, CHURN, selector) == ANSWERED, "the one before stays until the next can take over"
        assert world.ask(path=f"{CHURN}/infer")[1]["model_version"] == "1"
        assert world.ask("GET", CHURN, b"")[1]["versions"] == ["1"]
    assert world.ask(path=f"{CHURN}/infer")[1]["model_version"] == "2"
    assert told(world, CHURN, "/versions/2") == ANSWERED


@pytest.mark.usefixtures("on_every_mount")
def test_H74_a_version_that_is_known_and_not_loaded_is_503_until_it_is(tmp_path: Path):
    world = World(tmp_path, engine=Gated())
    world.plane.follow(of_versions(world.snapshot({1: 100}), {1, 2}, kept={1}))
    described = {"": (200, "")}  # what it takes and gives is known
    assert told(world, CHURN, "/versions/2") == alike(503, "VERSION_NOT_LOADED") | described
    with loading(world, world.snapshot({1: 100})):
        assert told(world, CHURN, "/versions/2") == alike(503, "VERSION_NOT_LOADED") | described
        assert told(world, CHURN, "") == ANSWERED
        index = world.ask(path="/v2/repository/index", body=b"")[1]
        assert {entry["version"]: entry["state"] for entry in index} == {"1": "READY", "2": "LOADING"}
        status, _, headers = world.ask(path=f"{CHURN}/versions/2/infer")
        assert (status, headers["retry-after"]) == (503, "1")
    assert told(world, CHURN, "/versions/2") == ANSWERED


def of_versions(snapshot: Snapshot, versions: set[int], *, kept: set[int] | None = None) -> Snapshot:
    """Return `snapshot` with these versions of the model only; those `kept` are to be loaded, by default all."""
    model = snapshot.models["churn"]
    entries = {
        number: msgspec.structs.replace(model.versions[number], keep_loaded=kept is None or number in kept)
        for number in versions
    }
    return msgspec.structs.replace(snapshot, models={"churn": msgspec.structs.replace(model, versions=entries)})


def test_H74_over_grpc_a_version_that_loads_is_refused_as_by_rest(tmp_path: Path):
    world = World(tmp_path, engine=Gated())
    world.plane.follow(of_versions(world.snapshot({1: 100}), {1, 2}, kept={1}))
    with Door(world) as door:
        ready = inference.ModelReadyRequest(name="churn", version="2")
        with loading(world, world.snapshot({1: 100})):
            with pytest.raises(grpc.RpcError) as refusal:
                door.ask("ModelInfer", request(version="2"))
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
            assert dict(refusal.value.trailing_metadata())["trivet-error"] == "VERSION_NOT_LOADED"
            assert not door.ask("ModelReady", ready).ready
            assert door.ask("ModelInfer", request()).model_version == "1"
        assert door.ask("ModelReady", ready).ready
        assert door.ask("ModelInfer", request(version="2")).model_version == "2"
