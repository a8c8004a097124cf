"""Which version answers: shares are kept, a caller keeps theirs, and a ramp only takes newcomers."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.dataplane.protocol.messages import InferRequest, RawTensor
from trivet.dataplane.routing import choose, rendezvous

pytestmark = pytest.mark.usefixtures("on_every_mount")

KEYS = [f"customer-{i}" for i in range(4000)]
ROWS = "/v2/models/churn/predict"

weights = st.dictionaries(st.integers(1, 999_999_999), st.integers(1, 100), min_size=1, max_size=6)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def asked(world: World, *, path: str = "/v2/models/churn/infer", body: dict | None = None, **parameters: object):
    """Return the version that answered, and why."""
    status, answer, _ = world.ask("POST", path, {**(body or infer_body()), "parameters": parameters})
    assert status == 200, answer
    return answer["model_version"], answer["parameters"]["route"]


# --- rendezvous -----------------------------------------------------------------------------------------------------


def test_keys_are_shared_out_by_weight():
    counts = Counter(rendezvous("churn", key, {3: 70, 4: 20, 5: 10}.items()) for key in KEYS)
    for version, expected in ((3, 2800), (4, 800), (5, 400)):
        assert abs(counts[version] - expected) < 5 * (expected * (1 - expected / 4000)) ** 0.5  # 5 standard deviations


@given(st.text(max_size=128), weights, st.data())
def test_36_a_raised_weight_moves_keys_towards_that_version_only(key: str, before: dict[int, int], data: st.DataObject):
    raised = data.draw(st.sampled_from(sorted(before)))
    after = {**before, raised: data.draw(st.integers(before[raised], 100))}
    first, second = rendezvous("churn", key, before.items()), rendezvous("churn", key, after.items())
    assert second in (first, raised)


@given(st.text(max_size=128), weights, st.data())
def test_a_key_moves_only_where_the_odds_grew(key: str, before: dict[int, int], data: st.DataObject):
    after = {version: data.draw(st.integers(1, 100)) for version in before}
    first, second = rendezvous("churn", key, before.items()), rendezvous("churn", key, after.items())
    assert first == second or after[second] * before[first] > before[second] * after[first]


@given(st.text(max_size=128), weights, st.randoms())
def test_the_order_of_the_routes_does_not_matter(key: str, shares: dict[int, int], random: object):
    shuffled = list(shares.items())
    random.shuffle(shuffled)
    assert rendezvous("churn", key, shuffled) == rendezvous("churn", key, shares.items())


def test_a_ramp_from_1_to_100_percent_sends_nobody_back():
    on_canary: set[str] = set()
    for share in (1, 5, 25, 50, 75, 99):
        now = {key for key in KEYS if rendezvous("churn", key, [(1, 100 - share), (2, share)]) == 2}
        assert on_canary <= now
        on_canary = now


def test_near_draws_are_compared_as_whole_numbers(monkeypatch: pytest.MonkeyPatch):
    plain = [rendezvous("churn", key, [(1, 90), (2, 7), (3, 3)]) for key in KEYS[:300]]
    monkeypatch.setattr("trivet.dataplane.routing.CLOSE", float("inf"))  # every pair is too close to trust logarithms
    assert [rendezvous("churn", key, [(1, 90), (2, 7), (3, 3)]) for key in KEYS[:300]] == plain


def test_another_process_agrees():
    code = (
        "from trivet.dataplane.routing import rendezvous\n"
        "print([rendezvous('churn', f'customer-{i}', [(1, 50), (2, 30), (3, 20)]) for i in range(50)])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.strip() == str([rendezvous("churn", key, [(1, 50), (2, 30), (3, 20)]) for key in KEYS[:50]])


def test_where_a_key_goes_is_a_promise_that_outlives_releases():
    shares = [(1, 50), (2, 30), (3, 20)]
    assert [rendezvous("churn", key, shares) for key in ("ada", "grace", "edsger", "", "Å")] == [1, 1, 2, 2, 2]


def test_two_models_draw_apart():
    shares = [(1, 50), (2, 50)]
    same = sum(rendezvous("churn", key, shares) == rendezvous("late", key, shares) for key in KEYS)
    assert 1800 < same < 2200


# --- the corridor ---------------------------------------------------------------------------------------------------


def test_36_the_same_route_key_gets_the_same_version(world: World):
    world.route({1: 50, 2: 50})
    for key in KEYS[:40]:
        first = asked(world, route_key=key)
        assert first[1] == "sticky"
        assert {asked(world, route_key=key) for _ in range(5)} == {first}
    assert world.records()[-1].route == "sticky"


def test_the_value_of_sticky_by_is_the_key_on_every_path(world: World):
    world.route({1: 50, 2: 50}, sticky_by="seats")
    for seats in range(1, 40):
        version = asked(world, route_key=str(seats))[0]
        assert asked(world, body=infer_body(seats=[seats])) == (version, "sticky")
        assert asked(world, path=ROWS, body={"rows": [{**GOOD_ROW, "seats": seats}]}) == (version, "sticky")


def test_bytes_are_the_same_key_as_json(world: World):
    world.route({1: 50, 2: 50}, sticky_by="seats")
    model = world.plane.table.models["churn"]
    for seats in range(1, 30):
        raw = InferRequest([RawTensor("seats", [1, 1], "INT64", seats.to_bytes(8, "little"))])
        assert str(choose(model, None, raw)[0].entry.number) == asked(world, body=infer_body(seats=[seats]))[0]
    lying = InferRequest([RawTensor("seats", [1, 1], "INT64", b"\0")])
    assert choose(model, None, lying)[1] == "split"


def test_route_key_goes_before_sticky_by(world: World):
    world.route({1: 50, 2: 50}, sticky_by="seats")
    versions = {asked(world, route_key="ada", body=infer_body(seats=[n])) for n in range(1, 30)}
    assert len(versions) == 1


def test_a_number_is_one_key_however_it_is_written(world: World):
    world.route({1: 50, 2: 50}, sticky_by="age")
    for age in range(20, 40):
        assert asked(world, body=infer_body(age=[age])) == asked(world, body=infer_body(age=[float(age)]))


def test_a_batch_of_one_caller_is_sticky_and_a_mixed_one_is_split(world: World):
    world.route({1: 50, 2: 50}, sticky_by="seats")
    rows = {"age": [50.0] * 2, "city": ["Lyon"] * 2}
    assert asked(world, body=infer_body(**rows, seats=[7, 7])) == asked(world, body=infer_body(seats=[7]))
    assert asked(world, body=infer_body(**rows, seats=[7, 8]))[1] == "split"


def test_a_caller_without_a_key_is_split(world: World):
    world.route({1: 50, 2: 50}, sticky_by="age")
    assert asked(world, body=infer_body(age=[None]))[1] == "split"
    assert asked(world, route_key="", body=infer_body(age=[None]))[1] == "split"


def test_a_version_with_all_traffic_is_the_only_one(world: World):
    world.route({2: 100}, sticky_by="seats")
    assert asked(world, route_key="ada") == ("2", "only")


def test_a_version_or_alias_in_the_path_goes_before_any_key(world: World):
    world.route({1: 90, 2: 10})
    assert asked(world, path="/v2/models/churn/versions/2/infer", route_key="ada") == ("2", "pinned")
    assert asked(world, path="/v2/models/churn/versions/champion/infer", route_key="ada") == ("1", "alias")


def test_04_every_path_answers_the_same_however_the_version_is_named(world: World):
    def said(path: str, body: dict) -> tuple[dict, str]:
        status, answer, headers = world.ask("POST", path, body)
        assert status == 200, answer
        told = answer.pop("parameters", {})
        for row in answer.get("rows", ()):
            row.pop("id")
        return answer, headers["trivet-model-version"] + " " + str(told.get("route", ""))

    world.route({2: 100})
    for path, body in (
        ("/v2/models/churn{}/infer", infer_body()),
        ("/v2/models/churn{}/predict", {"rows": [GOOD_ROW]}),
        ("/v1/models/churn{}:predict", {"instances": [GOOD_ROW]}),
    ):
        told = [said(path.format(named), body) for named in ("", "/versions/2", "/versions/champion")]
        assert [answer for answer, _ in told] == [told[0][0]] * 3
        if path.startswith("/v2"):
            assert [reason for _, reason in told] == ["2 only", "2 pinned", "2 alias"]


def test_04_champion_in_the_path_never_reaches_a_canary(world: World):
    world.route({1: 51, 2: 49})
    model = world.plane.table.models["churn"]
    assert {choose(model, "champion")[0].entry.number for _ in range(10_000)} == {1}


@pytest.mark.parametrize("key", [7, 1.5, True, "k" * 129])
def test_a_route_key_that_is_none_is_refused(world: World, key: object):
    for path, body in (("/v2/models/churn/infer", infer_body()), (ROWS, {"rows": [GOOD_ROW]})):
        status, answer, headers = world.ask("POST", path, {**body, "parameters": {"route_key": key}})
        assert (status, headers["trivet-error"]) == (400, "BAD_PARAMETER")
        assert "route_key" in answer["error"]
