"""Rule 10: a process whose lease is over looks at the registry before its next answer, and goes on where that is away."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.unit.dataplane.world import World
from trivet.core.errors import Unavailable
from trivet.dataplane import lease as lease_module
from trivet.dataplane.lease import SECOND_NS, Lease, now_ns


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def brief_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "LOADING_SECONDS", 0.15)


def following(world: World, routes: dict[int, int]) -> threading.Thread:
    """A registry that moved on while this process was stopped: who asks for a look gets what it says now."""
    lease = world.plane.lease

    def look() -> None:
        assert lease.wanted.wait(10)
        began = now_ns()
        world.route(routes)
        lease.renew(began)

    thread = threading.Thread(target=look)
    thread.start()
    return thread


@pytest.mark.parametrize("path", ["/v2/models/churn/infer", "/v2/models/churn/predict"])
def test_the_first_answer_after_a_lease_is_of_the_version_that_is_live_now(world: World, path: str):
    world.plane.lease.begin(5)
    thread = following(world, {2: 100})
    body = {"rows": [{"age": 1, "city": "Oslo", "seats": 1}]} if path.endswith("predict") else None
    status, answer, _ = world.ask(path=path, body=body)
    thread.join()
    assert (status, str(answer["model_version"])) == (200, "2")


def test_what_is_shown_waits_for_the_look_too_but_a_probe_does_not(world: World):
    world.plane.lease.begin(5)
    assert world.ask("GET", "/v2/health/live", key=None)[0] == 200
    assert not world.plane.lease.wanted.is_set()
    thread = following(world, {2: 100})
    assert world.ask("GET", "/v2/models/churn")[0] == 200
    thread.join()


@pytest.mark.usefixtures("brief_patience")
def test_with_the_registry_away_it_goes_on_with_what_it_has(world: World):
    world.plane.lease.begin(5)
    assert world.ask()[0] == 200  # after some patience
    assert not world.plane.lease.is_over
    assert world.plane.lease.is_lost


def test_a_look_that_failed_lets_everybody_go_on_at_once(world: World):
    lease = world.plane.lease
    lease.begin(5)
    lease.go_on_without(now_ns())
    assert not lease.is_over
    assert lease.is_lost


@pytest.mark.usefixtures("brief_patience")
def test_what_is_still_loading_is_not_answered_by_what_was_live_before(world: World):
    lease = world.plane.lease
    lease.begin(5)
    lease.wait_for_loading()
    status, _, headers = world.ask()
    assert (status, headers["trivet-error"]) == (503, "VERSION_NOT_LOADED")
    with pytest.raises(Unavailable):
        lease.catch_up()


def test_a_lease_counts_from_before_the_look():
    lease = Lease()
    lease.begin(5)
    lease.renew(now_ns() - 6 * SECOND_NS)  # stopped between the look and here
    assert lease.is_over
    lease.renew(now_ns())
    assert not lease.is_lost


def test_a_plane_that_follows_nobody_needs_no_lease(world: World):
    assert not world.plane.lease.is_over
    assert world.ask()[0] == 200
