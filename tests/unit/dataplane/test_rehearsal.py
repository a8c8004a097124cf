"""A rehearsal asks what was loaded, on the path of every request, and leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.dataplane.remembering import a_cache
from tests.unit.dataplane.world import GOOD_ROW, World
from trivet.core.examples import infer_body
from trivet.dataplane.frontends import rehearsal
from trivet.dataplane.frontends.rehearsal import rehearse
from trivet.dataplane.witness import Passage
from trivet.model.bundle.bundle import make_bundle


def rehearsing(folder: Path, **options: object) -> World:
    """Return a world that rehearses, whose bundles have a recorded row, and no traffic yet."""
    world = World(folder, **options)
    world.plane.rehearse = rehearse
    line = b'{"inputs":{"age":50.0,"city":"Lyon","seats":3}}\n'
    bundles = [make_bundle(b.manifest, {**b.files, "sample.jsonl": line}) for b in world.bundles.values()]
    world.bundles = {bundle.digest: bundle for bundle in bundles}
    world.first, world.second = world.bundles
    world.engine.loaded.clear()
    return world


def runs(world: World) -> list[int]:
    return [version.runs for version in world.engine.loaded]


def test_what_gets_traffic_has_answered_before_it_gets_it(tmp_path: Path):
    world = rehearsing(tmp_path)
    world.route({1: 100})
    assert runs(world) == [2 * rehearsal.ROUNDS, 0]
    world.route({1: 50, 2: 50})
    assert runs(world) == [2 * rehearsal.ROUNDS] * 2


def test_nothing_of_it_is_recorded_counted_shown_or_remembered(tmp_path: Path):
    seen: list[Passage] = []

    class Witness:
        def see(self, passage: Passage) -> None:
            seen.append(passage)

    world = rehearsing(tmp_path, cache=a_cache(), witnesses=(Witness(),))
    world.route({1: 100})
    assert sum(runs(world)) > 0
    assert not world.records()
    assert not seen
    assert not world.plane.reconciler.cache.memory.used_bytes
    world.sees_all = True
    world.route({1: 100})
    assert b"trivet_requests_total{" not in world.send(path="/metrics", method="GET").body


def test_shadows_and_stand_ins_have_no_part_in_it(tmp_path: Path):
    world = rehearsing(tmp_path)
    world.route({1: 100}, fallback=(2,))
    assert runs(world) == [2 * rehearsal.ROUNDS, 0]


def test_a_version_that_fails_in_it_gets_its_traffic_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from tests.unit.dataplane.world import ByHand

    world = rehearsing(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(ByHand, "run", lambda *_: 1 / 0)
        world.route({1: 100})
    assert world.ask(body=infer_body(world.signature, GOOD_ROW))[0] == 200


def test_what_takes_long_is_not_rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from tests.unit.dataplane.world import ByHand

    monkeypatch.setattr(ByHand, "cost_us_per_row", 1e6)
    world = rehearsing(tmp_path)
    world.route({1: 100})
    assert runs(world) == [0, 0]


def test_the_time_of_all_rehearsals_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rehearsal, "SECONDS", 0.0)
    world = rehearsing(tmp_path)
    world.route({1: 50, 2: 50})
    assert sum(runs(world)) <= 1
