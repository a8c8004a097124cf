"""A version that is promoted, retired, deleted or not loaded, while it is asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from tests.scale import scaled
from tests.unit.dataplane.world import World

ASKED = scaled(test=300, ci=2_000, full=10_000)


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
        for number in range(ASKED):
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
