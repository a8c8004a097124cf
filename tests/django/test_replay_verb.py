"""`trivet replay`: what another version says of logged inputs. What it cannot be asked with is counted, and never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.db.models import F, Q
from django.utils import timezone
from sklearn.linear_model import LinearRegression, LogisticRegression

from tests.django.command_line import trivet, verb
from tests.django.declared import declaring, feature_set, predictor
from tests.django.people import person
from tests.django.worlds import record
from tests.shop.models import Customer, Order
from trivet import f
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion
from trivet.control.registry.storage import bundle_storage, fetch_bundle, stored_name
from trivet.core.datatypes import NUMPY_DTYPES
from trivet.core.redaction import hidden
from trivet.model.bundle.bundle import Bundle
from trivet.model.compile.compiler import compile_model
from trivet.model.runtimes.base import runtime_class
from trivet.serving.replay.replay import replay

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
RECENT = f.Count("orders", where=Q(placed_at__gte=f.as_of - 90 * DAY))
Model = LogisticRegression


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


@cache
def trained(columns: tuple[str, ...], edge: int = 20) -> tuple[Model, Bundle]:
    """A model that says who leaves: of few seats, and of few orders where it has these."""
    random = np.random.default_rng(7)
    rows = pd.DataFrame({name: random.integers(0, 41, 200) for name in ("seats", "fee", "orders")})[list(columns)]
    leaves = np.where(rows.seats + rows.get("orders", 0) * 3 < edge, "leaves", "stays")
    model = LogisticRegression(max_iter=1000).fit(rows, leaves)
    return model, compile_model(model, sample=rows).bundle


def version_of(*columns: str, edge: int = 20) -> ModelVersion:
    """Register a version that really runs; the first is the champion."""
    bundle = trained(columns, edge)[1]
    version = actions.register_version(name="churn", bundle=bundle, actor="cli:ana")
    version = actions.mark_ready(model="churn", version=version.number, actor="process:probe")
    if version.number == 1:
        actions.promote(model="churn", version=1, actor="cli:ana")
    return version


def answers(version: ModelVersion, rows: list[list[float]]) -> np.ndarray:
    """Return what the version itself says, to be logged as its answer."""
    bundle = fetch_bundle(version.digest)
    names = bundle.signature.field_names
    dtypes = {spec.name: NUMPY_DTYPES[spec.datatype] for spec in bundle.signature.inputs}
    columns = {name: np.array([[row[place]] for row in rows], dtypes[name]) for place, name in enumerate(names)}
    (said,) = runtime_class("onnx").load(bundle).run(bundle.feed(columns), ["probabilities"])
    return said


def chances(columns: tuple[str, ...], rows: list[list[float]], edge: int = 20) -> np.ndarray:
    """Return what the trained object says, without anything of ours between."""
    return trained(columns, edge)[0].predict_proba(pd.DataFrame(rows, columns=list(columns)))


def asked(version: ModelVersion, rows: list[list[Any]], **changes: Any) -> None:
    """Log what `version` answered to rows of seats and fees, a request each; an hour ago."""
    at = changes.pop("at", timezone.now() - timedelta(hours=1))
    entities = changes.pop("entities", [""] * len(rows))
    for row, entity in zip(rows, entities, strict=True):
        said = answers(version, [row])[0].tolist()
        given = {
            "inputs": [[value] for value in row],
            "outputs": [["leaves" if said[0] > said[1] else "stays"], said],
            "made_at": int(at.timestamp() * 1e6) * 1000,
            "entity_key": entity,
        }
        ship([record(version, **{**given, **changes})])


def customer(*days_ago: int, now: datetime) -> Customer:
    """Make somebody who ordered so many days ago; below zero: after `now`."""
    made = Customer.objects.create(seats=10)
    for days in days_ago:
        Order.objects.create(customer=made, total=1, placed_at=now - days * DAY)
    return made


ROWS = [[seats, 5] for seats in range(40)]


def test_a_version_agrees_with_itself_to_the_last_bit(capsys):
    asked(version_of("seats", "fee"), ROWS)
    code, told = verb(capsys, "replay", "churn@1")
    assert (code, told["compared"], told["moved"], told["agreement"]) == (0, 40, 0, 1.0)
    assert told["movers"] == []
    assert told["scores"]["max_difference"] == 0.0
    assert told["scores"]["before"] == told["scores"]["after"]


def test_what_another_version_says_is_what_its_object_says_and_the_largest_movers_come_first(capsys):
    asked(version_of("seats", "fee"), ROWS)
    version_of("seats", "fee", edge=30)
    before, after = (chances(("seats", "fee"), ROWS, edge) for edge in (20, 30))
    moved = int(((before[:, 0] > 0.5) != (after[:, 0] > 0.5)).sum())
    assert moved > 3
    code, told = verb(capsys, "replay", "churn@2", "--max-moved", "100")
    assert (code, told["version"], told["against"], told["compared"]) == (0, 2, 1, 40)
    assert (told["decided"], told["moved"], told["agreement"]) == (40, moved, pytest.approx(1 - moved / 40))
    gaps = np.abs(before[:, 1] - after[:, 1])
    assert told["scores"]["max_difference"] == pytest.approx(gaps.max(), abs=1e-5)
    assert told["scores"]["mean_difference"] == pytest.approx(gaps.mean(), abs=1e-5)
    assert told["scores"]["after"]["mean"] == pytest.approx(after[:, 1].mean(), abs=1e-5)
    assert told["scores"]["before"]["quantiles"][2] == pytest.approx(np.median(before[:, 1]), abs=1e-5)
    told_gaps = [mover["difference"] for mover in told["movers"]]
    assert len(told_gaps) > 30
    assert told_gaps == pytest.approx(sorted(gaps, reverse=True)[: len(told_gaps)], abs=1e-5)
    first = Prediction.objects.get(inputs__seats=int(gaps.argmax()))
    assert told["movers"][0]["prediction_id"] == first.public_id
    assert told["movers"][0]["after"] == pytest.approx(after[gaps.argmax(), 1], abs=1e-5)
    assert told["speed"]["version"] > 0
    assert told["speed"]["logged_request"] == 120


def test_people_read_it_in_a_few_lines(capsys):
    asked(version_of("seats", "fee"), ROWS, entities=[f"shop.customer:{n}" for n in range(40)])
    version_of("seats", "fee", edge=30)
    assert trivet("replay", "churn@2") == 0
    said, err = capsys.readouterr()
    assert said.startswith("churn 2 beside churn 1: 40 rows logged since ")
    assert "; nobody was answered" in said
    assert " moved\n" in said
    assert said.count(" → ") == 5
    assert "leaves 0." in said
    assert "  shop.customer:" in said
    assert "µs a row, measured now" in said
    assert err == ""


def test_what_a_caller_called_an_entity_does_nothing_to_a_terminal(capsys):
    asked(version_of("seats", "fee"), [[20, 5]], entities=["\x1b[2Jgone"])
    version_of("seats", "fee", edge=30)
    assert trivet("replay", "churn@2") == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert r"'\x1b[2Jgone'" in said


def test_nothing_is_written_anywhere(capsys):
    asked(version_of("seats", "fee"), ROWS[:5])
    version_of("seats", "fee", edge=30)
    before = (list(Prediction.objects.values()), Event.objects.count())
    assert verb(capsys, "replay", "churn@2")[0] == 0
    assert (list(Prediction.objects.values()), Event.objects.count()) == before


@pytest.mark.parametrize(("most", "code"), [("0", 1), ("10", 1), ("99", 0)])
def test_more_moved_decisions_than_are_allowed_end_with_1(capsys, most, code):
    asked(version_of("seats", "fee"), ROWS)
    version_of("seats", "fee", edge=30)
    found, told = verb(capsys, "replay", "churn@2", "--max-moved", most)
    assert found == code
    assert told["problem"].startswith("NOT within --max-moved") == bool(code)


def test_a_gate_does_not_open_where_nothing_could_be_compared(capsys):
    version_of("seats", "fee")
    code, told = verb(capsys, "replay", "churn@1", "--max-moved", "50")
    assert (code, told["logged"], told["agreement"]) == (1, 0, None)
    assert "no decision could be compared" in told["problem"]
    assert verb(capsys, "replay", "churn@1")[0] == 0


def test_it_is_compared_with_the_version_that_is_named_and_only_with_what_that_answered(capsys):
    first, second = version_of("seats", "fee"), version_of("seats", "fee", edge=30)
    asked(first, ROWS[:7])
    asked(second, ROWS[:3])
    asked(second, ROWS[:9], kind="shadow", inputs=None)
    asked(second, ROWS[:9], fallback_from=1)
    assert verb(capsys, "replay", "churn@2")[1]["logged"] == 7
    code, told = verb(capsys, "replay", "churn@1", "--against", "2")
    assert (code, told["logged"], told["version"], told["against"]) == (0, 3, 1, 2)
    assert verb(capsys, "replay", "churn@2", "--against", "2")[1]["scores"]["max_difference"] == 0


def test_the_newest_rows_since_then_are_taken(capsys):
    first = version_of("seats", "fee")
    asked(first, [[1, 1], [2, 2]], at=timezone.now() - 3 * DAY)
    asked(first, ROWS[:5])
    assert verb(capsys, "replay", "churn@1")[1]["logged"] == 5
    assert verb(capsys, "replay", "churn@1", "--since", "7d")[1]["logged"] == 7
    told = verb(capsys, "replay", "churn@1", "--since", "7d", "--limit", "6")[1]
    assert (told["logged"], told["is_limited"]) == (6, True)


def test_each_row_of_many_pages_is_asked_once(capsys):
    first = version_of("seats", "fee")
    at = int((timezone.now() - timedelta(hours=1)).timestamp() * 1e6) * 1000
    said = answers(first, [[n % 40, 5] for n in range(1200)])
    labels = ["leaves" if row[0] > row[1] else "stays" for row in said]
    inputs = [[n % 40 for n in range(1200)], [5] * 1200]
    ship([record(first, rows=1200, inputs=inputs, outputs=[labels, said.ravel().tolist()], made_at=at)])
    told = verb(capsys, "replay", "churn@1")[1]
    assert (told["logged"], told["compared"], told["moved"]) == (1200, 1200, 0)
    assert told["scores"]["max_difference"] == 0


def regression(edge: float) -> ModelVersion:
    rows = pd.DataFrame({"seats": range(40), "fee": [n * 7 % 11 for n in range(40)]})
    bundle = compile_model(LinearRegression().fit(rows, rows.seats * edge + rows.fee), sample=rows).bundle
    version = actions.register_version(name="price", bundle=bundle, actor="cli:ana")
    return actions.mark_ready(model="price", version=version.number, actor="process:probe")


def test_numbers_are_compared_where_nothing_is_decided_and_no_gate_opens_by_that(capsys):
    first, _ = regression(2.0), regression(2.5)
    actions.promote(model="price", version=1, actor="cli:ana")
    at = int(timezone.now().timestamp()) * 10**9
    for seats in (2, 20):
        said = {"outputs": [[seats * 2.0 + 5]], "output_names": ["prediction"]}
        ship([record(first, inputs=[[seats], [5]], made_at=at, **said)])
    code, told = verb(capsys, "replay", "price@2")
    assert (code, told["compared"], told["decided"], told["agreement"]) == (0, 2, 0, None)
    assert told["scores"]["max_difference"] == pytest.approx(10, rel=1e-4)
    assert [mover["difference"] for mover in told["movers"]] == pytest.approx([10, 1], rel=1e-3)
    assert trivet("replay", "price@2") == 0
    assert "agreement" not in capsys.readouterr().out
    assert verb(capsys, "replay", "price@2", "--max-moved", "100")[0] == 1


def test_scores_of_other_classes_are_not_compared_and_decisions_are(capsys):
    asked(version_of("seats", "fee"), [[1, 5], [39, 5]])
    rows = pd.DataFrame({"seats": range(40), "fee": range(40)})
    other = LogisticRegression().fit(rows, ["leaves" if n < 20 else "remains" for n in range(40)])
    version = actions.register_version(name="churn", bundle=compile_model(other, sample=rows).bundle, actor="cli:ana")
    actions.mark_ready(model="churn", version=version.number, actor="process:probe")
    told = verb(capsys, "replay", "churn@2")[1]
    assert (told["scores_differ_in_meaning"], told["scores"]) == (True, None)
    assert (told["decided"], told["moved"]) == (2, 1)
    assert [(mover["decision_before"], mover["decision_after"]) for mover in told["movers"]] == [("stays", "remains")]
    assert trivet("replay", "churn@2") == 0
    assert "not of the same thing" in capsys.readouterr().out


# --- what is not comparable -------------------------------------------------------------------------------------------------


def asking_of(**features: Any) -> Any:
    return feature_set(Customer, "seats", **features)


def reasons(told: dict[str, Any]) -> dict[str, int]:
    return {one["why"]: one["rows"] for one in told["not_comparable"]}


def test_rows_without_inputs_redacted_ones_and_those_that_do_not_fit_are_counted_by_reason(capsys):
    first = version_of("seats", "fee")
    asked(first, ROWS[:4])
    asked(first, ROWS[:3], inputs=None)
    asked(first, ROWS[:2], inputs=[[3], [hidden(5, "fee", b"pepper")]])
    asked(first, ROWS[:1], inputs=[["three"], [5]])
    code, told = verb(capsys, "replay", "churn@1")
    assert (code, told["logged"], told["compared"]) == (0, 10, 4)
    assert reasons(told) == {
        "inputs were not kept, or erased": 3,
        "'fee' is kept as a digest": 2,
        "'seats' does not fit (BAD_ELEMENT)": 1,
    }


def test_a_redacted_input_that_the_other_version_does_not_read_stops_nothing(capsys):
    asked(version_of("seats", "fee"), ROWS[:2], inputs=[[3], [hidden(5, "fee", b"pepper")]])
    version_of("seats", edge=30)
    assert verb(capsys, "replay", "churn@2")[1]["compared"] == 2


def test_A15_a_new_feature_is_derived_as_of_the_time_of_the_prediction(capsys):
    now = timezone.now() - timedelta(hours=1)
    champion = version_of("seats", "fee")
    predictor("Churn", features=asking_of(orders=RECENT))
    somebody = customer(3, 10, -1, now=now)  # the third comes after the prediction
    Order.objects.create(customer=somebody, total=1, placed_at=now + timedelta(minutes=5))
    asked(champion, [[10, 5]], entities=[f"shop.customer:{somebody.pk}"], at=now)
    version_of("seats", "orders")
    code, told = verb(capsys, "replay", "churn@2")
    assert (code, told["compared"], told["derived"], told["not_comparable"]) == (0, 1, 1, [])
    (mover,) = told["movers"]
    assert mover["after"] == pytest.approx(chances(("seats", "orders"), [[10, 2]])[0, 1], abs=1e-5)
    assert abs(mover["after"] - chances(("seats", "orders"), [[10, 3]])[0, 1]) > 1e-3


def test_each_row_is_derived_as_of_its_own_time(capsys):
    now = timezone.now()
    first = version_of("seats", "fee")
    predictor("Churn", features=asking_of(orders=RECENT))
    somebody = customer(1, 5, 20, now=now)
    times = {10: 1, 6: 1, 3: 2}
    for days in times:
        asked(first, [[days, 5]], entities=[f"shop.customer:{somebody.pk}"], at=now - days * DAY)
    version_of("seats", "orders")
    told = verb(capsys, "replay", "churn@2", "--since", "30d")[1]
    found = {Prediction.objects.get(prediction_id=m["prediction_id"][:-2]).inputs["seats"]: m for m in told["movers"]}
    for days, orders in times.items():
        expected = chances(("seats", "orders"), [[days, orders]])[0, 1]
        assert found[days]["after"] == pytest.approx(expected, abs=1e-5)


def test_entities_that_are_gone_or_of_another_table_or_unnamed_are_not_guessed(capsys):
    now = timezone.now() - timedelta(hours=1)
    champion = version_of("seats", "fee")
    predictor("Churn", features=asking_of(orders=RECENT))
    gone = customer(3, now=now)
    entities = [f"shop.customer:{gone.pk}", "shop.flight:1", "", "shop.customer:007", "shop.customer:x"]
    gone.delete()
    asked(champion, ROWS[:5], entities=entities, at=now)
    version_of("seats", "orders")
    told = verb(capsys, "replay", "churn@2")[1]
    assert told["compared"] == 0
    assert reasons(told) == {
        "it lacks 'orders', and it is about no row of the FeatureSet's table": 4,
        "it lacks 'orders', and what it was about is not there any more": 1,
    }


@pytest.mark.parametrize(
    "feature",
    [
        f.Column("discount"),
        f.Count("orders", at=None),
        f.Count("tickets"),
        f.Count("friends", at="joined_at"),
        f.DaysSince("joined_at"),
        f.Sum("plan__customer__seats", at="joined_at"),
        f.Expression(F("seats") + 1),
    ],
    ids=["column", "untimed by word", "untimed", "many to many", "time that may change", "over a key", "expression"],
)
def test_what_has_no_past_is_not_guessed(capsys, feature):
    now = timezone.now() - timedelta(hours=1)
    champion = version_of("seats", "fee")
    predictor("Churn", features=asking_of(orders=feature))
    asked(champion, ROWS[:2], entities=[f"shop.customer:{customer(3, now=now).pk}"] * 2, at=now)
    version_of("seats", "orders")
    told = verb(capsys, "replay", "churn@2")[1]
    assert reasons(told) == {"it lacks 'orders', and 'orders' has no past": 2}


def test_without_a_feature_set_or_a_feature_of_that_name_nothing_is_derived(capsys):
    asked(version_of("seats", "fee"), ROWS[:2])
    version_of("seats", "orders")
    told = verb(capsys, "replay", "churn@2")[1]
    assert reasons(told) == {"it lacks 'orders', and no FeatureSet says how it is made": 2}
    predictor("Churn", features=asking_of())
    told = verb(capsys, "replay", "churn@2")[1]
    assert reasons(told) == {"it lacks 'orders', and ChurnFeatures has no 'orders'": 2}


# --- what ends it -----------------------------------------------------------------------------------------------------------


def test_what_is_not_there_ends_with_4_and_what_is_said_wrong_with_2(capsys):
    version_of("seats", "fee")
    for words, code in (
        (("nobody@1",), 4),
        (("churn@9",), 4),
        (("churn@1", "--against", "9"), 4),
        (("churn",), 2),
        (("churn@1", "--since", "soon"), 2),
        (("churn@1", "--max-moved", "101"), 2),
        (("churn@1", "--max-moved", "nan"), 2),
        (("churn@1", "--limit", "0"), 2),
    ):
        assert trivet("replay", *words) == code, words


def test_a_bundle_that_is_damaged_is_not_loaded(capsys):
    version = version_of("seats", "fee")
    asked(version, ROWS[:2])
    bundle_storage().delete(stored_name(version.digest, "model.onnx"))
    code, said = verb(capsys, "replay", "churn@1")
    assert code == 3
    assert "churn 1 cannot be replayed: " in said


def test_who_may_not_see_predictions_may_not_replay_them(capsys):
    asked(version_of("seats", "fee"), ROWS[:2])
    person("view_registeredmodel", name="eve")
    person("view_registeredmodel", "view_predictions", name="ina")
    assert verb(capsys, "replay", "churn@1", "--as=eve")[0] == 3
    assert verb(capsys, "replay", "churn@1", "--as=ina")[0] == 0


def test_how_far_it_is_is_told_after_each_page():
    version = version_of("seats", "fee")
    asked(version, ROWS[:3])
    told: list[tuple[int, int]] = []
    replay(version, since=timezone.now() - DAY, tell=lambda *words: told.append(words))
    assert told == [(3, 3)]
