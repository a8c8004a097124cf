"""What the front door does with awkward HTTP, over real sockets: bounds, slowness, pipelining, and a good request after."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, copy_project, serving
from tests.acceptance.wire import Wire, request


@pytest.fixture(scope="module")
def served(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Churn]]:
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("edges") / "project")
    with serving(project, workers=1) as server:
        yield server, Churn(project, churn_template.key, churn_template.body, churn_template.rows)


def test_many_requests_on_one_connection_are_answered_in_order(served):
    server, churn = served
    with Wire(server) as wire:
        bodies = [json.dumps(json.loads(churn.body) | {"id": f"n{number}"}).encode() for number in range(20)]
        wire.send(b"".join(request(churn, body) for body in bodies))
        answers = [wire.answer() for _ in bodies]
    assert [status for status, _, _ in answers] == [200] * 20
    assert [json.loads(body)["id"] for _, _, body in answers] == [f"n{number}" for number in range(20)]


def test_a_request_may_come_in_any_pieces(served):
    server, churn = served
    with Wire(server) as wire:
        for byte in request(churn):
            wire.send(bytes([byte]))
        assert wire.answer()[0] == 200


def test_the_slow_road_gives_the_same_answer_as_the_quick_one(served):
    server, churn = served
    rows = json.dumps({"rows": churn.rows * 50}).encode()
    chunked = request(churn).replace(
        f"Content-Length: {len(churn.body)}\r\n".encode(), b"Transfer-Encoding: chunked\r\n"
    )
    head, _, body = chunked.partition(b"\r\n\r\n")
    with Wire(server) as wire:
        wire.send(request(churn))
        quick = json.loads(wire.answer()[2])["outputs"]
        wire.send(head + b"\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert json.loads(wire.answer()[2])["outputs"] == quick
        wire.send(request(churn, extra="Expect: 100-continue\r\n"))
        status, _, _ = wire.answer()
        if status == 100:
            status, _, _ = wire.answer()
        assert status == 200
        wire.send(request(churn, path="/v2/models/%63hurn/infer"))
        assert json.loads(wire.answer()[2])["outputs"] == quick
        wire.send(request(churn, rows, path="/v2/models/churn/predict") + request(churn))
        assert len(json.loads(wire.answer()[2])["rows"]) == len(churn.rows) * 50
        assert json.loads(wire.answer()[2])["outputs"] == quick


@pytest.mark.parametrize(
    ("garbage", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "BAD_HEADER"),
        (b"GET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET /v2 HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(101)) + b"\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET /" + b"v" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414, "LINE_TOO_LONG"),
        (b"POST /v2/models/churn/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n", 400, "BAD_HEADER"),
    ],
)
def test_41_bad_http_is_answered_in_json_and_the_connection_closes(served, garbage: bytes, status: int, code: str):
    server, churn = served
    with Wire(server) as wire:
        wire.send(garbage)
        got, headers, body = wire.answer()
        assert (got, headers["trivet-error"]) == (status, code)
        assert list(json.loads(body)) == ["error"]
        assert wire.is_closed()
    with Wire(server) as wire:
        wire.send(request(churn))
        assert wire.answer()[0] == 200


def test_without_a_key_a_body_is_refused_before_it_is_sent(served):
    server, _ = served
    head = b"POST /v2/models/churn/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000000\r\n\r\n"
    with Wire(server) as wire:
        wire.send(head)
        status, headers, _ = wire.answer()
        assert (status, headers["www-authenticate"], headers["connection"]) == (401, "Bearer", "close")


@pytest.mark.parametrize(("chunks", "status"), [(65_536, 200), (65_537, 413)])
def test_41_H23_a_body_of_more_chunks_than_the_bound_is_413(served, chunks: int, status: int):
    server, churn = served
    body = churn.body + b" " * (chunks - len(churn.body))
    head = request(churn).partition(b"\r\n\r\n")[0]
    head = head.replace(f"Content-Length: {len(churn.body)}".encode(), b"Transfer-Encoding: chunked")
    with Wire(server) as wire:
        wire.send(head + b"\r\n\r\n")
        with suppress(ConnectionError):  # it need not read what comes after its answer
            wire.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        code, headers, _ = wire.answer()
    assert (code, headers.get("trivet-error")) == (status, None if status == 200 else "BODY_TOO_LARGE")


def test_H20_a_body_over_the_bound_is_413_without_reading_it(served):
    server, churn = served
    with Wire(server) as wire:
        head = request(churn, b"").replace(b"Content-Length: 0", b"Content-Length: 99999999")
        wire.send(head)
        assert wire.answer()[0] == 413


def test_41_a_body_that_does_not_come_is_408_and_others_are_served_meanwhile(served):
    server, churn = served
    with Wire(server) as slow:
        slow.send(request(churn)[:-10])
        began = time.monotonic()
        with Wire(server) as good:
            good.send(request(churn))
            assert good.answer()[0] == 200
        status, headers, _ = slow.answer()
        assert (status, headers["trivet-error"]) == (408, "BODY_TIMEOUT")
        assert time.monotonic() - began < 12


def test_a_client_that_leaves_in_the_middle_harms_nobody(served):
    server, churn = served
    for cut in (10, 100, len(request(churn)) - 5):
        with Wire(server) as wire:
            wire.send(request(churn)[:cut])
    with Wire(server) as wire:
        wire.send(request(churn))
        assert wire.answer()[0] == 200


def test_the_site_behind_is_served_by_the_same_port(served):
    server, _ = served
    with Wire(server) as wire:
        wire.send(b"GET /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        status, headers, body = wire.answer()
        assert status == 200
        assert "content-security-policy" in headers
        assert b"<form" in body
        wire.send(b"GET /v2/health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert wire.answer()[0] == 200


def test_41_a_head_that_never_ends_is_not_waited_for(served):
    server, churn = served
    with Wire(server) as silent, Wire(server) as used:
        silent.send(b"POST /v2/models/churn/infer HTTP/1.1\r\nHost: 127")
        used.send(request(churn))
        assert used.answer()[0] == 200
        assert silent.is_closed()
        used.send(request(churn))  # an idle connection is kept meanwhile
        assert used.answer()[0] == 200


def test_H25_a_trailer_never_becomes_a_header(served):
    server, churn = served
    head = request(churn).partition(b"\r\n\r\n")[0]
    head = head.replace(f"Content-Length: {len(churn.body)}".encode(), b"Transfer-Encoding: chunked")
    head = head.replace(f"Authorization: Bearer {churn.key}\r\n".encode(), b"")
    trailer = f"0\r\nAuthorization: Bearer {churn.key}\r\n\r\n".encode()
    with Wire(server) as wire:
        wire.send(head + b"\r\n\r\n" + b"%x\r\n%b\r\n" % (len(churn.body), churn.body) + trailer)
        assert wire.answer()[0] == 401
