"""A canary: its share of the requests, and the callers who stay with it."""

from __future__ import annotations

import random
from pathlib import Path

from tests.scale import scaled
from tests.unit.dataplane.world import World, infer_body

REQUESTS = scaled(test=2_000, ci=20_000, full=20_000)
SHARE = 0.10
SPREAD_999 = 3.29  # standard deviations that 99.9 % of a binomial lie within


def test_M05_a_canary_gets_its_share_and_keeps_its_callers(tmp_path: Path):
    random.seed(2013)
    world = World(tmp_path)
    world.route({1: 90, 2: 10})
    split = [version(world) for _ in range(REQUESTS)]
    keys = [f"caller-{i}" for i in range(REQUESTS // 4)]
    sticky = [version(world, route_key=key) for key in keys]
    for answered in (split, sticky):
        spread = (len(answered) * SHARE * (1 - SHARE)) ** 0.5
        assert abs(answered.count("2") - len(answered) * SHARE) <= SPREAD_999 * spread
    assert [version(world, route_key=key) for key in keys[:200]] == sticky[:200]


def version(world: World, **parameters: object) -> str:
    status, answer, _ = world.ask("POST", "/v2/models/churn/infer", {**infer_body(), "parameters": parameters})
    assert status == 200, answer
    return answer["model_version"]
