"""The model repository: index, load and unload, as a caller sees them (items 51 and 52), without a registry."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.dataplane.world import World
from trivet.core.errors import Conflict, Unavailable
from trivet.dataplane.frontends.repository import index
from trivet.dataplane.plane import LoadingChange

pytestmark = pytest.mark.usefixtures("on_every_mount")

LOAD = "/v2/repository/models/churn{}/load"
UNLOAD = "/v2/repository/models/churn{}/unload"
INDEX = "/v2/repository/index"


class Registry:
    """Stands for the control plane: it remembers what it was asked and lets the plane follow."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[LoadingChange] = []
        self.refusal: Exception | None = None

    def __call__(self, change: LoadingChange) -> None:
        self.asked.append(change)
        if self.refusal is not None:
            raise self.refusal
        only_first = self.world.snapshot({1: 100}, verbs={"promote", "predict"})
        model = only_first.models["churn"]
        versions = {
            number: msgspec.structs.replace(entry, keep_loaded=number == 1 or change.is_load)
            for number, entry in model.versions.items()
        }
        models = {"churn": msgspec.structs.replace(model, versions=versions)}
        self.world.plane.follow(msgspec.structs.replace(only_first, models=models))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.route({1: 100}, verbs={"promote", "predict"})
    return world


@pytest.fixture
def registry(world: World) -> Registry:
    world.plane.change_loading = registry = Registry(world)
    return registry


def states(world: World) -> dict[str, str]:
    return {entry["version"]: entry["state"] for entry in world.ask(path=INDEX, body=b"")[1]}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready":null}', b'{"ready":false}'])
def test_51_the_index_has_one_entry_per_version(world: World, body: bytes):
    status, answer, _ = world.ask(path=INDEX, body=body)
    assert status == 200
    assert answer == [
        {"name": "churn", "version": "1", "state": "READY", "reason": ""},
        {"name": "churn", "version": "2", "state": "READY", "reason": ""},
    ]


def test_51_the_index_tells_what_is_loaded_loading_leaving_and_what_failed(world: World, registry: Registry):
    world.ask(path=UNLOAD.format("/versions/2"), body=b"{}")
    assert states(world) == {"1": "READY", "2": "UNAVAILABLE"}
    assert world.ask(path=INDEX, body={"ready": True})[1] == [
        {"name": "churn", "version": "1", "state": "READY", "reason": ""}
    ]
    seen: list[dict[str, str]] = []
    load = world.engine.load
    world.engine.load = lambda bundle: seen.extend(index(world.plane, ["churn"])) or load(bundle)
    world.ask(path=LOAD.format("/versions/2"), body=b"{}")
    assert [entry["state"] for entry in seen] == ["READY", "LOADING"]
    assert states(world) == {"1": "READY", "2": "READY"}


def test_51_a_version_that_cannot_be_loaded_says_so_without_its_cause(world: World, registry: Registry):
    world.ask(path=UNLOAD.format("/versions/2"), body=b"{}")
    world.engine.load = lambda _bundle: (_ for _ in ()).throw(OSError("/srv/secret/model.onnx"))
    status, answer, headers = world.ask(path=LOAD.format("/versions/2"), body=b"")
    assert (status, headers["trivet-error"]) == (503, "VERSION_NOT_LOADED")
    entry = world.ask(path=INDEX, body=b"")[1][1]
    assert (entry["state"], "/srv" in entry["reason"] + answer["error"]) == ("UNAVAILABLE", False)


@pytest.mark.parametrize("body", [b"[]", b'{"redy":true}', b'{"ready":1}', b"{"])
def test_51_a_bad_index_request_is_400(world: World, body: bytes):
    assert world.ask(path=INDEX, body=body)[0] == 400
    assert world.ask("GET", INDEX)[2]["allow"] == "POST"
    assert world.ask(path=INDEX, key=None)[0] == 401


def test_51_a_key_sees_the_versions_of_its_models_only(world: World):
    world.route({1: 100}, verbs=set())
    assert states(world) == {}


def test_52_load_and_unload_ask_the_registry_who_what_and_which(world: World, registry: Registry):
    for path in (LOAD.format(""), UNLOAD.format("/versions/2"), LOAD.format("/versions/2"), UNLOAD.format("")):
        assert world.ask(path=path, body=b"{}")[:2] == (200, {})
    actor = f"key:{world.key_id}"
    assert registry.asked == [
        LoadingChange("churn", None, True, actor),
        LoadingChange("churn", 2, False, actor),
        LoadingChange("churn", 2, True, actor),
        LoadingChange("churn", None, False, actor),
    ]


def test_52_an_alias_is_the_version_it_points_at(world: World, registry: Registry):
    world.ask(path=LOAD.format("/versions/champion"), body=b"")
    assert registry.asked[0].version == 1


def test_52_what_the_registry_refuses_is_told(world: World, registry: Registry):
    registry.refusal = Conflict("churn 1 has traffic or an alias; move that first.")
    status, answer, headers = world.ask(path=UNLOAD.format("/versions/1"), body=b"{}")
    assert (status, headers["trivet-error"]) == (409, "CONFLICT")
    assert "move that first" in answer["error"]
    registry.refusal = Unavailable("the registry is away; ask again.", code="MANAGEMENT_AWAY")
    status, _, headers = world.ask(path=LOAD.format(""), body=b"{}")
    assert (status, headers["trivet-error"], headers["retry-after"]) == (503, "MANAGEMENT_AWAY", "1")


@pytest.mark.parametrize(
    "body",
    [{"parameters": {"config": "{}"}}, {"parameters": {"file:1/model.onnx": "AAAA"}}, {"parameter": {}}, b"[]", b"{"],
)
@pytest.mark.parametrize("path", [LOAD.format(""), UNLOAD.format("/versions/2")])
def test_52_a_bundle_is_never_changed_by_loading(world: World, registry: Registry, path: str, body: dict | bytes):
    assert world.ask(path=path, body=body)[0] == 400
    assert registry.asked == []


def test_52_unload_dependents_and_an_empty_body_are_accepted(world: World, registry: Registry):
    body = {"parameters": {"unload_dependents": False}}
    assert world.ask(path=UNLOAD.format("/versions/2"), body=body)[0] == 200
    assert world.ask(path=LOAD.format("/versions/2"), body=b"")[0] == 200


def test_52_the_verb_is_promote_and_a_process_without_a_registry_says_so(world: World, registry: Registry):
    assert world.ask(path=LOAD.format("/versions/9"), body=b"{}")[0] == 404
    assert world.ask(path=LOAD.format("").replace("churn", "chorn"), body=b"{}")[0] == 404
    assert world.ask(path=LOAD.format(""), key=None)[0] == 401
    world.route({1: 100}, verbs={"predict"})
    assert world.ask(path=LOAD.format(""), body=b"{}")[0] == 403
    assert registry.asked == []


def test_52_changing_what_is_loaded_never_runs_on_the_event_loop(world: World):
    from trivet.dataplane.frontends.rest import Exchange

    headers = {b"host": b"localhost", b"authorization": f"Bearer {world.key}".encode()}
    for path, is_slow in ((LOAD.format(""), True), (UNLOAD.format(""), True), (INDEX, False)):
        exchange = Exchange(world.plane, "POST", path, headers)
        assert exchange.begin() is None
        assert exchange.receive(b"") is None
        assert exchange.is_slow is is_slow
        assert exchange.start_clock() is None
