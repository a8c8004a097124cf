"""What a caller of the prediction paths sees: statuses, headers and texts, without a server."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.dataplane.world import GOOD_ROW, ByHand, ByHandEngine, World, infer_body
from trivet.core.errors import BundleError, Unavailable
from trivet.core.keys import mint_key
from trivet.dataplane.frontends.headers import read_headers
from trivet.dataplane.frontends.rest import Exchange
from trivet.dataplane.plane import Limits, Plane
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.spool import Spool
from trivet.model.bundle.bundle import Bundle

pytestmark = pytest.mark.usefixtures("on_every_mount")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_38_a_good_request_is_answered_and_recorded_before_it_is_answered(world: World):
    status, answer, headers = world.ask(body=infer_body() | {"id": "mine"})
    assert status == 200
    assert answer["outputs"][1]["data"] == [0.5, 0.5]
    assert answer["model_version"] == "1"
    assert answer["id"] == "mine"
    assert answer["parameters"]["route"] == "only"
    (record,) = world.records()
    assert record.id == answer["parameters"]["prediction_id"] == headers["trivet-prediction-id"]
    assert uuid.UUID(record.id).version == 7
    assert record.caller == f"key:{world.key_id}"
    assert record.inputs == [[50.0], ["Lyon"], [3]]
    assert (record.digest, record.version, record.caller_id) == (world.first, 1, "mine")


def test_rows_give_the_same_numbers_as_tensors(world: World):
    _, tensors, _ = world.ask(body=infer_body())
    status, rows, _ = world.ask(
        path="/v2/models/churn/predict", body={"rows": [GOOD_ROW], "outputs": ["probabilities"]}
    )
    assert status == 200
    (row,) = rows["rows"]
    assert row["value"] == {"churned": 0.5, "stays": 0.5}
    assert row["decision"] == "stays"
    assert list(row["outputs"]["probabilities"].values()) == tensors["outputs"][1]["data"]
    assert row["id"] == rows["parameters"]["prediction_id"] + ":0"


def test_the_order_of_inputs_and_outputs_does_not_matter(world: World):
    body = infer_body()
    body["inputs"].reverse()
    body["outputs"] = [{"name": "probabilities"}, {"name": "label"}]
    status, answer, _ = world.ask(body=body)
    assert status == 200
    assert [output["name"] for output in answer["outputs"]] == ["probabilities", "label"]


def test_a_column_may_be_flat_or_nested(world: World):
    nested = infer_body(age=[[50.0], [0.0]], city=[["Lyon"], ["Oslo"]], seats=[[1], [2]])
    flat = infer_body(age=[50.0, 0.0], city=["Lyon", "Oslo"], seats=[1, 2])
    for tensor in flat["inputs"]:
        tensor["shape"] = [2]
    assert world.ask(body=nested)[1]["outputs"] == world.ask(body=flat)[1]["outputs"]


def test_M01_values_outside_what_was_seen_are_answered_and_flagged(world: World):
    status, answer, _ = world.ask(
        path="/v2/models/churn/predict",
        body={"rows": [GOOD_ROW, {"age": 130, "city": "Paris", "seats": 3}, {"age": None, "city": "Oslo", "seats": 3}]},
    )
    assert status == 200
    assert answer["parameters"]["flagged_rows"] == 1
    assert answer["rows"][1]["flags"] == {"age": "above_high", "city": "unknown_category"}
    assert "flags" not in answer["rows"][2]


def test_zero_rows_are_answered_without_a_model_or_a_record(world: World):
    status, answer, _ = world.ask(body=infer_body(age=[], city=[], seats=[]))
    assert status == 200
    assert [output["shape"] for output in answer["outputs"]] == [[0], [0, 2]]
    assert world.engine.loaded[0].runs == 0
    assert world.records() == []


def tensor(**changes: object) -> dict:
    body = infer_body()
    body["inputs"][0] |= changes
    return body


BAD_BODIES = {
    "not JSON": (b"{", "NOT_JSON", "not JSON"),
    "empty": (b"", "NOT_JSON", "the body is empty"),
    "a list": (b"[]", "WRONG_TYPE", "object"),
    "a NaN literal": (json.dumps(infer_body(age=[float("nan")])).encode(), "NOT_JSON", "a missing value is null"),
    "an infinity": (json.dumps(infer_body(age=[float("-inf")])).encode(), "NOT_JSON", "NaN and Infinity are not JSON"),
    "UTF-16": (json.dumps(infer_body()).encode("utf-16"), "NOT_JSON", ""),
    "trailing bytes": (json.dumps(infer_body()).encode() + b"{}", "NOT_JSON", "trailing"),
    "brackets without end": (b'{"inputs":[{"data":' + b"[" * 40_000, "BAD_NESTING", "nested"),
    "an unknown field": (
        infer_body() | {"paramaters": {}},
        "UNKNOWN_FIELD",
        "Did you mean 'parameters'? Expected: inputs,",
    ),
    "rows among tensors": (
        {"rows": []},
        "UNKNOWN_FIELD",
        "'rows' belongs to /v2/models/NAME/predict. A tensor goes into",
    ),
    "no inputs field": ({"id": "x"}, "MISSING_FIELD", "'inputs' is missing. A tensor goes into"),
    "a key twice": (b'{"inputs":[],"inputs":[]}', "DUPLICATE_KEY", "inputs"),
    "a key twice, escaped": (b'{"parameters":{"a":1,"\\u0061":2},"inputs":[]}', "DUPLICATE_KEY", "'a'"),
    "a bad id": (infer_body() | {"id": "with space"}, "BAD_ID", "with space"),
    "another model's name": (infer_body() | {"model_name": "late"}, "NAME_MISMATCH", "late"),
    "an input too few": (infer_body(city=None), "MISSING_INPUT", "city"),
    "an unknown input": (infer_body(aeg=[1.0]), "UNKNOWN_INPUT", "Did you mean 'age'?"),
    "an input twice": ({"inputs": infer_body()["inputs"] * 2}, "DUPLICATE_INPUT", "age"),
    "an unknown output": (infer_body() | {"outputs": [{"name": "lable"}]}, "UNKNOWN_OUTPUT", "Did you mean 'label'?"),
    "an output twice": (infer_body() | {"outputs": [{"name": "label"}] * 2}, "DUPLICATE_OUTPUT", ""),
    "a text as number": (infer_body(age=["far"]), "BAD_ELEMENT", "the text 'far' is not a number (FP64, years)."),
    "a number in quotes": (
        infer_body(age=["41"]),
        "BAD_ELEMENT",
        "the text '41' is not a number (FP64, years); leave the quotes out.",
    ),
    "a truth as number": (infer_body(age=[True]), "BAD_ELEMENT", "row 0: true is not a number (FP64, years)."),
    "a number as text": (infer_body(city=[5]), "BAD_ELEMENT", "the number 5 is not a text (BYTES); put it in quotes."),
    "a decimal as integer": (
        infer_body(seats=[1.0]),
        "BAD_ELEMENT",
        "1.0 is written as a decimal, and is taken as a whole number only (INT64): write 1.",
    ),
    "a fraction as integer": (infer_body(seats=[1.5]), "BAD_ELEMENT", "1.5 is not a whole number (INT64)."),
    "an integer beyond 64 bits": (infer_body(seats=[2**63]), "OUT_OF_RANGE", "seats"),
    "a float beyond double": (json.dumps(infer_body()).replace("50.0", "1e400").encode(), "OUT_OF_RANGE", ""),
    "a null where none is allowed": (infer_body(city=[None]), "NULL_NOT_ALLOWED", "city"),
    "a missing text's mark": (infer_body(city=["\ue000"]), "BAD_ELEMENT", "U+E000"),
    "a wrong rank": (tensor(shape=[1, 1, 1]), "BAD_SHAPE", "age"),
    "a negative dimension": (tensor(shape=[-1, 1]), "BAD_SHAPE", ""),
    "a dimension of two words": (tensor(shape=[2**63, 1]), "ROWS_DIFFER", ""),
    "too few elements": (tensor(data=[]), "COUNT_MISMATCH", "0 values"),
    "too many elements": (tensor(data=[1.0, 2.0]), "COUNT_MISMATCH", "2 values"),
    "rows that differ": (infer_body(age=[1.0, 2.0]), "ROWS_DIFFER", "rows"),
    "uneven nesting": (infer_body(age=[[1.0, 2.0]]), "BAD_NESTING", "nested"),
    "a wrong datatype": (tensor(datatype="BYTES", data=["x"]), "BAD_DATATYPE", "FP64"),
    "an unknown datatype": (tensor(datatype="FLOAT"), "BAD_DATATYPE", "FLOAT"),
    "a nested parameter": (infer_body() | {"parameters": {"a": [1]}}, "BAD_PARAMETER", ""),
    "a sequence": (infer_body() | {"parameters": {"sequence_id": 7}}, "BAD_PARAMETER", "sequence_id"),
    "no data": ({"inputs": [{"name": "age", "shape": [1, 1], "datatype": "FP64"}]}, "MISSING_FIELD", "data"),
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_bad_body_is_a_400_that_names_what_is_wrong(world: World, case: str):
    body, code, words = BAD_BODIES[case]
    status, answer, headers = world.ask(body=body)
    assert (status, headers["trivet-error"]) == (400, code), answer
    assert list(answer) == ["error"]
    assert words in answer["error"]
    assert world.records() == []
    assert world.engine.loaded[0].runs == 0


BAD_ROWS = {
    "unknown": ({**GOOD_ROW, "aeg": 1}, "aeg", "UNKNOWN_INPUT", "Did you mean 'age'?"),
    "missing": ({"age": 1.0, "city": "Lyon"}, "seats", "MISSING_INPUT", "missing"),
    "wrong type": ({**GOOD_ROW, "age": "far"}, "age", "BAD_ELEMENT", "row 1: the text 'far' is not a number"),
    "null": ({**GOOD_ROW, "seats": None}, "seats", "NULL_NOT_ALLOWED", "seats"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_with_its_field(world: World, case: str):
    row, field, code, words = BAD_ROWS[case]
    status, answer, headers = world.ask(path="/v2/models/churn/predict", body={"rows": [GOOD_ROW, row]})
    assert (status, headers["trivet-error"]) == (400, "INVALID_ROWS")
    (problem,) = answer["errors"]
    assert (problem["row"], problem["field"], problem["code"]) == (1, field, code)
    assert words in problem["error"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "application/x-python-pickle"}, 415, "CONTENT_TYPE"),
        ({"content-type": "application/json; charset=utf-16"}, 415, "CONTENT_TYPE"),
        ({"content-encoding": "br"}, 415, "CONTENT_ENCODING"),
        ({"content-length": "100001"}, 413, "BODY_TOO_LARGE"),
        ({"x-api-key": "another"}, 401, "KEY_REQUIRED"),
        ({"authorization": "Basic YTpi"}, 401, "KEY_REQUIRED"),
        ({"content-type": "application/json; charset=UTF-8"}, 200, None),
        ({"content-type": "application/x-www-form-urlencoded"}, 200, None),
    ],
)
def test_headers_are_judged_before_the_body(world: World, headers: dict[str, str], status: int, code: str | None):
    got, _, answered = world.ask(headers=headers)
    assert (got, answered.get("trivet-error")) == (status, code)


def test_H20_a_body_over_the_bound_is_refused_even_when_its_length_was_not_told(world: World):
    told = {b"host": b"localhost", b"authorization": f"Bearer {world.key}".encode()}
    exchange = Exchange(world.plane, "POST", "/v2/models/churn/infer", told)
    assert exchange.begin() is None
    response = exchange.receive(b"x" * 100_001)
    assert response is not None
    assert response.status == 413
    assert b"TRIVET_MAX_BODY_MB" in response.body


def test_42_without_a_valid_key_nobody_learns_which_models_exist(world: World):
    refused = [
        world.ask(key=None)[:2],
        world.ask(key=None, path="/v2/models/nothing/infer")[:2],
    ]
    assert refused[0] == refused[1]
    assert refused[0][0] == 401
    for key in ("", "trivet_x", mint_key()[1], world.key[:-1] + ("a" if world.key[-1] != "a" else "b")):
        status, answer, headers = world.ask(key=key or "no")
        assert (status, headers["www-authenticate"]) == (401, "Bearer"), answer


def test_42_a_key_in_the_query_or_a_cookie_is_no_key(world: World):
    for path, headers in (("?key={0}&api_key={0}", {}), ("", {"cookie": "x-api-key={0}; authorization=Bearer {0}"})):
        sent = {name: value.format(world.key) for name, value in headers.items()}
        status, _, answered = world.ask(path="/v2/models/churn/infer" + path.format(world.key), key=None, headers=sent)
        assert (status, answered["trivet-error"]) == (401, "KEY_REQUIRED")


def test_42_a_key_that_has_expired_or_was_revoked_is_refused_in_the_same_words(world: World):
    snapshot = world.snapshot({1: 100})
    (key,) = snapshot.keys.values()
    world.plane.follow(replace(snapshot, keys={key.id: replace(key, expires_at=time.time() - 1)}))
    expired = world.ask()[:2]
    world.plane.follow(replace(snapshot, generation=snapshot.generation + 1, keys={}))
    assert expired == world.ask()[:2]
    assert expired[0] == 401


def test_42_a_model_without_a_grant_is_as_unknown_as_one_that_does_not_exist(world: World):
    world.route({1: 100}, verbs=set())
    status, ungranted, _ = world.ask()
    _, unknown, _ = world.ask(path="/v2/models/chorn/infer")
    assert status == 404
    assert ungranted["error"].replace("churn", "X") == unknown["error"].replace("chorn", "X")


def test_42_a_misspelt_model_is_told_which_was_meant_of_those_that_the_key_may_know_of(world: World):
    told = "no model 'chrun' here. Did you mean 'churn'?"
    for verbs, said in (({"predict"}, told), ({"view"}, told), (set(), "no model 'chrun' here.")):
        world.route({1: 100}, verbs=verbs)
        status, answer, _ = world.ask(path="/v2/models/chrun/infer")
        assert (status, answer["error"]) == (404, said)


def test_a_number_that_no_float_holds_is_told_with_its_field(world: World):
    body = b'{"rows": [{"age": 1, "city": "Lyon"}, {"city": "1e999", "age": -1e400}]}'
    status, answer, _ = world.ask(path="/v2/models/churn/predict", body=body)
    assert status == 400
    assert answer["error"] == "a number is out of range at rows[1][...], field 'age'."


@pytest.mark.parametrize(
    "body",
    [
        b'{"rows":[{"a":1e400}], garbage',
        b'{"rows":[{"a":1e400}',
        b'{"rows":[{"a":1e400,"b":\xff}]}',
        b'{"rows":[{"a":1e400}],"rows":[]}',
        b'{"rows":[{"a":1e400}],"rows":7}',
        b'{"rows":[{"a":1e400,"a":2}]}',
    ],
)
def test_what_follows_a_number_that_no_float_holds_may_be_anything(world: World, body: bytes):
    status, answer, headers = world.ask(path="/v2/models/churn/predict", body=body)
    assert (status, headers["trivet-error"]) == (400, "OUT_OF_RANGE"), answer


def test_42_another_verb_than_the_granted_one_is_forbidden(world: World):
    world.route({1: 100}, verbs={"view"})
    assert world.ask()[0] == 403
    assert world.ask("GET", "/v2/models/churn")[0] == 200


@pytest.mark.parametrize("version", ["01", "+1", "-1", "1.0", "latest", "99999999999", "7", "Champion", "%2531"])
def test_what_names_no_version_is_not_found(world: World, version: str):
    assert world.ask(path=f"/v2/models/churn/versions/{version}/infer")[0] == 404


def test_a_version_or_an_alias_may_stand_in_the_path(world: World):
    status, answer, _ = world.ask(path="/v2/models/churn/versions/2/infer")
    assert (status, answer["model_version"], answer["parameters"]["route"]) == (200, "2", "pinned")
    _, answer, _ = world.ask(path="/v2/models/churn/versions/champion/infer")
    assert (answer["model_version"], answer["parameters"]["route"]) == ("1", "alias")


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/models/", "/v2/models/churn/", "/v2//models", "/v2/models/CHURN/infer", "/v2/x"]
)
def test_an_unknown_path_is_404_and_never_a_redirect(world: World, path: str):
    status, answer, _ = world.ask("GET", path)
    assert (status, list(answer)) == (404, ["error"])


def test_a_wrong_method_says_which_are_offered(world: World):
    status, _, headers = world.ask("GET")
    assert (status, headers["allow"]) == (405, "POST")
    status, _, headers = world.ask("POST", "/v2/health/live")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_a_foreign_host_is_refused_except_by_the_probes(tmp_path: Path):
    world = World(tmp_path, allowed_hosts=("models.example.com", ".internal"))
    assert world.ask(headers={"host": "models.example.com:8000"})[0] == 200
    assert world.ask(headers={"host": "a.internal"})[0] == 200
    for host in ("evil.example", "models.example.com.evil"):
        assert world.ask(headers={"host": host})[0] == 400
    assert world.ask("GET", "/v2/health/ready", headers={"host": "10.0.0.7"})[0] == 200


def test_a_host_that_names_none_is_refused(tmp_path: Path):
    world = World(tmp_path, allowed_hosts=("models.example.com",))
    for host in (b"", b"models.example.com/"):
        headers = {b"host": host, b"authorization": f"Bearer {world.key}".encode()}
        response = Exchange(world.plane, "POST", "/v2/models/churn/infer", headers).begin()
        assert response is not None
        assert (response.status, dict(response.headers)[b"trivet-error"]) == (400, b"BAD_HOST")


def test_health_and_metadata_tell_the_truth(world: World):
    assert world.ask("GET", "/v2/health/live", key=None)[:2] == (200, {"live": True})
    assert world.ask("GET", "/v2/health/ready", key=None)[:2] == (200, {"live": True, "ready": True})
    assert world.ask("GET", "/v2/models/churn/ready")[:2] == (200, {"name": "churn", "ready": True})
    _, metadata, _ = world.ask("GET", "/v2/models/churn")
    assert metadata["versions"] == ["1", "2"]
    assert metadata["platform"] == "onnx_onnxv1"
    assert metadata["properties"]["digest"] == world.first
    assert metadata["inputs"][0] == {
        "name": "age",
        "datatype": "FP64",
        "shape": [-1, 1],
        "parameters": {"nullable": True},
    }
    assert world.ask("GET", "/v2/models")[1] == {"models": ["churn"]}
    assert world.ask("HEAD", "/v2/models/churn")[:2] == (200, {})


def test_03_a_draining_worker_is_alive_but_not_ready(world: World):
    world.plane.is_draining = True
    assert world.ask("GET", "/v2/health/live")[0] == 200
    assert world.ask("GET", "/v2/health/ready")[:2][1]["ready"] is False
    assert world.ask()[0] == 200  # a client that did not know yet


def readiness(world: World) -> tuple[int, int]:
    """Return the status of the server's readiness, and of the model's."""
    return world.ask("GET", "/v2/health/ready", key=None)[0], world.ask("GET", "/v2/models/churn/ready")[0]


class Unloadable(ByHandEngine):
    def load(self, _: Bundle) -> ByHand:
        raise BundleError("it cannot be loaded.")


def test_03_a_worker_is_ready_once_it_has_a_snapshot_and_while_its_log_can_be_written(world: World):
    assert readiness(world) == (200, 200)
    world.plane.spool = Spool(world.spool_root, "full", limit_bytes=1)
    assert readiness(world) == (503, 503), "no model answers either"
    assert world.ask("GET", "/v1/models/churn")[0] == world.ask()[0] == 503
    empty = Plane(Reconciler([world.engine], lambda digest: world.bundles[digest], 1024, None), world.plane.spool, ())
    exchange = Exchange(empty, "GET", "/v2/health/ready", {b"host": b"localhost"})
    response = exchange.begin() or exchange.receive(b"") or exchange.run()
    assert (response.status, json.loads(response.body)["ready"]) == (503, False)


def test_03_one_model_that_would_not_answer_takes_no_worker_out_of_the_load_balancer(tmp_path: Path):
    assert readiness(World(tmp_path / "failed", engine=Unloadable())) == (200, 503)
    resting = World(tmp_path / "rests")
    assert readiness(resting) == (200, 200)

    def rest() -> None:
        raise Unavailable("its breaker is open.", code="MODEL_FAILED")

    resting.engine.loaded[0].ensure_ready = rest  # type: ignore[method-assign]
    assert readiness(resting) == (200, 503)
    assert World(tmp_path / "unknown").ask("GET", "/v2/models/chorn/ready")[0] == 404


def test_03_a_split_model_is_ready_when_every_version_that_has_traffic_is(tmp_path: Path):
    world = World(tmp_path)
    world.route({1: 99, 2: 1})

    def rest() -> None:
        raise Unavailable("no model worker answers for this version.", code="MODEL_FAILED")

    world.plane.table.models["churn"].live[2].loaded.ensure_ready = rest  # type: ignore[method-assign]
    for _ in range(20):
        assert readiness(world) == (200, 503), "not by the luck of a draw"
    assert world.ask("GET", "/v2/models/churn/versions/1/ready")[0] == 200
    world.route({1: 100, 2: 0})
    assert readiness(world) == (200, 200)


def test_what_does_not_answer_says_why_it_does_not_and_the_log_is_told_once(tmp_path: Path, caplog):
    world = World(tmp_path, engine=Unloadable())
    told = "churn: version 1 could not be loaded here; the server's log says why."
    for method, path in (("GET", "/v2/models/churn/ready"), ("GET", "/v2/models/churn/versions/1/ready")):
        assert world.ask(method, path)[1]["error"] == told
    assert world.ask()[1]["error"] == told
    failures = [record for record in caplog.records if "event=version_not_loaded" in record.message]
    for _ in range(3):
        world.plane.follow(world.plane.table.snapshot)
    assert [record for record in caplog.records if "event=version_not_loaded" in record.message] == failures != []


def test_a_worker_at_its_end_answers_no_more(world: World):
    world.plane.is_draining = world.plane.is_closed = True
    status, _, headers = world.ask()
    assert (status, headers["trivet-error"], headers["retry-after"]) == (503, "DRAINING", "1")


def test_a_model_that_fails_is_a_503_and_leaves_no_record(world: World):
    world.engine.loaded[0].broken = True
    status, _, headers = world.ask()
    assert (status, headers["trivet-error"]) == (503, "MODEL_FAILED")
    assert world.records() == []


def test_a_log_that_cannot_be_written_stops_predictions_before_the_model_runs(world: World):
    world.plane.spool = Spool(world.spool_root, "full", limit_bytes=1)
    status, _, headers = world.ask()
    assert (status, headers["trivet-error"]) == (503, "LOG_UNAVAILABLE")
    assert world.engine.loaded[0].runs == 0
    assert world.ask("GET", "/v2/health/ready")[0] == 503


def test_an_unforeseen_fault_is_a_500_that_says_nothing(world: World, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr("trivet.dataplane.infer.choose", lambda *_: 1 / 0)
    status, answer, _ = world.ask()
    assert status == 500
    assert answer == {"error": "internal error; the server's log has it."}
    assert "ZeroDivisionError" in caplog.text


def test_an_anonymous_model_answers_without_a_key(world: World):
    world.route({1: 100}, anonymous=True)
    assert world.ask(key=None)[0] == 200
    assert world.records()[0].caller == "anonymous"


def test_a_request_id_is_echoed_when_it_is_well_formed(world: World):
    assert world.ask(headers={"x-request-id": "abc-1"})[2]["x-request-id"] == "abc-1"
    assert world.ask(headers={"x-request-id": "a b"})[2]["x-request-id"] != "a b"
    assert world.records()[0].request_id == "abc-1"


def test_a_whole_number_of_any_size_is_a_float_where_a_float_is_wanted(world: World):
    status, answer, _ = world.ask(body=infer_body(age=[10**20]))
    assert (status, answer["parameters"]["flagged_rows"]) == (200, 1)
    assert world.records()[0].inputs == [[1e20], ["Lyon"], [3]]


@pytest.mark.parametrize("name", [b"authorization", b"host", b"content-length"])
def test_H21_a_header_that_must_stand_once_is_refused_when_it_stands_twice(world: World, name: bytes):
    pairs = [(b"host", b"localhost"), (b"authorization", f"Bearer {world.key}".encode()), (name, b"1")]
    pairs += [] if name in (b"authorization", b"host") else [(name, b"2")]
    response = Exchange(world.plane, "POST", "/v2/models/churn/infer", read_headers(pairs)).begin()
    assert response is not None
    assert response.status == 400
    assert (b"trivet-error", b"BAD_HEADER") in response.headers


@pytest.mark.parametrize("length", ["9" * 5000, "-5", "²", "1e3"])
def test_H21_a_length_that_is_none_is_a_400(world: World, length: str):
    pairs = read_headers([(b"host", b"localhost"), (b"content-length", length.encode())])
    response = Exchange(world.plane, "POST", "/v2/models/churn/infer", pairs).begin()
    assert response is not None
    assert response.status == 400


def test_a_row_of_unknown_fields_costs_a_bounded_answer(world: World):
    world.plane.limits = Limits()
    flood = {f"field{number}": 1 for number in range(4000)}
    status, answer, _ = world.ask(path="/v2/models/churn/predict", body={"rows": [GOOD_ROW | flood]})
    assert status == 400
    assert len(answer["errors"]) == 100
    assert sum("Expected" in problem["error"] for problem in answer["errors"]) == 5
    wide = {f"field{number}": 1 for number in range(5000)}
    assert world.ask(path="/v2/models/churn/predict", body={"rows": [wide]})[2]["trivet-error"] == "TOO_MANY"
    many = {"rows": [{}] * 100_000}
    assert world.ask(path="/v2/models/churn/predict", body=many)[2]["trivet-error"] == "TOO_MANY"
