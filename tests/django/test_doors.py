"""One answer, whatever the door: ASGI, WSGI, Django URLs and in-process give the same numbers and the same log rows."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

import trivet
from tests.django.worlds import live_model
from trivet.control.predictions.models import Prediction
from trivet.control.registry import actions
from trivet.control.registry.models import Worker
from trivet.core.errors import InvalidRequest, NotFound
from trivet.serving import asgi, process, wsgi
from trivet.serving.keeper import Keeper, spool_root

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("trivet.serving.urls")]

ROW = {"age": 41.0, "city": "Oslo"}
BODY = json.dumps({"rows": [ROW], "outputs": ["probabilities"]}).encode()
PATH = "/v2/models/churn/predict"


@pytest.fixture
def key(settings) -> Iterator[str]:
    """A live model and a key; this process predicts without following the registry from a thread."""
    settings.TRIVET_KEEPER = "external"
    live_model("churn")
    _, plaintext = actions.issue_key(name="doors", grants={"churn": ["predict"]}, actor="user:ana")
    here = process.Process(process.WorkerKind.PROCESS)
    here.step()
    process._process = here
    yield plaintext
    process._process = None
    here.stop()


def by_asgi(path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any], dict[str, str]]:
    application = asgi.in_front_of(lambda *_: [b"the site"])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "http_version": "1.1",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(application(scope, receive, send))
    start, content = sent
    return start["status"], json.loads(content["body"]), {k.decode(): v.decode() for k, v in start["headers"]}


def by_wsgi(path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any], dict[str, str]]:
    application = wsgi.in_front_of(lambda *_: [b"the site"])
    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    } | {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    content = b"".join(application(environ, lambda *arguments: started.append(arguments)))
    ((status, answered),) = started
    return int(status.split()[0]), json.loads(content), {name.lower(): value for name, value in answered}


def by_urls(path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any], dict[str, str]]:
    response = Client(enforce_csrf_checks=True).post(path, body, content_type="application/json", headers=headers)
    return response.status_code, response.json(), {name.lower(): value for name, value in response.headers.items()}


Door = Callable[[str, bytes, dict[str, str]], tuple[int, dict[str, Any], dict[str, str]]]
HTTP_DOORS: tuple[Door, ...] = (by_asgi, by_wsgi, by_urls)


def headers_of(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Host": "testserver"}


def test_four_doors_give_the_same_answer_and_the_same_log_rows(key: str):
    answers = [door(PATH, BODY, headers_of(key)) for door in HTTP_DOORS]
    inside = trivet.predict("churn", ROW)
    for status, answer, headers in answers:
        assert status == 200, answer
        (row,) = answer["rows"]
        assert row["value"] == inside.value
        assert row["decision"] == inside.decision
        assert answer["model_version"] == str(inside.version)
        assert headers["trivet-prediction-id"] == answer["parameters"]["prediction_id"]
        assert headers["content-type"] == "application/json"
        assert headers["x-content-type-options"] == "nosniff"

    assert Keeper(spool_root()).step() == 4
    logged = Prediction.objects.order_by("prediction_id")
    assert len(logged) == 4
    assert (
        len({json.dumps([row.inputs, row.output, row.version, row.digest, row.route, row.row]) for row in logged}) == 1
    )
    assert {str(row.prediction_id) for row in logged} == {
        *(answer["parameters"]["prediction_id"] for _, answer, _ in answers),
        inside.id.partition(":")[0],
    }
    assert [row.door for row in logged].count("rows") == 3
    assert {row.caller.partition(":")[0] for row in logged} == {"key", "process"}


@pytest.mark.parametrize(
    ("path", "body", "changes", "status"),
    [
        (PATH, b"{", {}, 400),
        (PATH, BODY, {"Authorization": "Bearer nothing"}, 401),
        ("/v2/models/chorn/predict", BODY, {}, 404),
        ("/v2/models/churn/versions/9/predict", BODY, {}, 404),
        ("/v2/models/churn/feedback", BODY, {}, 403),
        ("/v2/models/churn/versions/1/feedback", BODY, {}, 404),
        (PATH, BODY, {"Content-Encoding": "br"}, 415),
        ("/v2/models/churn", BODY, {}, 405),
        ("/v1/models", BODY, {}, 405),
        ("/v1/models/", BODY, {}, 404),
        ("/v1/models/churn/x", BODY, {}, 404),
    ],
)
def test_every_http_door_refuses_alike(key: str, path: str, body: bytes, changes: dict[str, str], status: int):
    refusals = [door(path, body, headers_of(key) | changes) for door in HTTP_DOORS]
    assert [refusal[0] for refusal in refusals] == [status] * 3
    assert all(refusal[1] == refusals[0][1] for refusal in refusals)
    assert len({refusal[2]["trivet-error"] for refusal in refusals}) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/churn:predict", {"instances": [ROW], "outputs": ["probabilities"]}),
        ("/v1/models/churn/versions/champion:predict", {"instances": [ROW]}),
        ("/v2/repository/index", {}),
        ("/v2/models/churn/versions/1/predict", {"rows": [ROW, {"age": "x"}]}),
    ],
)
def test_63_the_same_bytes_give_the_same_status_and_body_at_every_door(key: str, path: str, body: dict[str, Any]):
    answers = [door(path, json.dumps(body).encode(), headers_of(key))[:2] for door in HTTP_DOORS for _ in range(2)]
    assert answers[0][0] in (200, 400)
    assert answers == [answers[0]] * 6


def test_06_a_path_that_is_not_utf_8_is_400_at_every_door(key: str):
    raw = b"/v2/models/\xff"
    environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": raw.decode("latin-1")}
    started: list[Any] = []
    wsgi.in_front_of(lambda *_: [b"the site"])(environ, lambda *arguments: started.append(arguments))
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "raw_path": b"/v2/models/%ff", "query_string": b"", "headers": []}
    scope["path"] = raw.decode("utf-8", "replace")  # as uvicorn does
    asyncio.run(asgi.in_front_of(lambda *_: [b"the site"])(scope, None, send))  # type: ignore[arg-type]
    assert started[0][0] == "400 Bad Request"
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"trivet-error"]) == (400, b"BAD_PATH")


def test_02_a_probe_may_send_any_host_but_for_the_middleware_before_djangos_urls(key: str, settings):
    foreign = {"Host": "10.0.0.7"}
    assert Client(headers=foreign).get("/v2/health/live").status_code == 400
    settings.MIDDLEWARE = []
    ask = Client(headers=foreign).get
    assert ask("/v2/health/live").json() == {"live": True}
    assert ask("/v2/models", headers={"Authorization": f"Bearer {key}"}).headers["Trivet-Error"] == "BAD_HOST"


def test_what_is_no_prediction_path_goes_to_the_site_behind(key: str):
    started: list[Any] = []
    application = wsgi.in_front_of(lambda _environ, start: [start("200 OK", []) or b"the site"])
    content = application({"REQUEST_METHOD": "GET", "PATH_INFO": "/shop/"}, lambda *a: started.append(a))
    assert list(content) == [b"the site"]


def test_predict_in_process_takes_mappings_versions_and_users(key: str):
    prediction = trivet.predict("churn@1", {"age": float("nan"), "city": "Oslo"}, user="ada")
    assert prediction.features == {"age": None, "city": "Oslo"}
    assert (prediction.version, prediction.route) == (1, "pinned")
    assert len(trivet.predict_many("churn", [ROW, ROW])) == 2
    assert asyncio.run(trivet.apredict("churn", ROW)).value == trivet.predict("churn", ROW).value
    Keeper(spool_root()).step()
    assert Prediction.objects.filter(caller="user:ada").count() == 1
    assert Prediction.objects.count() == 5


def test_predict_in_process_raises_the_errors_of_the_tree(key: str):
    with pytest.raises(InvalidRequest, match="Did you mean 'city'"):
        trivet.predict("churn", {"age": 1, "cty": "Oslo"})
    with pytest.raises(InvalidRequest, match="infinite"):
        trivet.predict("churn", {"age": float("inf"), "city": "Oslo"})
    with pytest.raises(NotFound):
        trivet.predict("chorn", ROW)
    with pytest.raises(NotFound):
        trivet.predict("churn@7", ROW)


def test_predict_refuses_to_block_an_event_loop(key: str):
    async def view() -> None:
        trivet.predict("churn", ROW)

    with pytest.raises(RuntimeError, match="apredict"):
        asyncio.run(view())


def test_a_prediction_compares_as_its_number_and_has_no_truth_value(key: str):
    prediction = trivet.predict("churn", ROW)
    with pytest.raises(TypeError, match="decision"):
        bool(prediction)
    with pytest.raises(TypeError, match="per class"):
        float(prediction)
    assert json.loads(json.dumps(prediction.as_dict()))["decision"] == prediction.decision


def test_a_process_that_answers_holds_a_lease_and_acknowledges_what_it_follows(key: str):
    here = process._process
    assert here is not None
    worker = Worker.objects.get(pk=here.worker_id)
    assert worker.generation == here.plane.table.snapshot.generation
    actions.issue_key(name="another", grants={"churn": ["view"]}, actor="user:ana")
    here.step()
    worker.refresh_from_db()
    assert worker.generation == here.plane.table.snapshot.generation
    here.stop()
    assert not Worker.objects.filter(pk=here.worker_id).exists()


def test_a_site_that_streams_and_one_that_fails_are_passed_on():
    from trivet.serving.site import Site

    def streaming(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        yield from (b"one ", b"two ", b"three")

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/é",
        "query_string": b"q=\xe9",
        "http_version": "1.1",
        "headers": [],
    }
    asyncio.run(Site(streaming, 1, 1000)(scope, receive, send))
    assert b"".join(message.get("body", b"") for message in sent) == b"one two three"
    assert [message["type"] for message in sent].count("http.response.start") == 1
