"""Seeded requests against an oracle that knows the protocol and nothing of our code: no 5xx, no wrong 200, no wrong 400."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.robustness.score import Score
from tests.scale import scaled
from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.mutations import Mutator, Request, good_bodies
from tests.unit.dataplane.oracle import Asked, Columns, NotJudged, Refused, judge
from tests.unit.dataplane.world import SIGNATURE, ByHand, ByHandEngine, World
from trivet.core.signature import Output, Signature
from trivet.dataplane.frontends.rest import Response
from trivet.dataplane.plane import Limits
from trivet.model.bundle.bundle import Bundle

SEED = int(os.environ.get("MUTATION_SEED", "20"))
COLUMNS: Columns = {"age": ("FP64", True), "city": ("BYTES", False), "seats": ("INT64", False)}
OUTPUTS = ["age", "city", "seats", "twice"]
EVERY = 40  # of the requests goes through every mount as well


class Mirror(ByHand):
    """Gives back each column, and twice the seats: an answer tells which values were read."""

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float = math.inf
    ) -> list[np.ndarray]:
        return [inputs["seats"].astype(np.float64) * 2 if name == "twice" else inputs[name] for name in outputs]


class MirrorEngine(ByHandEngine):
    def load(self, bundle: Bundle) -> Mirror:
        return Mirror()


def mirror(folder: Path, **options: Any) -> World:
    """Return a world whose answers show what the model was given."""
    outputs = [Output(name=i.name, datatype=i.datatype, shape=i.shape) for i in SIGNATURE.inputs]
    outputs.append(Output(name="twice", datatype="FP64", shape=(-1, 1)))
    return World(
        folder, signature=Signature(inputs=SIGNATURE.inputs, outputs=tuple(outputs)), engine=MirrorEngine(), **options
    )


def rows(count: int) -> dict[str, list[Any]]:
    return {
        "age": [50.0, None, 0.1][:count],
        "city": ["Lyon", "Z\u00fcrich \u2713", "Oslo"][:count],
        "seats": [3, 200, 7][:count],
    }


def expected(asked: Asked) -> list[tuple[str, list[Any]]]:
    """Return the outputs that the mirror must give."""
    columns = asked.columns | {"twice": [2.0 * float(seats) for seats in asked.columns["seats"]]}
    return [(name, columns[name]) for name in asked.outputs]


def wrong(request: Request, response: Response, counts: Counter[str]) -> str:
    """Return what is wrong with a response, by the oracle; "" for nothing."""
    try:
        asked: Asked | None = judge(request.headers, request.body, COLUMNS, OUTPUTS, "churn")
    except Refused:
        asked = None
    except NotJudged:
        counts["not judged"] += 1
        is_deadline = response.status == 504 and b"timeout" in request.body
        return "" if response.status < 500 or is_deadline else "a 5xx"
    counts["good" if asked else "bad"] += 1
    if response.status >= 500:
        return "a 5xx"
    if asked is None:
        return "" if 400 <= response.status < 500 else "a wrong 200"
    if response.status != 200:
        return f"a wrong {response.status}: {response.body!r}"
    answer = json.loads(response.body)
    if answer.get("id") != asked.id or [(o["name"], o["data"]) for o in answer["outputs"]] != expected(asked):
        return f"a 200 with other values: {response.body!r}"
    return ""


def plain(response: Response) -> tuple[int, Any]:
    """Return what must be the same on every mount: all but ids."""
    told = json.loads(response.body)
    if response.status == 200:
        told["parameters"].pop("prediction_id")
    return response.status, told


@pytest.mark.parametrize("seats", ["INT64", "INT32"])  # the signature's datatype, and one that it widens
def test_H35_H75_numbers_of_over_64_bits_in_a_record_too_large_to_keep_are_floats(tmp_path: Path, seats: str):
    world = mirror(tmp_path, limits=Limits())
    count, city = 1024, "L" * 1100
    columns = [("age", "FP64", [10**20]), ("city", "BYTES", [city]), ("seats", seats, [3])]
    inputs = [{"name": n, "shape": [count, 1], "datatype": d, "data": data * count} for n, d, data in columns]
    request = Request({}, json.dumps({"inputs": inputs}).encode())
    response = world.send(body=request.body)
    assert not wrong(request, response, Counter())
    record, floats = world.records()[0], [[1e20] * count, [city] * count, [3] * count]
    assert (record.inputs, record.inputs_sha256) == (None, hashlib.sha256(msgspec.msgpack.encode(floats)).hexdigest())


def test_H75_seeded_mutations_are_answered_as_an_independent_oracle_says(tmp_path: Path, score: Score):
    world = mirror(tmp_path)
    count = scaled(test=2_000, ci=10_000, full=100_000, long=1_000_000)
    counts: Counter[str] = Counter()
    bodies = good_bodies(COLUMNS, rows, OUTPUTS, "churn")
    failed: list[str] = []
    began = time.monotonic()
    for number, request in enumerate(islice(Mutator(SEED, bodies), count)):
        response = world.send(body=request.body, headers=request.headers)
        told = wrong(request, response, counts)
        if told and len(failed) < 20:
            failed.append(f"request {number} of seed {SEED}: {told}\n{request}")
        if response.status >= 500 and response.status != 504:
            counts["5xx"] += 1
        if number % EVERY == 0 and response.status != 504:
            for name, mount in MOUNTS.items():
                sent = {
                    b"host": b"localhost",
                    b"content-length": b"%d" % len(request.body),
                    b"authorization": f"Bearer {world.key}".encode(),
                }
                sent |= {key.encode(): value.encode() for key, value in request.headers.items()}
                other = mount(world.plane, "POST", "/v2/models/churn/infer", sent, request.body)
                if plain(other) != plain(response):
                    failed.append(f"request {number} of seed {SEED}: {name} says {other}, not {response}\n{request}")
    print(f"seed {SEED}: {count} requests in {time.monotonic() - began:.0f} s, {dict(counts)}")
    score.count("client_5xx", counts["5xx"], of=count)
    assert not failed, f"{len(failed)} of {count}\n" + "\n".join(failed[:5])
    assert min(counts["good"], counts["bad"]) > count // 10, counts
