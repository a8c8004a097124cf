"""What is loaded follows the snapshot; what cannot be loaded never takes over from what answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.unit.dataplane.world import World, bundle
from trivet.core.errors import BundleError
from trivet.core.snapshot import Snapshot
from trivet.model.bundle.bundle import read_bundle, write_bundle


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def answering(world: World) -> str:
    return world.ask()[1]["model_version"]


def test_traffic_follows_the_snapshot(world: World):
    assert answering(world) == "1"
    world.route({2: 100})
    assert answering(world) == "2"
    assert world.records()[-1].digest == world.second


def test_shares_are_kept(world: World):
    world.route({1: 80, 2: 20})
    counts = Counter(answering(world) for _ in range(2000))
    assert 300 < counts["2"] < 500  # 20 % of 2,000 is 400; this is 5.6 standard deviations
    assert world.ask()[1]["parameters"]["route"] == "split"


def test_an_older_snapshot_changes_nothing(world: World):
    old = world.snapshot({2: 100})
    world.route({1: 100})
    world.plane.follow(old)
    assert answering(world) == "1"


@pytest.mark.parametrize("place", ["model.onnx", "manifest.json"])
def test_one_flipped_bit_keeps_the_version_that_answered(world: World, tmp_path: Path, place: str):
    folder = tmp_path / "bundle"
    third = bundle(20.0)
    write_bundle(third, folder)
    damaged = bytearray((folder / place).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / place).write_bytes(damaged)
    world.bundles = {**world.bundles}

    def fetch(digest: str):
        return read_bundle(folder, digest) if digest == third.digest else world.bundles[digest]

    world.plane.reconciler._fetch = fetch
    world.second = third.digest
    world.route({2: 100})
    assert answering(world) == "1"
    assert (
        "changed" in world.plane.table.models["churn"].failed[2]
        or "read" in world.plane.table.models["churn"].failed[2]
    )
    assert world.ask("GET", "/v2/models/churn/ready")[0] == 200

    (folder / place).write_bytes(bytes(b ^ (1 if i == len(damaged) // 2 else 0) for i, b in enumerate(damaged)))
    world.route({2: 100})
    assert answering(world) == "2"


def test_a_storage_that_is_away_is_a_failed_load_not_a_crash(world: World):
    def away(_digest: str):
        raise BundleError("the storage is away.")

    world.plane.reconciler._fetch = away
    world.second = "0" * 64
    world.route({2: 100})
    assert answering(world) == "1"


def test_what_nobody_uses_is_unloaded_after_the_swap(world: World):
    first, second = world.engine.loaded
    assert (first.is_unloaded, second.is_unloaded) == (False, False)
    world.generation += 1
    world.plane.follow(Snapshot(world.generation))
    assert (first.is_unloaded, second.is_unloaded) == (True, True)
    assert world.ask()[0] == 401  # its key is gone as well


def test_a_bundle_is_loaded_once_however_often_the_snapshot_changes(world: World):
    for _ in range(5):
        world.route({1: 100})
        world.route({2: 100})
    assert len(world.engine.loaded) == 2


def test_a_version_that_fails_in_an_unforeseen_way_stops_no_other(world: World):
    def strange(_digest: str):
        raise KeyError("from another release")

    world.plane.reconciler._fetch = strange
    world.second = "0" * 64
    world.route({2: 100})
    assert answering(world) == "1"
    assert "another release" in world.plane.table.models["churn"].failed[2]


def test_an_older_snapshot_is_followed_when_the_registry_itself_went_back(world: World):
    old = world.snapshot({2: 100})
    world.route({1: 100})
    world.plane.follow(old, even_older=True)
    assert answering(world) == "2"
