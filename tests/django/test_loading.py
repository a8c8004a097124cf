"""What is loaded besides what traffic needs: the registry's rules, and the way there from a caller (item 52)."""

from __future__ import annotations

import json
import threading

import pytest
from django.core.management import call_command
from django.db import DatabaseError

from tests.django.worlds import live_model, ready
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion, RegisteredModel
from trivet.control.registry.snapshots import build_snapshot
from trivet.core.errors import Conflict, NotFound, Refused, Unavailable
from trivet.dataplane.plane import LoadingChange
from trivet.serving import loading, process

pytestmark = pytest.mark.django_db


def kept() -> dict[int, bool]:
    return {number: entry.keep_loaded for number, entry in build_snapshot().models["churn"].versions.items()}


@pytest.fixture
def _two_versions() -> None:
    ready(2)
    actions.promote(model="churn", version=1, actor="user:ana")


def test_what_workers_load_is_in_use_whatever_it_is_loaded_for():
    ready(8)
    for champion in (1, 2):
        actions.promote(model="churn", version=champion, actor="user:ana")
    actions.set_alias(model="churn", alias="next", version=6, actor="user:ana")
    actions.set_routes(model="churn", routes={2: 90, 3: 10}, shadows={4: 100}, fallback=[5, "next"], actor="user:ana")
    actions.load(model="churn", version=7, actor="user:ana")
    loaded = {number for number, is_kept in kept().items() if is_kept} | {4}
    assert loaded == {1, 2, 3, 4, 5, 6, 7}, "all but the one that nobody named"
    assert {version.number for version in ModelVersion.objects.in_use()} == loaded


@pytest.mark.usefixtures("_two_versions")
def test_52_load_keeps_a_version_without_traffic_and_unload_lets_it_go():
    assert kept() == {1: True, 2: False}
    generation = actions.load(model="churn", version=2, actor="key:abcdefgh")
    assert kept() == {1: True, 2: True}
    event = Event.objects.get(generation=generation)
    assert (event.action, event.actor, event.version) == ("load", "key:abcdefgh", 2)
    assert actions.load(model="churn", version=2, actor="user:ana") == generation, "twice is once"
    assert actions.unload(model="churn", version=2, actor="user:ana") == generation + 1
    assert kept() == {1: True, 2: False}


@pytest.mark.usefixtures("_two_versions")
def test_52_what_has_traffic_or_an_alias_is_not_unloaded():
    with pytest.raises(Conflict, match="traffic or an alias"):
        actions.unload(model="churn", version=1, actor="user:ana")
    actions.set_alias(model="churn", alias="next", version=2, actor="user:ana")
    with pytest.raises(Conflict):
        actions.unload(model="churn", version=2, actor="user:ana")
    before = Event.objects.count()
    actions.load(model="churn", version=2, actor="user:ana")
    assert Event.objects.count() == before, "it is loaded already"


@pytest.mark.usefixtures("_two_versions")
def test_52_a_model_that_is_unloaded_keeps_its_routes_and_comes_back():
    actions.load(model="churn", version=2, actor="user:ana")
    generation = actions.unload(model="churn", actor="user:ana")
    assert actions.unload(model="churn", actor="user:ana") == generation
    assert kept() == {1: False, 2: False}
    assert [route.version for route in build_snapshot().models["churn"].routes] == [1]
    actions.load(model="churn", actor="user:ana")
    assert kept() == {1: True, 2: False}
    assert [event.action for event in Event.objects.all()[:2]] == ["load", "unload"]


@pytest.mark.usefixtures("_two_versions")
def test_the_version_a_rollback_goes_to_may_be_unloaded_and_traffic_loads_it_again():
    actions.promote(model="churn", version=2, actor="user:ana")
    assert kept() == {1: True, 2: True}
    actions.unload(model="churn", version=1, actor="user:ana")
    assert kept() == {1: False, 2: True}
    actions.roll_back(model="churn", actor="user:ana")
    assert kept()[1] is True


@pytest.mark.usefixtures("_two_versions")
def test_52_only_what_is_ready_is_loaded():
    ModelVersion.objects.filter(number=2).update(status="registered")
    with pytest.raises(Refused, match="not been probed"):
        actions.load(model="churn", version=2, actor="user:ana")
    with pytest.raises(Conflict):
        loading.change_loading(LoadingChange("churn", 2, True, "user:ana"))
    with pytest.raises(NotFound):
        actions.load(model="churn", version=9, actor="user:ana")


@pytest.mark.usefixtures("_two_versions")
def test_52_with_the_database_away_the_answer_is_management_away(monkeypatch):
    def away(**_kwargs):
        raise DatabaseError("no route to host")

    monkeypatch.setattr(actions, "load", away)
    with pytest.raises(Unavailable, match="registry is away") as refusal:
        loading.change_loading(LoadingChange("churn", None, True, "user:ana"))
    assert refusal.value.code == "MANAGEMENT_AWAY"


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls("trivet.serving.urls")
def test_52_unload_returns_once_every_worker_answers_503_and_load_brings_it_back(settings, client, capsys):
    settings.TRIVET_KEEPER = "external"
    settings.ATOMIC_REQUESTS = True
    live_model("churn")
    _, key = actions.issue_key(name="ops", grants={"churn": ["promote", "predict"]}, actor="user:ana")
    here = process.Process(process.WorkerKind.PROCESS)
    here.start(ships=False)
    process._process = here
    try:
        headers = {"Authorization": f"Bearer {key}", "Host": "testserver"}

        def post(path: str, body: object = None) -> tuple[int, object]:
            data = json.dumps(body if body is not None else {})
            response = client.post(path, data, content_type="application/json", headers=headers)
            return response.status_code, response.json()

        row = {"rows": [{"age": 41.0, "city": "Oslo"}]}
        assert post("/v2/models/churn/predict", row)[0] == 200
        assert post("/v2/repository/models/churn/unload") == (200, {})
        status, told = post("/v2/models/churn/predict", row)
        assert (status, "churn: it was unloaded. Load it again" in told["error"]) == (503, True)
        capsys.readouterr()
        call_command("trivet", "list")
        assert "1=100% (unloaded)" in capsys.readouterr().out
        call_command("trivet", "show", "churn")
        assert "traffic 1=100% · unloaded" in capsys.readouterr().out
        assert post("/v2/repository/index", {"ready": True}) == (200, [])
        assert post("/v2/repository/models/churn/versions/1/unload")[0] == 409
        assert post("/v2/repository/models/churn/load") == (200, {})
        assert post("/v2/models/churn/predict", row)[0] == 200
        assert RegisteredModel.objects.get().unloaded is False
        assert threading.active_count() < 20
    finally:
        process._process = None
        here.stop()
