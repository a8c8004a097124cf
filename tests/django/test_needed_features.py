"""Code and model: what a version reads of a row and the code has not is told, and keeps it from traffic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.django.command_line import trivet
from tests.django.declared import declaring, feature_set, predictor
from tests.django.worlds import CHURN, bundle
from tests.shop.models import Customer
from trivet import FeatureSet, checks, f
from trivet.control.registry import actions
from trivet.control.registry.models import REFUSED_PROMOTION, Event, ModelVersion, Worker, WorkerKind
from trivet.core.errors import InvalidRequest, Refused
from trivet.core.signature import Input, Signature
from trivet.model.bundle.bundle import make_bundle
from trivet.serving.process import Process

pytestmark = pytest.mark.django_db
PLACE = "shop.ml.ChurnFeatures"


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def features(*names: str) -> type[FeatureSet]:
    return feature_set(Customer, **{name: f.Column("seats") for name in names})


def churn(*names: str, **said: Any) -> type[FeatureSet]:
    """Declare the Predictor of `churn` over features of these names."""
    declared = features(*names)
    predictor("Churn", features=declared, **said)
    return declared


def version(*names: str, of: str = "", optional: str = "", inputs: tuple[Input, ...] = ()) -> ModelVersion:
    """Register a version that reads these names, pushed as one of the class `of`, and make it ready."""
    columns = tuple(Input(name=name, datatype="FP64", shape=(-1, 1), optional=name == optional) for name in names)
    signature = msgspec.structs.replace(CHURN, inputs=columns + inputs)
    made = bundle(" ".join(names) + of, signature)
    if of:
        made = make_bundle(msgspec.structs.replace(made.manifest, features={"class": of}), made.files)
    found = actions.register_version(name="churn", bundle=made, actor="cli:ana")
    return actions.mark_ready(model="churn", version=found.number, actor="process:probe")


def promote(number: int) -> Event:
    return actions.promote(model="churn", version=number, actor="cli:ana")


def told() -> list[str]:
    found = [*checks.check_needed_features(databases=["default"]), *checks.check_unread_features(databases=["default"])]
    return [f"{one.id.removeprefix('trivet.')} {type(one).__name__} {one.msg}" for one in found]


# --- what the code here has ---------------------------------------------------------------------------------------------


def test_E020_a_version_that_needs_a_feature_the_code_lacks_is_told_and_not_promoted():
    churn("seats", "tickets_90d")
    version("seats")
    promote(1)
    version("seats", "tickets_30d")
    actions.set_alias(model="churn", alias="challenger", version=2, actor="cli:ana")
    expected = "churn 2 expects 'tickets_30d'; ChurnFeatures has no such feature. Did you mean 'tickets_90d'?"
    assert told() == [f"E020 Warning {expected}", f"W021 Warning {PLACE}: no version in use reads 'tickets_90d'."]
    with pytest.raises(Refused) as raised:
        promote(2)
    assert raised.value.message == f"{expected} Add it to the code. Then promote it: `trivet promote churn@2`."
    assert Event.objects.latest("generation").action == REFUSED_PROMOTION
    with pytest.raises(Refused, match="ChurnFeatures has no such feature"):
        actions.set_routes(model="churn", routes={1: 90, 2: 10}, actor="cli:ana")
    assert [route.version.number for route in ModelVersion.objects.get(number=1).routes.all()] == [1]

    churn("seats", "tickets_30d")
    assert told() == []
    promote(2)
    churn("seats")  # it is taken out of the code, and the version has all the traffic
    assert told() == ["E020 Error churn 2 expects 'tickets_30d'; ChurnFeatures has no such feature."]
    assert actions.roll_back(model="churn", actor="cli:ana").action == "roll_back"


def test_traffic_moves_away_from_what_the_code_lacks():
    churn("seats", "orders")
    version("seats")
    version("seats", "orders")
    actions.set_routes(model="churn", routes={1: 50, 2: 50}, actor="cli:ana")
    churn("seats")
    actions.set_routes(model="churn", routes={1: 90, 2: 10}, actor="cli:ana")
    with pytest.raises(Refused, match="churn 2 expects 'orders'"):
        actions.set_routes(model="churn", routes={1: 80, 2: 20}, actor="cli:ana")
    with pytest.raises(InvalidRequest, match="a whole number of percent"):
        actions.set_routes(model="churn", routes={1: 80, 2: "20%"}, actor="cli:ana")


def test_what_stands_in_where_the_champion_fails_needs_its_features_too():
    churn("seats")
    version("seats")
    version("seats", "orders")
    promote(1)
    with pytest.raises(Refused, match="churn 2 expects 'orders'"):
        actions.set_routes(model="churn", routes=None, fallback=[2], actor="cli:ana")
    churn("seats", "orders")
    actions.set_routes(model="churn", routes=None, fallback=[2], actor="cli:ana")
    churn("seats")
    assert actions.set_routes(model="churn", routes=None, fallback=[2], actor="cli:ana").action == "set_routes"


def test_what_is_to_be_written_is_no_feature_and_what_may_be_left_out_is_not_needed():
    feature_set(Customer, "seats", orders=f.TODO("float"))
    version("seats", "orders", of=PLACE)
    with pytest.raises(Refused, match="churn 1 expects 'orders'; ChurnFeatures has no such feature"):
        promote(1)
    version("seats", "orders", of=PLACE, optional="orders")
    assert promote(2).action == "promote"


def test_a_version_says_itself_of_which_class_it_is_where_no_predictor_does():
    features("seats")
    version("seats", "orders", of=PLACE)
    with pytest.raises(Refused, match="churn 1 expects 'orders'; ChurnFeatures has no such feature"):
        promote(1)
    version("seats", of="shop.ml.ChurnFeatres")
    with pytest.raises(
        Refused, match=r"churn 2 expects 'seats'; there is no ChurnFeatres\. Did you mean 'shop\.ml\.Churn"
    ):
        promote(2)
    version("seats", "orders")  # of no class
    assert promote(3).action == "promote"
    assert told() == []


def test_inputs_without_names_are_not_held_against_features():
    churn("seats")
    version(inputs=(Input(name="x", datatype="FP64", shape=(-1, 3)),))
    assert promote(1).action == "promote"
    assert told() == []
    named = version(inputs=(Input(name="x", datatype="FP64", shape=(-1, 2), columns=("seats", "orders")),))
    with pytest.raises(Refused, match="churn 2 expects 'orders'"):
        promote(named.number)


def test_W021_a_feature_counts_as_read_when_any_model_reads_it():
    declared = churn("seats", "orders", "spent")
    predictor("Late", features=declared)
    version("seats", "orders")
    promote(1)
    (found,) = told()
    assert found == f"W021 Warning {PLACE}: no version in use reads 'spent'."
    other = bundle(
        "late", Signature(inputs=(Input(name="spent", datatype="FP64", shape=(-1, 1)),), outputs=CHURN.outputs)
    )
    made = actions.register_version(name="late", bundle=other, actor="cli:ana")
    actions.mark_ready(model="late", version=made.number, actor="process:probe")
    actions.promote(model="late", version=1, actor="cli:ana")
    assert told() == []
    assert checks.check_unread_features() == checks.check_needed_features() == []


def test_E018_features_that_are_no_feature_set():
    predictor("Churn", features="ChurnFeatures")
    (found,) = checks.check_declared_names()
    assert found.msg == "shop.ml.Churn.features is 'ChurnFeatures': a FeatureSet, the class itself."


# --- what the code of a live process has ----------------------------------------------------------------------------------


def live(name: str, known: dict[str, list[str]] | None, pid: int = 4711) -> None:
    Worker.objects.beat(name, generation=1, kind="web", host="shop-1", pid=pid, features=known)


def test_a_version_is_not_promoted_while_a_live_process_runs_code_without_its_features(capsys):
    churn("seats", "tickets_30d")
    version("seats")
    promote(1)
    version("seats", "tickets_30d")
    live("web-old", {PLACE: ["seats", "tickets_90d"]})
    live("web-new", {PLACE: ["seats", "tickets_30d"]}, pid=4712)
    live("web-silent", None, pid=4713)  # of a release that says nothing
    assert trivet("promote", "churn@2") == 3
    said = capsys.readouterr().err
    assert (
        "churn 2 expects 'tickets_30d'; in web 4711 on shop-1, ChurnFeatures has no such feature. Did you mean 'tickets_90d'?"
        " Deploy the code that has it there, or end that process." in said
    )
    with pytest.raises(Refused, match="web 4711 on shop-1"):
        actions.set_routes(model="churn", routes={1: 99, 2: 1}, actor="cli:ana")
    assert checks.check_needed_features(databases=["default"]) == []  # the code here has it

    Worker.objects.filter(pk="web-old").update(features={"shop.ml.Other": ["x"]})
    with pytest.raises(Refused, match=r"in web 4711 on shop-1, there is no ChurnFeatures\."):
        promote(2)
    Worker.objects.filter(pk="web-old").delete()
    assert promote(2).action == "promote"


def test_a_process_that_is_gone_holds_nothing_up():
    churn("seats", "orders")
    version("seats", "orders")
    live("web-gone", {PLACE: ["seats"]})
    Worker.objects.update(seen_at="2020-01-01T00:00Z", seen_since_boot=-1000.0)
    assert promote(1).action == "promote"


@pytest.mark.django_db(transaction=True)
def test_a_process_tells_with_its_lease_which_features_its_code_has():
    churn("seats", "orders")
    process = Process(WorkerKind.PROCESS, 1)
    try:
        process.step()
        assert Worker.objects.get().features[PLACE] == ["seats", "orders"]
    finally:
        process.stop()
