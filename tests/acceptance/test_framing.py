"""Requests whose frame is doubtful, at a real web worker: each is refused or means one thing, and harms none behind it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.framing import FAMILIES, INNER, Case, Target, chunked, mutated, post
from tests.acceptance.servers import Server, copy_project, serving
from tests.acceptance.wire import Told, Wire, marked, request
from tests.robustness.score import Score
from tests.scale import scaled

MUTATIONS = scaled(test=500, ci=2_000, full=10_000, long=100_000)
KEPT_OPEN = 16 * 1024 * 1024  # bytes that no head, trailer or chunk extension may have
HOST = b"Host: 127.0.0.1"
FOREIGN_HOST = "django.security.DisallowedHost"  # which Django itself tells with a trace, of its own pages
FORM = b"username=nobody&password=x"


@pytest.fixture(scope="module")
def served(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Churn]]:
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("framing") / "project")
    with serving(project, workers=1) as server:
        yield server, Churn(project, churn_template.key, churn_template.body, churn_template.rows)
        assert not [
            (before, line)
            for before, line in pairwise(server.lines)
            if ("Traceback" in line or "internal_error" in line) and FOREIGN_HOST not in before
        ], server.lines


def prediction(churn: Churn) -> Target:
    return Target(b"/v2/models/churn/infer", HOST + b"\r\nAuthorization: Bearer " + churn.key.encode(), churn.body)


def page(_churn: Churn) -> Target:
    return Target(b"/login/", HOST + b"\r\nContent-Type: application/x-www-form-urlencoded", FORM)


TARGETS = {"prediction": prediction, "page": page}


def answers_to(case: Case, served: tuple[Server, Churn]) -> tuple[list[Told], bool]:
    """Send a case and a good request behind it; return what came before its answer, and whether that one came."""
    server, churn = served
    told: list[Told] = []
    with Wire(server) as wire, suppress(ConnectionError):
        wire.send(case.sent)
        if case.may_continue:
            wire.send(marked(churn, "behind"))
        else:
            wire.socket.shutdown(socket.SHUT_WR)
        while True:
            answer = wire.told()
            if answer.status == 200 and b'"id":"behind"' in answer.body:
                return told, True
            if answer.status != 100:
                told.append(answer)
    return told, False


def problems_of(case: Case, told: Sequence[Told], *, is_page: bool) -> Iterator[str]:
    """Yield what is wrong with the answers to a case."""
    for answer in told:
        if answer.status >= 500:
            yield f"{answer.status}"
        is_site = is_page and not answer.headers.get("trivet-error")
        if answer.status >= 400 and not is_site and list(answer.json) != ["error"]:
            yield f"{answer.status} is not JSON: {answer.body[:80]!r}"
    if case.wanted == "refused":
        if any(answer.status < 400 for answer in told):
            yield f"was not refused, or what it held was read: {[answer.status for answer in told]}"
    elif case.wanted == "answered" and (not told or (told[0].status != 200 and not is_page)):
        yield "was not answered"


def failures_of(wrong: Iterable[list[str]]) -> int:
    """Return how many of the cases with problems were answered with a 5xx."""
    return sum(any(problem.isdigit() for problem in problems) for problems in wrong)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_H46_to_H55_a_doubtful_frame_is_refused_or_means_one_thing(
    served: tuple[Server, Churn], family: str, target: str, score: Score
):
    server, churn = served
    cases = list(FAMILIES[family](TARGETS[target](churn)))
    wrong = {}
    for case in cases:
        told, _ = answers_to(case, served)
        if problems := list(problems_of(case, told, is_page=target == "page" or b"//elsewhere" in case.sent)):
            wrong[case.name] = problems
        with Wire(server) as fresh:
            fresh.send(marked(churn, "fresh"))
            assert fresh.told().json["id"] == "fresh", case.name
    score.count("client_5xx", failures_of(wrong.values()), of=len(cases))
    assert wrong == {}


def test_H46_to_H55_the_corpus_is_as_large_as_it_is_said_to_be():
    target = Target(b"/x", HOST, b"12345")
    cases = [case for family in FAMILIES.values() for case in family(target)]
    assert len(cases) >= 159
    assert len({case.sent for case in cases}) > len(cases) * 0.95


def test_H46_to_H55_requests_with_bytes_dropped_doubled_and_replaced(served: tuple[Server, Churn], score: Score):
    server, churn = served
    wrong = {}
    for number, case in enumerate(mutated(prediction(churn), MUTATIONS)):
        told, _ = answers_to(case, served)
        if problems := list(problems_of(case, told, is_page=True)):
            wrong[case.name] = problems, case.sent
        if len(told) > 1 and told[0].status == 200:
            wrong[case.name] = ["one request, two answers"], case.sent
        if number % 50 == 0:
            with Wire(server) as fresh:
                fresh.send(marked(churn, "fresh"))
                assert fresh.told().json["id"] == "fresh", case.name
    score.count("client_5xx", failures_of(problems for problems, _ in wrong.values()), of=MUTATIONS)
    assert wrong == {}


@pytest.mark.parametrize("is_chunked", [False, True])
def test_H54_a_body_is_read_though_its_sender_would_rather_speak_http_2(served: tuple[Server, Churn], is_chunked: bool):
    server, churn = served
    wish = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    sent = request(churn, extra=wish)
    if is_chunked:
        lines = (wish.strip().encode(), b"Transfer-Encoding: chunked")
        sent = post(prediction(churn), *lines, body=chunked(churn.body))
    with Wire(server) as wire:
        wire.send(request(churn))
        plain = wire.told().json["outputs"]
        for cut in (len(sent), sent.index(b"\r\n\r\n") + 4, 60):
            wire.send(sent[:cut])
            wire.send(sent[cut:])
            told = wire.told()
            assert (told.status, told.json.get("outputs")) == (200, plain), told
        wire.send(sent * 2_000)
        assert {wire.told().status for _ in range(2_000)} == {200}
        wire.send(sent.replace(b"Connection: Upgrade", b"Connection: close, Upgrade"))
        assert wire.told().status == 200
        assert wire.is_closed()


def test_H53_what_comes_behind_a_close_is_not_run(served: tuple[Server, Churn]):
    server, churn = served
    key = {"Authorization": f"Bearer {churn.key}"}

    def counted() -> int:
        with Wire(server) as wire:
            head = f"GET /v2/models/churn/stats HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {key['Authorization']}\r\n\r\n"
            wire.send(head.encode())
            return int(wire.told().json["model_stats"][0]["inference_stats"]["success"]["count"])

    before = counted()
    with Wire(server) as wire:
        wire.send(request(churn, extra="Connection: close\r\n") + request(churn) * 3)
        assert wire.told().status == 200
        assert wire.is_closed()
    assert counted() == before + 1


def test_H53_answers_come_in_turn_and_the_refusal_last(served: tuple[Server, Churn]):
    server, churn = served
    good = request(churn, json.dumps({"rows": churn.rows[:1] * 500}).encode(), path="/v2/models/churn/predict")
    site = b"GET /login/ HTTP/1.1\r\n" + HOST + b"\r\n\r\n"
    for wrong in (b"NONSENSE\r\n\r\n", post(prediction(churn), b"Transfer-Encoding: chunked", body=b"x\r\n")):
        with Wire(server) as wire:
            wire.send(site + good + site + wrong + INNER)
            assert [wire.told().status for _ in range(4)] == [200, 200, 200, 400]
            assert wire.is_closed()


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (b"GET /v2 HTTP/1.1\r\nX: ", b"y" * 65536, 431),
        (b"GET /v2 HTTP/1.1\r\n", b"X", 431),
        (b"", b"G" * 65536, 400),
        (b"CHUNKS1;", b"y" * 65536, 413),
        (b"CHUNKS0\r\nX: ", b"y" * 65536, 413),
    ],
)
def test_H49_no_part_of_a_head_and_no_trailer_is_kept_without_end(
    served: tuple[Server, Churn], begin: bytes, more: bytes, status: int
):
    server, churn = served
    chunks = request(churn).partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n"
    begin = begin.replace(b"CHUNKS", chunks)
    if len(more) == 1:
        more *= 65536
    (worker,) = server.web_workers()
    before = memory_of(worker)
    sent = 0
    with Wire(server) as wire:
        wire.send(begin)
        with suppress(ConnectionError):  # it need not read what comes after its answer
            while sent < KEPT_OPEN:
                wire.send(more)
                sent += len(more)
        with suppress(ConnectionError):
            assert wire.told().status == status
    assert sent < KEPT_OPEN
    assert memory_of(worker) - before < 16 * 1024 * 1024


def memory_of(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
