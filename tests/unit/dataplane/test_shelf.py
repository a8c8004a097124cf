"""Many models in one worker: what does not fit into its memory is loaded when asked for, never on an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.unit.dataplane.world import GOOD_ROW, SIGNATURE, ByHandEngine, bundle
from trivet.core.errors import BundleError, DeadlineExceeded, TrivetError, Unavailable
from trivet.core.snapshot import ModelEntry, Route, Snapshot, VersionEntry
from trivet.dataplane.authentication import trusted
from trivet.dataplane.engines.shelf import LEAST_MEMORY, Shelf
from trivet.dataplane.frontends.slow_lane import is_slow
from trivet.dataplane.infer import enter, infer
from trivet.dataplane.plane import Limits, Plane
from trivet.dataplane.protocol.messages import RowsRequest
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.spool import Spool

ROOM = LEAST_MEMORY + 1024  # for one version of this world


class InProcess(ByHandEngine):
    """Counts loads; each bundle of these models is told apart by its shift."""

    is_in_process = True


class Fleet:
    """A plane with models m0, m1 ..., each with versions 1 (live) and 2, and room for some of them."""

    def __init__(self, folder: Path, models: int, room: int) -> None:
        self.bundles = {b.digest: b for b in (bundle(float(number)) for number in range(2 * models))}
        self.digests = list(self.bundles)
        self.engine = InProcess()
        self.fetched: list[str] = []
        reconciler = Reconciler([self.engine], self._fetch, 1024, memory_bytes=room * ROOM)
        self.plane = Plane(reconciler, Spool(folder, "fleet"), limits=Limits())
        self.entries = {f"m{number}": self.entry(number, live=1) for number in range(models)}
        self.follow()

    def _fetch(self, digest: str):
        self.fetched.append(digest)
        return self.bundles[digest]

    def entry(self, number: int, live: int) -> ModelEntry:
        versions = {v: VersionEntry(v, self.digests[2 * number + v - 1], "onnx", SIGNATURE) for v in (1, 2)}
        return ModelEntry(f"m{number}", versions, (Route(live, 100),), {"champion": live})

    def follow(self) -> None:
        self.plane.follow(Snapshot(self.plane.table.snapshot.generation + 2, dict(self.entries)))

    def promote(self, number: int) -> None:
        self.entries[f"m{number}"] = self.entry(number, live=2)
        self.follow()

    def ask(self, number: int, version: str | None = None, deadline: float | None = None) -> int:
        entrance = enter(self.plane, trusted("t"), f"m{number}", "predict")
        request = RowsRequest([GOOD_ROW])
        return infer(self.plane, entrance, request, door="rows", selector=version, deadline=deadline).version

    def loaded(self) -> set[str]:
        """Return model and version of what is loaded now."""
        models = self.plane.table.models.values()
        return {f"{m.name}@{n}" for m in models for n, v in m.live.items() if not v.loaded.is_cold}

    def is_slow(self, number: int) -> bool:
        entrance = enter(self.plane, trusted("t"), f"m{number}", "predict")
        return is_slow(entrance, RowsRequest([GOOD_ROW]), self.plane.limits)


def test_what_has_traffic_is_loaded_as_far_as_there_is_room(tmp_path: Path):
    assert Fleet(tmp_path / "a", 3, room=2).loaded() == {"m0@1", "m1@1"}
    assert Fleet(tmp_path / "b", 3, room=4).loaded() == {"m0@1", "m1@1", "m2@1", "m0@2"}


def test_what_is_not_loaded_answers_its_first_request_after_loading_and_the_least_recently_used_leaves(tmp_path: Path):
    fleet = Fleet(tmp_path, 3, room=2)
    assert fleet.is_slow(2)  # a door on a loop runs it in a thread
    assert not fleet.is_slow(0)
    fleet.ask(0)
    assert fleet.ask(2) == 1
    assert fleet.loaded() == {"m0@1", "m2@1"}
    assert not fleet.is_slow(2)
    assert [version.is_unloaded for version in fleet.engine.loaded] == [False, True, False]


def test_a_version_without_traffic_leaves_before_one_that_has_it(tmp_path: Path):
    fleet = Fleet(tmp_path, 2, room=3)
    fleet.ask(0)
    assert fleet.ask(1, "2") == 2  # pinned, and used last
    assert fleet.loaded() == {"m0@1", "m1@1", "m1@2"}
    fleet.ask(0, "2")
    assert fleet.loaded() == {"m0@1", "m1@1", "m0@2"}


def test_what_is_promoted_is_loaded_before_the_swap_though_there_is_no_room(tmp_path: Path):
    fleet = Fleet(tmp_path, 2, room=2)
    fleet.promote(0)
    assert "m0@2" in fleet.loaded()
    assert len(fleet.loaded()) == 2
    assert not fleet.is_slow(0)


def test_a_damaged_bundle_replaces_nobody(tmp_path: Path):
    fleet = Fleet(tmp_path, 2, room=2)
    fleet.engine.load = lambda _bundle: (_ for _ in ()).throw(BundleError("damaged"))  # type: ignore[method-assign]
    fleet.promote(0)
    model = fleet.plane.table.models["m0"]
    assert model.failed.keys() == {2}
    assert [version.entry.number for _, version in model.routed] == [1]


def test_one_that_cannot_be_loaded_is_refused_and_not_tried_again_at_once(tmp_path: Path):
    fleet = Fleet(tmp_path, 2, room=1)
    del fleet.bundles[fleet.digests[2]]
    for _ in range(3):
        with pytest.raises(Unavailable) as refused:
            fleet.ask(1)
        assert refused.value.code == "VERSION_NOT_LOADED"
    assert fleet.fetched.count(fleet.digests[2]) == 2  # for its signature, and once to load it


def test_on_an_event_loop_nothing_is_loaded(tmp_path: Path):
    fleet = Fleet(tmp_path, 2, room=1)

    async def ask() -> None:
        fleet.ask(1)

    with pytest.raises(TrivetError, match="being loaded"):
        asyncio.run(ask())
    assert fleet.loaded() == {"m0@1"}


def test_who_waits_for_another_load_waits_until_its_deadline():
    shelf = Shelf(10 * ROOM)
    may_load, loads = threading.Event(), threading.Event()

    def slow():
        loads.set()
        assert may_load.wait(10)
        raise BundleError("too late for this test")

    first, second = shelf.place(slow, 1, "first"), shelf.place(slow, 1, "second")
    feed = {"age": np.zeros((1, 1))}

    def run() -> None:
        with pytest.raises(Unavailable):
            first.run(feed, [])

    thread = threading.Thread(target=run)
    thread.start()
    assert loads.wait(10)
    with pytest.raises(DeadlineExceeded):
        second.run(feed, [], time.monotonic() + 0.05)
    may_load.set()
    thread.join()


def test_a_thousand_models_of_which_few_are_loaded_all_answer(tmp_path: Path):
    fleet = Fleet(tmp_path, 1000, room=20)
    assert len(fleet.loaded()) == 20
    assert all(fleet.ask(number) == 1 for number in range(0, 1000, 97))
    assert len(fleet.loaded()) == 20


def test_without_a_bound_every_version_is_loaded_and_nothing_stands_between(tmp_path: Path):
    fleet = Fleet(tmp_path, 2, room=0)
    assert not any(model.on_demand for model in fleet.plane.table.models.values())
    assert len(fleet.engine.loaded) == 4
