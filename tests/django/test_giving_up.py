"""A version that was given up inline on this machine: its Event, and who looks at it then."""

from __future__ import annotations

import msgspec
import pytest

from tests.django.worlds import ready
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion
from trivet.control.registry.snapshots import build_snapshot
from trivet.control.registry.storage import fetch_bundle
from trivet.dataplane.engines.guard import Guard, give_up
from trivet.dataplane.engines.inline import InlineEngine
from trivet.model.bundle.bundle import make_bundle
from trivet.serving.inline_guard import Teller, guard_folder

pytestmark = pytest.mark.django_db


@pytest.fixture
def digest() -> str:
    ready(1)
    actions.promote(model="churn", version=1, actor="user:ana")
    guard_folder().mkdir(parents=True)
    return ModelVersion.objects.get(number=1).digest


def events() -> list[Event]:
    return list(Event.objects.filter(action="give_up_inline"))


def test_the_keeper_tells_once_and_the_next_snapshot_has_the_model_anew(digest: str):
    before = build_snapshot()
    Teller().tell()
    assert not events()
    give_up(guard_folder(), digest, "2 processes died while they ran it")
    for teller in (Teller(), Teller()):  # another keeper, or the same one after a restart
        teller.tell()
        teller.tell()
    (event,) = events()
    assert (event.model, event.version, event.actor) == ("churn", 1, "process:keeper")
    assert event.reason == "2 processes died while they ran it"
    after = build_snapshot(before)
    assert after.generation == before.generation + 1
    assert after.models["churn"] is not before.models["churn"]


def test_a_version_that_is_given_up_again_after_somebody_let_it_run_is_told_again(digest: str):
    for _ in range(2):
        give_up(guard_folder(), digest, "2 processes died while they ran it")
        Teller().tell()
        (guard_folder() / f"{digest}.given-up").unlink()
    assert len(events()) == 2


def test_the_inline_engine_leaves_what_was_given_up_to_another(digest: str):
    stored = fetch_bundle(digest)
    manifest = msgspec.structs.replace(stored.manifest, compile={"may_run_inline": True})
    bundle = make_bundle(manifest, stored.files)
    engine = InlineEngine(Guard(guard_folder()))
    assert engine.accepts(bundle)
    give_up(guard_folder(), bundle.digest, "a test")
    assert engine.has_given_up(bundle.digest)
    assert not engine.accepts(bundle)
