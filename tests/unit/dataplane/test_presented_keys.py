"""Keys as callers present them: malformed in every place, and nothing to learn from how long a refusal takes."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path
from statistics import median

import pytest

from tests.robustness.score import Score
from tests.scale import scaled
from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.world import PEPPER, World, infer_body
from trivet.core.errors import Unauthenticated
from trivet.core.keys import CHECK_LENGTH, check_part, mint_key
from trivet.dataplane.authentication import authenticate

ASKED = scaled(test=1_000, ci=1_000, full=1_000)  # of each kind, interleaved: 2,000 in all
ATTEMPTS = 4
SHARE = 0.03  # of the time that a key takes: 40 ns more are measured where the branches of a processor are mispredicted
SIGMAS = 3.0


@pytest.mark.parametrize("mount", MOUNTS)
def test_D14_malformed_keys_are_401_in_every_place_and_never_a_500(mount: str, tmp_path: Path, score: Score):
    world = World(tmp_path)
    key = world.key.encode()
    keys = (
        *(b"x", b"trivet_", b"trivet__", b"trivet_" + b"a" * 7_000, key[:-1], key + b"x", key[:-1] + b"!", key[::-1]),
        *(key.upper(), key.replace(b"_", b"-"), b"\xff" * 60, b"trivet_\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9_" + key[16:]),
        *(key[:16] + "é".encode() * 24, b"%74rivet" + key[6:], b'"' + key + b'"', key + b"," + key, b"null", b"{}"),
    )
    headers: list[dict[bytes, bytes]] = []
    for bad in keys:
        headers += [{b"authorization": b"Bearer " + bad}, {b"x-api-key": bad}]
        headers.append({b"authorization": b"Bearer " + key, b"x-api-key": bad})
    for scheme in (b"", b"Basic ", b"Bearer", b"Bearer\t", b"Token ", b"Bearer:", b"Digest ", b"Bearer Bearer "):
        headers.append({b"authorization": scheme + key})
    headers += [{b"cookie": b"key=" + key}, {b"x-apikey": key}, {b"proxy-authorization": b"Bearer " + key}]
    paths = ("/v2/models/churn/infer", f"/v2/models/churn/infer?api_key={world.key}&key={world.key}")
    body = json.dumps(infer_body()).encode()
    found = {}
    for sent in headers:
        for path in paths:
            given = {b"host": b"localhost", b"content-length": str(len(body)).encode(), **sent}
            response = MOUNTS[mount](world.plane, "POST", path, given, body)
            assert list(json.loads(response.body)) == ["error"]
            assert b"trivet_" not in response.body
            if response.status != 401:
                found[str(sent)] = response.status
    score.count("client_5xx", sum(status >= 500 for status in found.values()), of=len(headers) * len(paths))
    assert found == {}


def test_D17_an_unknown_id_takes_as_long_as_a_wrong_secret(tmp_path: Path):
    world = World(tmp_path)
    table = world.plane.table

    def nanoseconds_of(key: str) -> int:
        began = time.perf_counter_ns()
        try:
            authenticate(table, (PEPPER,), key)
        except Unauthenticated:
            return time.perf_counter_ns() - began
        raise AssertionError("it was let in")

    def wrong() -> str:
        body = f"trivet_{world.key_id}_{mint_key()[1][16:-CHECK_LENGTH]}"
        return body + check_part(body)

    found = []
    gc.disable()
    try:
        for _ in range(ATTEMPTS):
            unknown, known = [], []
            for turn in range(ASKED):
                sent = [mint_key()[1].encode(), wrong().encode()]  # others each time: the text itself may cost a little
                is_last = bool(turn % 2)
                for place in (is_last, not is_last):  # and one that was made last is still at hand
                    sent[place] = sent[place].decode()
                if turn % 4 < 2:
                    unknown.append(nanoseconds_of(sent[0]))
                    known.append(nanoseconds_of(sent[1]))
                else:
                    known.append(nanoseconds_of(sent[1]))
                    unknown.append(nanoseconds_of(sent[0]))
            differences = [one - other for one, other in zip(unknown, known, strict=True)]
            found.append((sigmas(differences), median(differences) / median(known)))
            if abs(found[-1][0]) < SIGMAS or abs(found[-1][1]) < SHARE:
                return
    finally:
        gc.enable()
    assert not all(one > 0 for one, _ in found), found
    assert not all(one < 0 for one, _ in found), found


def sigmas(differences: list[int]) -> float:
    """Return by how many standard errors one sign outweighs the other: the sign test, which no outlier moves."""
    longer, shorter = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    return (longer - shorter) / ((longer + shorter) ** 0.5 or 1.0)
