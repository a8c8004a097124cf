"""Bodies beyond their bounds, that lie, come in crumbs or unfold, at a real web worker: each is refused or means one thing."""

from __future__ import annotations

import itertools
import socket
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.acceptance.bodies import DENIED, FAMILIES, MOST, MOST_MB, NEITHER, NOBODY, Case
from tests.acceptance.conftest import Churn
from tests.acceptance.framing import INNER, Target, length, post
from tests.acceptance.servers import Server, copy_project, serving
from tests.acceptance.test_framing import page, prediction
from tests.acceptance.wire import Told, Wire, marked
from tests.robustness.score import Score
from tests.scale import scaled

MIB = 1 << 20
COOKIE = b"Cookie: csrftoken=" + b"a" * 32  # without one, Django refuses a form before it reads it
PEAK = 8 * MOST  # what one request of these may take for a moment; of the bombs, some would take a gigabyte
HUNDRED = 100
WARM = 2  # rounds, after which every way has been taken and every buffer has grown
ROUNDS = scaled(test=5, ci=9, full=25)


@dataclass(frozen=True)
class Served:
    """A server with one web worker, and the folder for what it keeps in files for a moment."""

    server: Server
    churn: Churn
    moment: Path

    @property
    def worker(self) -> int:
        (worker,) = self.server.web_workers()
        return worker


@pytest.fixture(scope="module")
def served(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("bodies")
    project, moment = copy_project(churn_template.project, folder / "project"), folder / "moment"
    moment.mkdir()
    # One thread for pages: each has an arena of its own in memory, which grows to the largest it has seen.
    with serving(
        project, workers=1, TRIVET_MAX_BODY_MB=str(MOST_MB), TRIVET_WEB_THREADS="1", TMPDIR=str(moment)
    ) as server:
        yield Served(server, replace(churn_template, project=project), moment)
        assert not [line for line in server.lines if "internal_error" in line or "Internal Server Error" in line]


def form(churn: Churn) -> Target:
    target = page(churn)
    return target._replace(head=target.head + b"\r\n" + COOKIE)


TARGETS = {"prediction": prediction, "page": form}


def answers_to(sent: bytes, server: Server) -> list[Told]:
    """Send these bytes and no more; return what is answered, but for leave to go on."""
    told: list[Told] = []
    with Wire(server) as wire:
        with suppress(OSError):  # it need not read what comes after its answer
            wire.send(sent)
            wire.socket.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while True:
                told.append(wire.told())
    return [answer for answer in told if answer.status != 100]


def problems_of(case: Case, told: Sequence[Told], *, is_page: bool) -> Iterator[str]:
    """Yield what is wrong with the answers to a case."""
    wanted = case.page if is_page else case.prediction
    first = told[0].status if told else NOBODY
    if first != wanted and not (wanted == NEITHER and first in (400, DENIED)):
        yield f"{first} instead of {wanted}: {told[0].body[:100] if told else b''!r}"
    if any(answer.status < 400 for answer in told[1:]):
        yield f"one request, and more that was read: {[answer.status for answer in told]}"
    for answer in told:
        if answer.status >= 500:
            yield f"{answer.status}"
        is_ours = not is_page or "trivet-error" in answer.headers
        if answer.status >= 400 and is_ours and list(answer.json) != ["error"]:
            yield f"{answer.status} is not JSON: {answer.body[:80]!r}"


def is_answered(churn: Churn, server: Server) -> bool:
    """True when a good request on a connection of its own is."""
    with Wire(server) as fresh:
        fresh.send(marked(churn, "fresh"))
        return fresh.told().json.get("id") == "fresh"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_H20_to_H29_a_body_is_read_or_refused_as_it_should_be_and_takes_little(
    served: Served, family: str, target: str, score: Score
):
    server, churn = served.server, served.churn
    wrong, failed, count = {}, 0, 0
    assert is_answered(churn, server)
    before = rss(served.worker)
    forget_peak(served.worker)
    for case in FAMILIES[family](TARGETS[target](churn)):
        told, count = answers_to(case.sent, server), count + 1
        failed += any(answer.status >= 500 for answer in told)
        if problems := list(problems_of(case, told, is_page=target == "page")):
            wrong[case.name] = problems
        assert is_answered(churn, server), case.name
    score.count("client_5xx", failed, of=count)
    assert wrong == {}
    assert peak(served.worker) - before < PEAK
    assert list(served.moment.iterdir()) == []


@pytest.mark.parametrize("target", TARGETS)
def test_H20_to_H29_a_hundred_of_them_leave_less_than_a_mebibyte(served: Served, target: str):
    cases = [case.sent for family in FAMILIES.values() for case in family(TARGETS[target](served.churn))]
    hundred = [cases[number * len(cases) // HUNDRED] for number in range(HUNDRED)]
    kept = []
    for _ in range(WARM + ROUNDS):
        for sent in hundred:
            answers_to(sent, served.server)
        kept.append(rss(served.worker))
    grown = [after - before for before, after in itertools.pairwise(kept[WARM - 1 :])]
    assert statistics.median(grown) < MIB, grown


FORMS = {
    "too long for a form": b"a=" + b"x" * (MOST - 2),
    "as long as one may be": b"a=" + b"x" * (2 * MIB),
}


@pytest.mark.parametrize("kind", FORMS)
def test_H20_what_a_page_was_sent_is_not_kept_until_somebody_looks_for_it(served: Served, kind: str):
    target, body = form(served.churn), FORMS[kind]
    sent = post(target, length(body), body=body)
    answers_to(sent, served.server)
    before = rss(served.worker)
    forget_peak(served.worker)
    for _ in range(HUNDRED):
        (told,) = answers_to(sent, served.server)
        assert told.status in (400, DENIED)
    assert peak(served.worker) - before < PEAK


def test_H20_a_body_that_is_too_long_by_its_own_account_is_refused_before_it_comes(served: Served):
    for target in TARGETS.values():
        told = post(target(served.churn), b"Content-Length: %d" % (MOST + 1), b"Expect: 100-continue", body=b"")
        with Wire(served.server) as wire:
            wire.send(told)
            answer = wire.told()
            assert (answer.status, answer.headers["trivet-error"]) == (413, "BODY_TOO_LARGE")
            assert wire.is_closed()


def test_H21_a_body_shorter_than_it_says_is_waited_for_and_is_no_other_request(served: Served):
    whole = post(prediction(served.churn), b"Content-Length: %d" % (len(served.churn.body) + 1))
    with Wire(served.server) as wire:
        wire.send(whole)
        assert is_answered(served.churn, served.server)
        wire.send(b" ")
        assert wire.told().status == 200
        wire.send(whole + INNER)  # its first byte is the last of the body
        assert [wire.told().status for _ in range(2)] == [400, 400]
        assert wire.is_closed()


def rss(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return _of_status(pid, "VmRSS")


def peak(pid: int) -> int:
    """Return the most of it since `forget_peak`."""
    return _of_status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5)


def _of_status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024
