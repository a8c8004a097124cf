"""What JSON parsers fall for: the public corpus, and the same classes made by hand, in every mount, cold, warm and cached."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.robustness.score import Score
from tests.unit.dataplane.echo import EchoWorld, binary, column, header, parts
from tests.unit.dataplane.json_corpus import FILES, NOT_UTF8, corpus, is_there, no_json
from tests.unit.dataplane.mounts import MOUNTS, Mount, exchange
from tests.unit.dataplane.test_mutated_requests import mirror, plain
from tests.unit.dataplane.world import World, infer_body
from trivet.dataplane.cache.key import keyed_hash
from trivet.dataplane.cache.prediction_cache import PredictionCache
from trivet.dataplane.frontends.rest import Response
from trivet.dataplane.plane import Limits

PATHS = ("/v2/models/churn/infer", "/v2/models/churn/predict", "/v1/models/churn:predict", "/v2/repository/index")
AROUND = (
    b"%s",
    b'{"inputs":[{"name":"age","shape":[1,1],"datatype":"FP64","data":%s}]}',
    b'{"inputs":[{"name":"city","shape":%s,"datatype":"BYTES","data":["a"]}]}',
    b'{"inputs":[],"parameters":{"note":%s}}',
    b'{"rows":[{"age":%s}]}',
)


def by(mount: Mount, world: World, body: bytes, path: str = PATHS[0], **headers: str) -> Response:
    sent = {
        b"host": b"localhost",
        b"content-length": b"%d" % len(body),
        b"authorization": b"Bearer " + world.key.encode(),
    }
    sent |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return mount(world.plane, "POST", path, sent, body)


def alike(world: World, body: bytes, path: str = PATHS[0], **headers: str) -> tuple[int, Any]:
    """Return what all mounts say alike: the status and the body, without the ids that differ."""
    answers = [(name, plain(by(mount, world, body, path, **headers))) for name, mount in MOUNTS.items()]
    assert all(told == answers[0][1] for _, told in answers), answers
    return answers[0][1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return mirror(tmp_path_factory.mktemp("json"), limits=Limits())


def test_H01_to_H12_the_public_corpus_is_read_or_refused_alike_by_every_mount(world: World, score: Score):
    if not is_there():
        pytest.skip("the JSON corpus is not here: `make corpus` fetches it, with npm")
    cases = corpus()
    assert len(cases) == FILES
    asked, failed = 0, []
    for name, text in cases.items():
        for path in PATHS[:3]:
            for around in AROUND if path == PATHS[0] else AROUND[:1] + AROUND[-1:]:
                body = around.replace(b"%s", text)
                status, told = plain(world.send(path=path, body=body))
                asked += 1
                code = header(world.send(path=path, body=body), "trivet-error")
                is_wrong = (name[0] == "n" and around == b"%s" and status != 400) or (
                    name[0] == "y" and code == "NOT_JSON"
                )
                if status not in (200, 400) or is_wrong:
                    failed.append((name, path, around, status, told))
        status, told = alike(world, text)
        asked += len(MOUNTS)
        if status != 400:
            failed.append((name, "every mount", "", status, told))
    score.count("client_5xx", sum(status >= 500 for *_, status, _ in failed), of=asked)
    assert not failed, failed[:5]


def test_H01_to_H12_what_is_no_json_is_a_400_on_every_path_of_every_mount(world: World):
    bodies = no_json()
    for name, body in bodies.items():
        for path in PATHS[:3]:
            response = world.send(path=path, body=body)
            assert response.status == 400, (name, path, response)
        assert alike(world, body)[0] == 400, name
        if body:
            assert alike(world, body, PATHS[3])[0] == 400, name


@pytest.mark.parametrize("name", sorted(NOT_UTF8))
def test_H05_a_text_that_is_not_utf_8_is_a_400_as_json_and_as_bytes(world: World, tmp_path: Path, name: str):
    head = json.dumps(infer_body(city=["@"])).encode()
    status, told = alike(world, head.replace(b"@", NOT_UTF8[name]))
    assert (status, set(told)) == (400, {"error"})
    echo = EchoWorld(tmp_path, column("x", "BYTES"))
    sent = {
        "name": "x",
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"binary_data_size": 4 + len(NOT_UTF8[name])},
    }
    response = echo.mixed({"inputs": [sent]}, len(NOT_UTF8[name]).to_bytes(4, "little"), NOT_UTF8[name])
    assert (response.status, header(response, "trivet-error")) == (400, "BAD_ELEMENT")


@pytest.mark.parametrize(
    ("number", "value"),
    [
        *(
            ("0", 0.0),
            ("-0", -0.0),
            ("-0.0", -0.0),
            ("1e0", 1.0),
            ("1E+2", 100.0),
            ("1e-2", 0.01),
            ("0.1", 0.1),
            ("1e-400", 0.0),
        ),
        *(("0e+1", 0.0), ("5e-324", 5e-324), ("2.2250738585072011e-308", 2.2250738585072011e-308)),
        *(
            ("9007199254740993", 9007199254740992.0),
            ("1" + "0" * 30, 1e30),
            ("1." + "0" * 5000, 1.0),
            ("0." + "3" * 5000, 1 / 3),
        ),
        *(("1e400", None), ("-1e400", None), ("1" + "0" * 400, None), ("7" * 5000, None), ("1e" + "9" * 50, None)),
    ],
)
def test_H06_a_number_is_its_nearest_double_or_refused(world: World, number: str, value: float | None):
    body = json.dumps(infer_body(age=["@"])).replace('"@"', number).encode()
    status, told = alike(world, body)
    assert status == (400 if value is None else 200), told
    if value is not None:
        assert repr(told["outputs"][0]["data"]) == repr([value]) or told["outputs"][0]["data"] == [value] == [0.0]


DUPLICATED = [
    b'"inputs":[]',
    b'"id":"b"',
    b'"\\u0069d":"b"',
    b'"parameters":{"a":1,"a":2}',
    b'"parameters":{"a":1,"\\u0061":1}',
    b'"parameters":{"":1,"":1}',
]


@pytest.mark.parametrize("more", DUPLICATED)
def test_H07_a_key_twice_is_a_400_on_every_mount(world: World, more: bytes):
    body = json.dumps({"id": "a", **infer_body()}).encode()
    assert alike(world, body)[0] == 200
    status, told = alike(world, body[:-1] + b"," + more + b"}")
    assert (status, "twice" in told["error"]) == (400, True)


@pytest.mark.parametrize("depth", [31, 32, 33, 1_000, 100_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_H08_depth_is_refused_wherever_it_is_whoever_reads(world: World, depth: int, brackets: tuple[bytes, bytes]):
    deep = brackets[0] * depth + b"1" + brackets[1] * depth
    for around in AROUND:
        for cut in (len(deep), depth * len(brackets[0])):
            assert alike(world, around.replace(b"%s", deep[:cut]))[0] == 400


def test_H09_what_is_no_object_is_no_request(world: World):
    for body in (
        b"null",
        b"true",
        b"7",
        b'"inputs"',
        b"[]",
        b"[{}]",
        b"{}",
        b'[{"inputs":[]}]',
        b'{"inputs":{"0":{}}}',
        b'{"__proto__":{}}',
    ):
        for path in PATHS[:3]:
            assert alike(world, body, path)[0] == 400


@pytest.mark.parametrize("around", [b"%s\n", b" \t\r\n%s", b"%s \r\n\t "])
def test_H10_white_space_of_json_changes_nothing_and_other_is_refused(world: World, around: bytes):
    body = json.dumps(infer_body()).encode()
    assert alike(world, around.replace(b"%s", body)) == alike(world, body)
    for other in (b"\x0b", b"\x0c", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\x00", b"\x85"):
        assert alike(world, around.replace(b"%s", body + other))[0] == 400
        assert alike(world, around.replace(b"%s", other + body))[0] == 400


# --- the same body, whatever the way -----------------------------------------------------------------------------------


TWO_ROWS = infer_body(age=[50.0, 20.5], city=["Lyon", "Oslo"], seats=[3, 4])["inputs"]
NARROWER = {"FP64": "FP32", "INT64": "UINT8", "BYTES": "BYTES"}
FORMS: dict[str, dict[str, Any]] = {
    "flat": {"inputs": TWO_ROWS},
    "nested": {"inputs": [t | {"data": [[value] for value in t["data"]]} for t in TWO_ROWS]},
    "permuted": {"inputs": TWO_ROWS[::-1]},
    "of one dimension": {"inputs": [t | {"shape": [2]} for t in TWO_ROWS]},
    "narrower": {"inputs": [t | {"datatype": NARROWER[t["datatype"]]} for t in TWO_ROWS]},
    "with all that is optional": {
        "inputs": [t | {"parameters": None} for t in TWO_ROWS],
        "outputs": [],
        "parameters": None,
        "id": None,
        "model_name": "churn",
    },
}


def written(body: dict[str, Any]) -> list[bytes]:
    """Return the ways to write one body."""
    escaped = json.dumps(body).replace("Lyon", "\\u004cyon").replace("inputs", "inp\\u0075ts")
    return [
        json.dumps(body).encode(),
        json.dumps(body, indent=3).encode(),
        json.dumps(body, separators=(",", ":")).encode(),
        escaped.encode(),
    ]


def test_H13_to_H19_one_question_has_one_answer_and_one_cache_key_however_and_wherever_it_is_asked(tmp_path: Path):
    world = World(tmp_path, cache=PredictionCache(1 << 20, keyed_hash(b"of a test"), is_forced=True))
    plain_world = World(tmp_path / "without")
    asked = {
        name: [plain(by(mount, plain_world, text)) for mount in MOUNTS.values() for text in written(body)]
        for name, body in FORMS.items()
    }
    first = asked["flat"][0]
    assert first[0] == 200
    assert all(told == first for answers in asked.values() for told in answers)
    runs = world.engine.loaded[0].runs
    remembered = []
    for body in FORMS.values():
        for mount in MOUNTS.values():
            for text in written(body):
                status, told = plain(by(mount, world, text))
                remembered.append(told["parameters"].pop("cached"))
                assert (status, told["outputs"]) == (200, first[1]["outputs"])
    assert world.engine.loaded[0].runs - runs == remembered.count(False)
    assert remembered.count(True) > len(remembered) // 2


def test_H13_to_H19_a_refusal_is_the_same_cold_warm_and_between_good_requests(tmp_path: Path):
    for place, (name, body) in enumerate(list(no_json().items())[::9]):
        told = []
        for number in range(2):
            world = mirror(tmp_path / f"{place}-{number}")
            if number:
                assert world.ask()[0] == 200
            told += [plain(by(mount, world, body)) for mount in MOUNTS.values()]
            assert world.ask()[0] == 200, "a good one after it"
        assert all(one == told[0] for one in told), name


def test_H13_to_H19_bytes_and_json_are_one_question_on_every_mount(world: World):
    (age, ages), (city, cities), (seats, seat_bytes) = (
        binary("age", "FP64", [[50.0], [0.1]]),
        binary("city", "BYTES", np.array([["Lyon"], ["Oslo"]], dtype=object)),
        binary("seats", "INT64", [[3], [4]]),
    )
    head = json.dumps({"inputs": [seats, age, city]}).encode()
    body = head + seat_bytes + ages + cities
    as_json = alike(world, json.dumps(infer_body(age=[50.0, 0.1], city=["Lyon", "Oslo"], seats=[3, 4])).encode())
    assert alike(world, body, inference_header_content_length=str(len(head))) == as_json
    assert parts(world.send(body=body, headers={"inference-header-content-length": str(len(head))}))[0]["outputs"]


READ_LIKE_A_PLACE = (
    " - at `",
    "` - at `$.inputs",
    "unknown field `",
    "Object missing required field `",
    "`\n - at `$[",
)


@pytest.mark.parametrize("end", ["", "\n", "`"])
@pytest.mark.parametrize("name", READ_LIKE_A_PLACE)
def test_D42_a_field_that_reads_like_the_decoders_own_words_is_quoted_short_and_as_soon_as_another(
    world: World, name: str, end: str
):
    hostile = name * 8_000 + end
    body = json.dumps({"inputs": [], hostile: 1}).encode()
    answer = by(exchange, world, body)
    assert (answer.status, dict(answer.headers)[b"trivet-error"]) == (400, b"UNKNOWN_FIELD")
    assert len(answer.body) < 500
    harmless = json.dumps({"inputs": [], "x" * len(hostile): 1}).encode()

    def is_as_soon() -> bool:
        plain = min(seconds(lambda: by(exchange, world, harmless)) for _ in range(5))
        return seconds(lambda: by(exchange, world, body)) < 50 * plain

    assert is_as_soon() or is_as_soon() or is_as_soon()


def seconds(run: Callable[[], object]) -> float:
    """Return the processor's time that a run takes in this thread."""
    began = time.thread_time()
    run()
    return time.thread_time() - began
