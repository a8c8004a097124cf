"""Where the routed version fails, the chain answers and says so; it never hides a caller's mistake."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.unit.dataplane.world import GOOD_ROW, SIGNATURE, World, bundle, infer_body
from trivet.core.constants import constant_arrays, constant_digest
from trivet.core.errors import DeadlineExceeded, InvalidRequest, Unavailable
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.metrics.exposition import Exposition
from trivet.dataplane.table import EMPTY_TABLE

CONSTANT = {"label": "stays", "probabilities": {"stays": 0.75, "churned": 0.25}}
PREDICT = "/v2/models/churn/predict"
ROWS = {"rows": [GOOD_ROW, GOOD_ROW]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def break_version(world: World, number: int, error: Exception | None = None) -> None:
    """Make a version fail from now on."""

    def fail(*_: object) -> list:
        raise error or Unavailable("the model failed on this request.", code="MODEL_FAILED")

    world.engine.loaded[number - 1].run = fail


def test_the_next_in_the_chain_answers_and_says_for_whom(world: World):
    world.route({2: 100}, fallback=(1,))
    break_version(world, 2)
    status, answer, headers = world.ask()
    assert status == 200
    assert (answer["model_version"], headers["trivet-model-version"]) == ("1", "1")
    assert answer["parameters"]["route"] == "fallback"
    assert answer["parameters"]["fallback_from"] == "2"
    (record,) = world.records()
    assert (record.version, record.digest, record.route, record.fallback_from) == (1, world.first, "fallback", 2)


def test_the_failure_counts_for_the_version_that_failed_and_the_answer_for_who_gave_it(world: World):
    world.route({2: 100}, fallback=(1,))
    break_version(world, 2)
    world.ask()
    totals = world.plane.meter.totals()
    assert [(totals["churn", v].fail.count, totals["churn", v].success.count) for v in (1, 2)] == [(0, 1), (1, 0)]
    assert totals["churn", 2].fail.ns > 0
    text = Exposition(world.plane.meter.read(), ["churn"]).text().decode()
    assert 'trivet_fallbacks_total{model="churn",version="2",code="MODEL_FAILED"} 1' in text
    assert "trivet_rejected_total" not in text


def test_where_nobody_answers_the_failure_counts_once(world: World):
    world.route({2: 100}, fallback=(1,))
    break_version(world, 1)
    break_version(world, 2)
    assert world.ask()[0] == 503
    assert world.plane.meter.totals()["churn", 2].fail.count == 1
    assert "trivet_fallbacks_total" not in Exposition(world.plane.meter.read(), ["churn"]).text().decode()


def test_rows_say_the_same(world: World):
    world.route({2: 100}, fallback=(1,))
    break_version(world, 2)
    status, answer, _ = world.ask(path=PREDICT, body=ROWS)
    assert status == 200
    assert answer["parameters"] | {"prediction_id": ""} == {
        "prediction_id": "",
        "route": "fallback",
        "cached": False,
        "fallback_from": "2",
    }


def test_an_answer_of_the_routed_version_names_no_other(world: World):
    world.route({2: 100}, fallback=(1,), constant=CONSTANT)
    answer = world.ask()[1]
    assert (answer["model_version"], answer["parameters"]["route"]) == ("2", "only")
    assert "fallback_from" not in answer["parameters"]
    assert world.records()[-1].fallback_from == 0


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("busy.", code="QUEUE_FULL"),
        Unavailable("gone.", code="VERSION_NOT_LOADED"),
        DeadlineExceeded("too slow."),
    ],
    ids=lambda error: error.code,
)
def test_whatever_the_version_fails_of_somebody_answers(world: World, error: Exception):
    world.route({2: 100}, fallback=(1,))
    break_version(world, 2, error)
    assert world.ask()[1]["model_version"] == "1"


def test_a_log_that_cannot_be_written_is_nobody_elses_to_answer(world: World):
    world.route({2: 100}, fallback=(1,))
    break_version(world, 2, Unavailable("the prediction log cannot be written.", code="LOG_UNAVAILABLE"))
    assert world.ask()[0] == 503
    assert world.engine.loaded[0].runs == 0


def test_the_constant_comes_last_and_answers_under_the_number_0(world: World):
    world.route({2: 100}, fallback=(1,), constant=CONSTANT)
    break_version(world, 2)
    break_version(world, 1)
    status, answer, headers = world.ask()
    assert status == 200
    assert (answer["model_version"], headers["trivet-model-version"]) == ("0", "0")
    assert answer["parameters"]["fallback_from"] == "2"
    assert {output["name"]: output["data"] for output in answer["outputs"]} == {
        "label": ["stays"],
        "probabilities": [0.25, 0.75],
    }
    (record,) = world.records()
    assert (record.version, record.digest) == (0, constant_digest(SIGNATURE, CONSTANT))


def test_a_constant_answers_every_row_and_only_what_is_asked(world: World):
    world.route({1: 100}, constant=CONSTANT)
    break_version(world, 1)
    rows = world.ask(path=PREDICT, body=ROWS)[1]["rows"]
    assert [(row["value"], row["decision"]) for row in rows] == [({"churned": 0.25, "stays": 0.75}, "stays")] * 2
    asked = infer_body() | {"outputs": [{"name": "label"}]}
    assert [output["name"] for output in world.ask(body=asked)[1]["outputs"]] == ["label"]


def test_a_callers_mistake_stays_a_mistake(world: World):
    world.route({2: 100}, fallback=(1,), constant=CONSTANT)
    break_version(world, 2)
    assert world.ask(body=infer_body(age=["old"]))[0] == 400
    assert world.ask(body=infer_body() | {"outputs": [{"name": "labl"}]})[0] == 400
    assert not world.records()


@pytest.mark.parametrize("selector", ["2", "champion"])
def test_who_names_a_version_gets_that_one_or_an_error(world: World, selector: str):
    world.route({2: 100}, fallback=(1,), constant=CONSTANT)
    break_version(world, 2)
    status, _, headers = world.ask(path=f"/v2/models/churn/versions/{selector}/infer")
    assert (status, headers["trivet-error"]) == (503, "MODEL_FAILED")


def test_a_version_that_takes_other_inputs_is_passed_over(world: World):
    other = Signature(
        inputs=(Input(name="weight", datatype="FP64", shape=(-1, 1)),),
        outputs=(Output(name="y", datatype="FP64", shape=(-1,)),),
    )
    stranger = bundle(20.0, other)
    world.bundles[stranger.digest] = stranger
    world.first = stranger.digest
    world.route({2: 100}, fallback=(1,), constant=CONSTANT)
    break_version(world, 2)
    assert world.ask()[1]["model_version"] == "0"


def test_when_all_fail_the_first_error_is_told(world: World):
    world.route({2: 100}, fallback=(2, 1))
    break_version(world, 2, Unavailable("the second is broken."))
    break_version(world, 1, Unavailable("the first is broken."))
    status, answer, _ = world.ask()
    assert (status, answer["error"]) == (503, "the second is broken.")
    assert not world.records()


def start_again(world: World) -> None:
    """Forget what is loaded, as a new process begins."""
    world.plane.reconciler._loaded.clear()
    world.plane.table = EMPTY_TABLE


def test_a_version_that_could_not_be_loaded_is_answered_for(world: World):
    start_again(world)
    del world.bundles[world.second]
    world.route({2: 100}, fallback=(1,), constant=CONSTANT)
    answer = world.ask()[1]
    assert (answer["model_version"], answer["parameters"]["fallback_from"]) == ("1", "2")


def test_a_model_of_which_nothing_is_loaded_still_has_its_constant(world: World):
    start_again(world)
    world.bundles.clear()
    world.route({2: 100}, fallback=(1,), constant=CONSTANT)
    assert world.ask()[1]["model_version"] == "0"
    assert world.ask("GET", "/v2/models/churn/ready")[0] == 503


def test_a_slow_version_leaves_time_for_those_who_answer_for_it(world: World):
    told: list[float] = []

    def slow(_inputs: object, _outputs: object, deadline: float) -> list:
        told.append(deadline - time.monotonic())
        raise DeadlineExceeded("stopped.")

    world.route({2: 100}, fallback=(1,))
    world.engine.loaded[1].run = slow
    assert world.ask(body=infer_body() | {"parameters": {"timeout": 4_000_000}})[1]["model_version"] == "1"
    assert 2.0 < told[0] <= 3.0
    world.ask(path="/v2/models/churn/versions/2/infer", body=infer_body() | {"parameters": {"timeout": 4_000_000}})
    assert 3.0 < told[1] <= 4.0


def test_a_constant_that_fits_no_longer_is_left_out(world: World):
    world.route({2: 100}, constant={"y": 1.0})
    break_version(world, 2)
    assert world.ask()[0] == 503


@pytest.mark.parametrize(
    ("constant", "words"),
    [
        ({"label": "stays"}, "lacks probabilities"),
        (CONSTANT | {"labl": "stays"}, "Did you mean 'label'"),
        (CONSTANT | {"label": 1}, "'label' is BYTES"),
        (CONSTANT | {"probabilities": 0.5}, "[2] numbers a row"),
        (CONSTANT | {"probabilities": [0.5, 0.2, 0.3]}, "[2] numbers a row"),
        (CONSTANT | {"probabilities": [0.5, True]}, "is FP64"),
        (CONSTANT | {"probabilities": [[0.5], [0.2, 0.3]]}, "unevenly"),
        (CONSTANT | {"probabilities": {"stays": 1.0}}, "classes churned, stays"),
    ],
)
def test_a_constant_that_does_not_fit_is_refused_in_words(constant: dict, words: str):
    with pytest.raises(InvalidRequest) as refused:
        constant_arrays(SIGNATURE, constant)
    assert words in str(refused.value)


def test_one_number_a_row_may_be_written_plainly():
    signature = Signature(inputs=(), outputs=(Output(name="price", datatype="FP32", shape=(-1, 1)),))
    assert constant_arrays(signature, {"price": 7})["price"].tolist() == [7.0]
