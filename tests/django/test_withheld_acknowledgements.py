"""Whoever gives traffic to what a worker cannot load is told so, and nobody else is."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from tests.django.worlds import trained_bundle
from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion, RegistryState
from trivet.core.errors import BundleError
from trivet.model.bundle.bundle import Bundle, make_bundle
from trivet.serving import acknowledgement, process
from trivet.serving.acknowledgement import wait_for_workers

pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    """The monotonic clock of the process under test, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return int(self.now * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(process, "time", clock)
    monkeypatch.setattr(acknowledgement, "patience_seconds", lambda: 0.0)
    return clock


@pytest.fixture
def here(settings, clock: Clock) -> Iterator[process.Process]:
    """A process that answers from version 1 of `churn`; its version 2, and version 1 of `fraud`, are ready."""
    settings.TRIVET_KEEPER = "external"
    register("churn", 1)
    actions.promote(model="churn", version=1, actor="u")
    register("churn", 2)
    register("fraud", 3)
    here = process.Process(process.WorkerKind.PROCESS)
    here.step()
    yield here
    here.stop()


@pytest.fixture
def broken(here: process.Process) -> set[str]:
    """The digest of version 2, whose bundle cannot be read for as long as it is in here."""
    broken = {ModelVersion.objects.get(model__name="churn", number=2).digest}
    fetch = here.plane.reconciler._fetch

    def fetch_or_fail(digest: str) -> Bundle:
        if digest in broken:
            raise BundleError("it is damaged.")
        return fetch(digest)

    here.plane.reconciler._fetch = fetch_or_fail
    return broken


def register(model: str, content: int) -> None:
    """Register a version that runs, as every other, and has a digest of its own."""
    made = trained_bundle()
    bundle = make_bundle(msgspec.structs.replace(made.manifest, parity={"max": content * 1e-9}), dict(made.files))
    version = actions.register_version(name=model, bundle=bundle, actor="u")
    actions.mark_ready(model=model, version=version.number, actor="process:probe")


def behind(here: process.Process, generation: int, model: str = "") -> list[str]:
    """Return whom somebody is told of who waits for `generation`, once the process has looked at the registry."""
    here.step()
    here._next_beat_ns = 0
    here.step()
    return list(wait_for_workers(generation, model).behind)


def let_it_try_again(clock: Clock) -> None:
    clock.now += process.RETRY_LOADING_SECONDS + 0.1


def test_what_was_promoted_is_live_nowhere_for_as_long_as_it_cannot_be_loaded(here, broken, clock):
    event = actions.promote(model="churn", version=2, actor="u")
    assert behind(here, event.generation, "churn")
    let_it_try_again(clock)
    assert behind(here, event.generation, "churn"), "it failed a second time"
    assert here.plane.table.models["churn"].live.keys() == {1}
    broken.clear()
    let_it_try_again(clock)
    assert not behind(here, event.generation, "churn")


def test_a_later_change_of_another_model_does_not_make_it_live(here, broken):
    event = actions.promote(model="churn", version=2, actor="u")
    other = actions.promote(model="fraud", version=1, actor="u")
    assert behind(here, event.generation, "churn")
    assert not behind(here, other.generation, "fraud"), "that one is live"


def test_a_failure_holds_up_nobody_who_revokes_a_key(here, broken):
    actions.promote(model="churn", version=2, actor="u")
    key, _ = actions.issue_key(name="k", grants={"churn": ["predict"]}, actor="u")
    actions.revoke_key(key=key.pk, actor="u")
    assert not behind(here, RegistryState.objects.generation())


def test_who_promotes_again_what_could_not_be_loaded_is_told_again(here, broken, clock):
    actions.promote(model="churn", version=2, actor="u")
    let_it_try_again(clock)
    again = actions.promote(model="churn", version=2, actor="u")
    assert behind(here, again.generation, "churn")
    back = actions.roll_back(model="churn", actor="u")
    assert not behind(here, back.generation, "churn"), "version 1 answers, as whoever rolled back wants"
