"""The prediction cache never changes an answer (F20 to F23), and remembers where remembering pays."""

from __future__ import annotations

import json
import random
import threading
import time
import tracemalloc
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings as hypothesis, strategies as st

from tests.unit.dataplane.remembering import (
    DEADLINE,
    SECRET,
    Engine,
    a_cache,
    answer,
    lookups,
    runs,
    together,
    wait_until,
)
from tests.unit.dataplane.world import GOOD_ROW, SIGNATURE, ByHand, ByHandEngine, World, infer_body
from trivet.core.signature import Input, Output, Signature
from trivet.core.snapshot import KeyEntry, ModelEntry, Route, Snapshot, VersionEntry
from trivet.dataplane.cache.admission import ENOUGH_HITS, REST, WINDOW, Admission
from trivet.dataplane.cache.key import canonical, keyed_hash
from trivet.dataplane.cache.memory import ARRAY_BYTES, ENTRY_BYTES, Memory, frozen
from trivet.dataplane.cache.prediction_cache import MAX_VERSIONS, WORTH_US, PredictionCache
from trivet.model.bundle.bundle import Bundle


@pytest.fixture
def cache() -> PredictionCache:
    return a_cache()


@pytest.fixture
def world(tmp_path, cache) -> World:
    return World(tmp_path, cache=cache)


@pytest.fixture
def busy(tmp_path, cache) -> World:
    """A world whose model runs in threads."""
    return World(tmp_path, cache=cache, engine=Engine())


@pytest.fixture
def right(tmp_path) -> list[list]:
    """What the model says of each age, without a cache."""
    plain = World(tmp_path / "plain")
    return [answer(plain, infer_body(age=[age]))[0] for age in range(50)]


# --- what a caller sees -----------------------------------------------------------------------------------------------


def test_the_second_same_question_is_answered_without_a_run(world):
    first, again = answer(world), answer(world)
    assert (first[1], again[1]) == (False, True)
    assert first[0] == again[0]
    assert runs(world) == 1


def test_a_remembered_answer_has_an_id_and_a_record_of_its_own(world):
    ids = [world.ask(body=infer_body() | {"id": name})[1]["parameters"]["prediction_id"] for name in ("a", "b")]
    records = world.records()
    assert [record.id for record in records] == ids
    assert len(set(ids)) == 2
    assert [record.cached for record in records] == [False, True]
    assert [record.caller_id for record in records] == ["a", "b"]
    assert records[0].outputs == records[1].outputs
    assert records[0].inputs == records[1].inputs


def test_35_what_does_not_change_the_answer_needs_no_second_run(world):
    answer(world)
    for changes in ({"id": "other"}, {"parameters": {"route_key": "k", "timeout": 5_000_000, "entity_key": "7"}}):
        assert answer(world, infer_body() | changes)[1]
    assert answer(world, headers={"X-Request-Id": "other", "traceparent": "00-1-1-01"})[1]
    assert runs(world) == 1


def test_35_cache_false_neither_reads_nor_fills(world, cache):
    past = infer_body() | {"parameters": {"cache": False}}
    assert not answer(world, past)[1]
    assert len(cache.memory) == 0
    answer(world)
    assert not answer(world, past)[1]
    assert runs(world) == 3
    assert lookups(world) == {"bypass": 2, "miss": 1}


def test_07_flat_and_nested_data_are_one_question(world):
    answer(world)
    nested = infer_body()
    for tensor in nested["inputs"]:
        tensor["data"] = [tensor["data"]]
    assert answer(world, nested)[1]


def test_rows_and_tensors_are_one_question(world):
    answer(world)
    status, found, _ = world.ask(
        path="/v2/models/churn/predict", body={"rows": [{"age": 50, "city": "Lyon", "seats": 3}]}
    )
    assert (status, found["parameters"]["cached"]) == (200, True)


def test_other_outputs_or_another_order_are_another_question(world):
    both = [{"name": "label"}, {"name": "probabilities"}]
    asked = [both, both[::-1], both[:1], both[1:]]
    fresh = [answer(world, infer_body() | {"outputs": outputs}) for outputs in asked]
    assert not any(is_cached for _, is_cached in fresh)
    assert fresh[1][0] == fresh[0][0][::-1]
    again = [answer(world, infer_body() | {"outputs": outputs}) for outputs in asked]
    assert [values for values, _ in again] == [values for values, _ in fresh]
    assert all(is_cached for _, is_cached in again)


def test_a_scrape_tells_hits_from_misses(world):
    for _ in range(3):
        answer(world)
    totals = world.plane.meter.totals()["churn", 1]
    assert (totals.success.count, totals.cache_hit.count, totals.cache_miss.count) == (3, 2, 1)
    assert (totals.inference_count, totals.execution_count) == (1, 1)


def test_the_configuration_says_whether_answers_may_be_remembered(tmp_path, world):
    asked = {"method": "GET", "path": "/v2/models/churn/config"}
    plain = World(tmp_path / "plain")
    assert [w.ask(**asked)[1]["response_cache"] for w in (world, plain)] == [{"enable": True}, {"enable": False}]


def test_the_parameter_cache_is_true_or_false(world):
    for value in (True, None):
        assert answer(world, infer_body() | {"parameters": {"cache": value}})
    for value in ("false", 0, 0.0):
        for path, body in (("infer", infer_body()), ("predict", {"rows": [GOOD_ROW]})):
            status, found, headers = world.ask(
                path=f"/v2/models/churn/{path}", body=body | {"parameters": {"cache": value}}
            )
            assert (status, headers["trivet-error"]) == (400, "BAD_PARAMETER")
            assert "true or false" in found["error"]


def test_flags_are_those_of_the_request_at_hand(world):
    strange = infer_body(city=["Paris"])
    assert [world.ask(body=strange)[1]["parameters"]["flagged_rows"] for _ in range(2)] == [1, 1]


def test_what_the_model_could_not_answer_is_not_remembered(world):
    version = world.engine.loaded[0]
    version.broken = True
    assert world.ask()[0] == 503
    version.broken = False
    assert answer(world) == ([["stays"], [0.5, 0.5]], False)


def test_an_answer_against_the_signature_is_not_remembered(world):
    version = world.engine.loaded[0]
    right = version.run
    version.run = lambda inputs, outputs, deadline: [array[:0] for array in right(inputs, outputs, deadline)]
    assert world.ask()[0] == 503
    version.run = right
    assert not answer(world)[1]


def test_what_an_engine_does_with_its_buffer_afterwards_changes_no_answer(world):
    version = world.engine.loaded[0]
    buffer = np.array([[0.25, 0.75]])
    version.run = lambda inputs, outputs, deadline: [np.array(["stays"], dtype=object), buffer]
    assert answer(world)[0][1] == [0.25, 0.75]
    buffer[:] = 0.0
    assert answer(world) == ([["stays"], [0.25, 0.75]], True)


def test_a_shadow_runs_also_beside_a_remembered_answer(world):
    world.route({1: 100}, shadows=(Route(2, 100),))
    for count in (1, 2):
        answer(world)
        assert wait_until(lambda count=count: world.plane.shadows.done == count)
    assert [(r.version, r.cached) for r in world.records() if r.kind == "shadow"] == [(2, False), (2, False)]
    assert world.engine.loaded[1].runs == 2
    world.plane.shadows.stop()


def test_a_version_that_stands_in_has_a_cache_of_its_own(world):
    world.route({1: 100}, fallback=(2,))
    world.engine.loaded[0].broken = True
    fresh, again = (world.ask()[1] for _ in range(2))
    assert [found["model_version"] for found in (fresh, again)] == ["2", "2"]
    assert [found["parameters"]["cached"] for found in (fresh, again)] == [False, True]
    world.engine.loaded[0].broken = False
    assert world.ask()[1]["model_version"] == "1"  # what stood in for it is not taken for its own


# --- F20, F21: many at once -------------------------------------------------------------------------------------------


def test_F20_200_identical_requests_on_a_cold_key_are_one_inference_200_answers_and_200_records(busy):
    model = busy.engine.loaded[0]
    model.gate.clear()
    threading.Thread(target=lambda: model.has_begun.wait(DEADLINE) and model.gate.set(), daemon=True).start()
    answers = together(busy, 200)
    assert runs(busy) == 1
    assert {status for status, _ in answers} == {200}
    assert len({json.dumps(found["outputs"]) for _, found in answers}) == 1
    ids = {found["parameters"]["prediction_id"] for _, found in answers}
    assert len(ids) == 200
    assert {record.id for record in busy.records()} == ids
    assert sum(record.cached for record in busy.records()) == 199


def test_100_identical_concurrent_requests_make_one_model_call(busy):
    together(busy, 100)
    assert runs(busy) == 1
    assert lookups(busy) == {"miss": 1, "hit": 99}


def test_F21_when_the_one_who_runs_is_killed_the_others_run_and_are_answered(busy):
    model = busy.engine.loaded[0]
    model.fails = 1
    model.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(busy.ask)]
        assert model.has_begun.wait(DEADLINE)
        futures += [pool.submit(busy.ask) for _ in range(19)]
        model.gate.set()
        statuses = sorted(future.result(DEADLINE)[0] for future in futures)
    assert statuses == [200] * 19 + [503]
    assert len(busy.records()) == 19


def test_F21_who_waits_for_one_that_hangs_is_answered_within_the_time_that_is_left(busy):
    model = busy.engine.loaded[0]
    model.gate.clear()
    stuck, free = threading.Event(), model.run

    def hang_once(inputs, outputs, deadline):
        model.run = free
        stuck.set()
        return free(inputs, outputs, deadline)  # holds until the gate opens

    model.run = hang_once
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(busy.ask)
        assert stuck.wait(DEADLINE)
        model.run = lambda inputs, outputs, deadline: ByHand.run(model, inputs, outputs, deadline)
        status, found, _ = busy.ask(body=infer_body() | {"parameters": {"timeout": 400_000}})
        assert (status, found["parameters"]["cached"]) == (200, False)
        model.gate.set()
        assert first.result(DEADLINE)[0] == 200


def test_F21_nobody_waits_for_another_where_no_time_would_be_left_to_run(busy):
    model = busy.engine.loaded[0]
    busy.plane.table.models["churn"].live[1].cache.admission.mean_run_ns = 8e9  # and a request has ten seconds
    model.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(busy.ask)
        assert model.has_begun.wait(DEADLINE)
        model.run = lambda inputs, outputs, deadline: ByHand.run(model, inputs, outputs, deadline)
        assert not answer(busy)[1]
        assert not first.done()
        model.gate.set()
        assert first.result(DEADLINE)[0] == 200


def test_under_eviction_and_contention_every_answer_is_the_models(tmp_path, right):
    world = World(tmp_path, cache=a_cache(limit=20_000), engine=Engine())  # room for about twenty of the fifty

    def ask(seed: int) -> list[bool]:
        order = random.Random(seed)
        return [answer(world, infer_body(age=[age]))[0] == right[age] for age in order.choices(range(50), k=150)]

    with ThreadPoolExecutor(8) as pool:
        for checked in pool.map(ask, range(8), timeout=DEADLINE * 3):
            assert all(checked)
    assert 50 < runs(world) < 1200  # some were dropped and run again, some were not
    assert world.plane.reconciler.cache.memory.used_bytes <= 20_000


def test_a_version_that_runs_inline_waits_for_nobody(world, cache):
    asked = []
    cache.flights.board = lambda *_: asked.append(1)  # the loop would stand still
    answer(world)
    assert not asked


# --- F22: a promotion, a reload ----------------------------------------------------------------------------------------


def test_F22_an_answer_after_a_promotion_is_the_new_versions(busy):
    old, _ = answer(busy)
    stopping, wrong = threading.Event(), []
    promoted = threading.Event()

    def ask() -> None:
        while not stopping.is_set():
            is_after = promoted.is_set()
            _, found, _ = busy.ask()
            if is_after and found["model_version"] != "2":
                wrong.append(found)
            values = [output["data"] for output in found["outputs"]]
            if (values == old) != (found["model_version"] == "1"):
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            promoted.clear()
            busy.route({1: 100})
            busy.route({2: 100})
            promoted.set()
            assert busy.ask()[1]["model_version"] == "2"
    finally:
        stopping.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert not wrong


def test_a_version_that_was_unloaded_and_loaded_again_still_knows_its_answers(world):
    first, _ = answer(world)
    empty = Snapshot(world.snapshot({1: 100}).generation, {}, {})
    world.plane.follow(empty)
    assert world.engine.loaded[0].is_unloaded
    world.route({1: 100})
    assert answer(world) == (first, True)


def test_two_models_with_the_same_body_keep_their_own_answers(tmp_path, cache):
    world = World(tmp_path, cache=cache)
    snapshot = world.snapshot({1: 100})
    other = ModelEntry("other", {1: VersionEntry(1, world.second, "onnx", SIGNATURE)}, (Route(1, 100),))
    grants = {name: frozenset({"predict", "view"}) for name in ("churn", "other")}
    key = snapshot.keys[world.key_id]
    keys = {key.id: KeyEntry(key.id, key.hash, grants)}
    world.plane.follow(Snapshot(snapshot.generation, {**snapshot.models, "other": other}, keys))
    asked = [answer(world, path=f"/v2/models/{name}/infer") for name in ("churn", "other", "churn", "other")]
    assert asked[0][0] != asked[1][0]
    assert asked[2:] == [(asked[0][0], True), (asked[1][0], True)]


# --- F23: the adversary ------------------------------------------------------------------------------------------------

NUMBERS = Signature(
    inputs=(
        Input(name="real", datatype="FP64", shape=(-1, 1), nullable=True),
        Input(name="whole", datatype="INT64", shape=(-1, 1)),
        Input(name="yes", datatype="BOOL", shape=(-1, 1)),
        Input(name="word", datatype="BYTES", shape=(-1, 1), nullable=True),
        Input(name="words", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=(Output(name="seen", datatype="BYTES", shape=(-1,)),),
)
PLAIN = {"real": 1.0, "whole": 1, "yes": True, "word": "1", "words": "1"}


class Echo(ByHand):
    """Answers with what it saw, to the bit."""

    def run(self, inputs, outputs, deadline=float("inf")):
        self.runs += 1
        seen = [
            repr(
                [
                    (array.dtype.str, array[row].tobytes() if array.dtype.kind != "O" else array[row, 0])
                    for array in inputs.values()
                ]
            )
            for row in range(len(next(iter(inputs.values()))))
        ]
        return [np.array(seen, dtype=object)]


class EchoEngine(ByHandEngine):
    def load(self, bundle: Bundle) -> Echo:
        self.loaded.append(Echo())
        return self.loaded[-1]


def numbers_body(**changes: object) -> dict:
    datatypes = {spec.name: spec.datatype for spec in NUMBERS.inputs}
    return {
        "inputs": [
            {"name": name, "shape": [1, 1], "datatype": datatypes[name], "data": [value]}
            for name, value in {**PLAIN, **changes}.items()
        ]
    }


NFC, NFD = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
DISTINCT = [
    {},
    {"real": -1.0},
    {"real": 0.0},
    {"real": -0.0},
    {"real": None},
    {"real": 2.0**53},
    {"real": 2.0**53 + 2},
    {"real": 5e-324},
    {"whole": 0},
    {"whole": 2**53},
    {"whole": 2**53 + 1},
    {"whole": -(2**63)},
    {"whole": 2**63 - 1},
    {"yes": False},
    {"word": None},
    {"word": ""},
    {"word": "null"},
    {"word": "1.0"},
    {"word": "true"},
    {"word": NFC},
    {"word": NFD},
    {"word": "1\x00"},
    {"word": "11", "words": ""},
    {"word": "", "words": "11"},
    {"word": "a\x00b", "words": "c"},
    {"word": "a", "words": "b\x00c"},
]


@pytest.mark.parametrize("collide", [False, True], ids=["keyed hash", "forced collision"])
def test_F23_no_two_questions_share_an_answer(tmp_path, collide):
    """With the forced collision every key is the same, so that only the comparison of the inputs is left."""
    cache = a_cache(hash_of=(lambda _: bytes(16)) if collide else None)
    world = World(tmp_path, signature=NUMBERS, engine=EchoEngine(), cache=cache)
    fresh = [answer(world, numbers_body(**changes) | {"parameters": {"cache": False}})[0] for changes in DISTINCT]
    assert len({json.dumps(values) for values in fresh}) == len(DISTINCT)
    for _ in range(2):
        assert [answer(world, numbers_body(**changes))[0] for changes in DISTINCT] == fresh


def test_F23_what_is_the_same_to_the_model_is_one_question(tmp_path):
    world = World(tmp_path, signature=NUMBERS, engine=EchoEngine(), cache=a_cache())
    answer(world, numbers_body())
    reordered = numbers_body()
    reordered["inputs"].reverse()
    whole_float = numbers_body(real=1)  # JSON's 1 in a float tensor is 1.0
    for body in (reordered, whole_float, dict(reversed(numbers_body().items()))):
        assert answer(world, body)[1]
    for body in (numbers_body(whole=1.0), numbers_body(whole=True), numbers_body(yes=1), numbers_body(word=1)):
        assert world.ask(body=body)[0] == 400  # these never reach the cache


def test_F23_another_caller_gets_the_answer_and_nothing_of_the_first_caller(world):
    snapshot = world.snapshot({1: 100})
    world.ask(body=infer_body() | {"id": "mine", "parameters": {"entity_key": "secret"}})
    _, found, headers = world.ask(key=world.key)
    assert found["parameters"]["cached"]
    assert "id" not in found
    assert "mine" not in json.dumps([found, headers])
    world.plane.follow(Snapshot(snapshot.generation, {"churn": snapshot.models["churn"]}, {}))
    assert world.ask()[0] == 401  # who may not ask gets no remembered answer either


ARRAYS = st.dictionaries(
    st.sampled_from(["a", "b", "ab"]),
    st.one_of(
        st.lists(st.floats(width=64), min_size=1, max_size=3).map(lambda v: np.array(v, dtype=np.float64)),
        st.lists(st.floats(width=32), min_size=1, max_size=3).map(lambda v: np.array(v, dtype=np.float32)),
        st.lists(st.integers(-2, 2), min_size=1, max_size=3).map(lambda v: np.array(v, dtype=np.int64)),
        st.lists(st.integers(0, 2), min_size=1, max_size=3).map(lambda v: np.array(v, dtype=np.uint8)),
        st.lists(st.booleans(), min_size=1, max_size=3).map(lambda v: np.array(v, dtype=np.bool_)),
        st.lists(st.sampled_from(["", "a", "b", "ab", NFC, NFD]), min_size=1, max_size=3).map(
            lambda v: np.array(v, dtype=object)
        ),
    ).flatmap(lambda array: st.sampled_from([array, array.reshape(-1, 1), array.reshape(1, -1)])),
    min_size=1,
    max_size=2,
)
OUTPUTS = st.lists(st.sampled_from(["x", "y", "xy"]), min_size=1, max_size=2, unique=True)
QUESTIONS = st.tuples(st.sampled_from(["d1", "d2"]), OUTPUTS, ARRAYS)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal as a model sees it: datatype, shape and bits, but for the bits of a NaN."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind == "O":
        return one.tolist() == other.tolist()
    is_nan = one != one  # noqa: PLR0124
    if not np.array_equal(is_nan, other != other):  # noqa: PLR0124
        return False
    return one[~is_nan].tobytes() == other[~is_nan].tobytes()


@hypothesis(deadline=None, max_examples=300)
@given(QUESTIONS, QUESTIONS, st.booleans())
def test_F23_keys_are_equal_exactly_if_questions_are(one, other, again):
    if again:
        other = (one[0], list(one[1]), {name: array.copy() for name, array in one[2].items()})
    equal = (
        one[:2] == other[:2]
        and list(one[2]) == list(other[2])
        and all(same(array, other[2][name]) for name, array in one[2].items())
    )
    first, second = canonical(*one), canonical(*other)
    assert (first == second) == equal
    assert (keyed_hash(SECRET)(first) == keyed_hash(SECRET)(second)) == equal


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
@pytest.mark.parametrize(
    ("floats", "bits"), [(np.float16, np.uint16), (np.float32, np.uint32), (np.float64, np.uint64)]
)
def test_F23_every_nan_is_one_value(shape, floats, bits):
    quiet = np.full(shape, np.nan, dtype=floats)
    odd = (quiet.view(bits) ^ bits(1)).view(floats)
    signed = np.negative(quiet)
    assert len({array.tobytes() for array in (quiet, odd, signed)}) == 3
    assert len({canonical("d", ["x"], {"a": array}) for array in (quiet, odd, signed)}) == 1


def test_F23_the_order_of_bytes_in_memory_is_no_value():
    block = np.arange(6.0).reshape(2, 3)
    assert canonical("d", ["x"], {"a": block}) == canonical("d", ["x"], {"a": np.asfortranarray(block)})
    assert canonical("d", ["x"], {"a": block}) != canonical("d", ["x"], {"a": block.T.copy()})


def test_a_text_that_is_no_unicode_is_not_remembered():
    assert canonical("d", ["x"], {"a": np.array(["\ud800"], dtype=object)}) is None


def test_keys_of_another_secret_are_other_keys():
    assert keyed_hash(b"one")(b"question") != keyed_hash(b"two")(b"question")


# --- the memory --------------------------------------------------------------------------------------------------------


def an_answer(size: int = 8) -> tuple[np.ndarray, ...]:
    return frozen([np.zeros(size, dtype=np.uint8)])


def test_the_memory_keeps_to_its_bound_and_drops_the_longest_unused():
    memory = Memory(64 * 1024)
    for number in range(1000):
        memory.put(b"%d" % number, b"asked", an_answer())
        memory.get(b"0", b"asked")
        assert memory.used_bytes <= memory.limit_bytes
    assert memory.get(b"0", b"asked") is not None
    assert memory.get(b"1", b"asked") is None
    assert memory.get(b"999", b"asked") is not None
    assert len(memory) == memory.used_bytes // (ENTRY_BYTES + 5 + ARRAY_BYTES + 8)


def test_the_memory_weighs_what_it_holds_about_right():
    memory = Memory(64 * 1024 * 1024)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(2000):
            inputs = b"%0200d" % number
            memory.put(b"%016d" % number, inputs, frozen([np.zeros((1, 2)), np.array(["stays"], dtype=object)]))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.8 < memory.used_bytes / taken < 1.25


def test_one_answer_does_not_drive_out_all_others():
    memory = Memory(64 * 1024)
    memory.put(b"small", b"asked", an_answer())
    memory.put(b"large", b"asked", an_answer(5000))
    assert memory.get(b"small", b"asked") is not None
    assert memory.get(b"large", b"asked") is None


def test_an_answer_that_is_put_twice_weighs_once():
    memory = Memory(64 * 1024)
    for _ in range(3):
        memory.put(b"key", b"asked", an_answer())
    assert memory.used_bytes == ENTRY_BYTES + 5 + ARRAY_BYTES + 8


def test_nobody_can_write_into_what_is_remembered():
    kept = frozen([np.zeros(3)])[0]
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1.0


# --- whether it pays ---------------------------------------------------------------------------------------------------

DEAR, CHEAP, LOOKUP = 2_000_000, 4_000, 5_000  # nanoseconds


def judged(admission: Admission, hits: list[bool], run_ns: int) -> Admission:
    """Let `admission` see lookups that were hits or not, with runs of `run_ns` where it needs them."""
    for is_hit in hits:
        needs_run = not (admission.is_open and is_hit)
        admission.judge(is_hit=is_hit, lookup_ns=LOOKUP, run_ns=run_ns if needs_run else None)
    return admission


def test_a_dear_model_with_some_repeats_is_worth_it():
    assert judged(Admission(), [True, False, False, False] * WINDOW, DEAR).is_open


def test_a_dear_model_that_is_never_asked_twice_is_not():
    assert not judged(Admission(), [False] * WINDOW * 3, DEAR).is_open


def test_a_model_cheaper_than_a_lookup_is_not_however_often_it_is_asked_the_same():
    assert not judged(Admission(), [True] * WINDOW * 3, CHEAP).is_open


def test_it_closes_when_the_repeats_end_and_opens_when_they_return():
    admission = judged(Admission(), [True] * WINDOW, DEAR)
    assert admission.is_open
    judged(admission, [True] * WINDOW * 2, DEAR)
    assert admission.is_open
    judged(admission, [False] * WINDOW * 2, DEAR)
    assert not admission.is_open
    assert [admission.turn() for _ in range(REST)] == ["rest"] * REST
    assert admission.turn() == "watch"
    assert judged(admission, [True] * WINDOW, DEAR).is_open


def test_repeats_are_found_in_a_sketch_of_fixed_size():
    admission = Admission()
    keys = [number.to_bytes(8, "little") * 2 for number in range(1, 1001)]
    assert [admission.has_seen(key) for key in keys] == [False] * 1000
    assert [admission.has_seen(key) for key in keys] == [True] * 1000


def test_by_itself_the_cache_turns_on_for_a_slow_model_that_is_asked_the_same(tmp_path):
    world = World(tmp_path, cache=a_cache(mode="auto"))
    model = world.engine.loaded[0]
    right = model.run

    def slow(inputs, outputs, deadline):
        until = time.perf_counter_ns() + 1_000_000
        while time.perf_counter_ns() < until:
            pass
        return right(inputs, outputs, deadline)

    model.run = slow
    cached = [answer(world)[1] for _ in range(ENOUGH_HITS + 3)]
    assert cached == [False] * (ENOUGH_HITS + 2) + [True]  # one unseen, so many repeats, one run to keep


def test_by_itself_the_cache_stays_off_where_nothing_repeats(tmp_path):
    cache = a_cache(mode="auto")
    world = World(tmp_path, cache=cache)
    for number in range(WINDOW + 10):
        answer(world, infer_body(age=[number / 10]))
    assert len(cache.memory) == 0
    assert runs(world) == WINDOW + 10
    assert lookups(world) == {}


class Measured(ByHandEngine):
    """Loads versions that were measured to cost `cost_us` a row."""

    def __init__(self, cost_us: float) -> None:
        super().__init__()
        self.cost_us = cost_us

    def load(self, bundle: Bundle) -> ByHand:
        version = super().load(bundle)
        version.cost_us_per_row = self.cost_us
        return version


@pytest.mark.parametrize(("cost_us", "has_cache"), [(30.0, False), (WORTH_US, True), (5000.0, True)])
def test_a_version_of_microseconds_has_no_cache_to_ask(tmp_path, cost_us, has_cache):
    world = World(tmp_path, cache=a_cache(mode="auto"), engine=Measured(cost_us))
    version = world.plane.table.models["churn"].live[1]
    assert (version.cache is not None) == has_cache


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_version_declared_stochastic_never_has_a_cache(tmp_path, mode):
    dice = msgspec.structs.replace(SIGNATURE, stochastic=True)
    world = World(tmp_path, cache=a_cache(mode=mode), signature=dice)
    assert world.plane.table.models["churn"].live[1].cache is None
    assert not any(answer(world)[1] for _ in range(3))


def test_a_signature_that_does_not_say_stochastic_keeps_the_digest_it_had():
    assert b"stochastic" not in msgspec.json.encode(SIGNATURE)


def test_measurements_are_kept_for_a_bounded_number_of_versions():
    cache = a_cache()
    first = cache.of_version("first", SIGNATURE, ByHand())
    assert cache.of_version("first", SIGNATURE, ByHand()) is first
    for number in range(MAX_VERSIONS):
        cache.of_version(str(number), SIGNATURE, ByHand())
    assert cache.of_version("first", SIGNATURE, ByHand()) is not first
