"""F03: with TRIVET_DURABILITY = "power" no answer leaves before a sync that covers its record, in whichever way it was asked.

Loss of power is shown by the order of system calls, noted by the server itself; no plug is pulled.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Load, Server, drained, serving

PATH = "/v2/models/churn/infer"
NOTES = """
import os, re, time
_notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_pwrite, _fdatasync = os.pwrite, os.fdatasync

def pwrite(descriptor, data, offset):
    written = _pwrite(descriptor, data, offset)
    found = re.search(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", data)
    if found:
        os.write(_notes, b"write %d %d %b\\n" % (os.getpid(), time.monotonic_ns(), found.group()))
    return written

def fdatasync(descriptor):
    began = time.monotonic_ns()
    _fdatasync(descriptor)
    os.write(_notes, b"sync %d %d %d\\n" % (os.getpid(), began, time.monotonic_ns()))

os.pwrite, os.fdatasync = pwrite, fdatasync
"""


class Sync(NamedTuple):
    pid: int
    began: int
    ended: int


@pytest.fixture
def noted(churn: Churn, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NOTES)
    notes = tmp_path / "notes"
    with serving(churn.project, TRIVET_DURABILITY="power", PYTHONPATH=str(folder), NOTES=str(notes)) as server:
        yield server, notes


def test_F03_every_answer_comes_after_a_sync_that_began_after_its_record_was_written(
    churn: Churn, noted: tuple[Server, Path]
):
    server, notes = noted
    with Load(server, churn.body, churn.key, path=PATH, clients=8) as load:
        while load.answers.qsize() < 300:
            time.sleep(0.01)
    assert not drained(load.failures)
    read = [(answer["parameters"]["prediction_id"], ended) for _, ended, answer in drained(load.answers)]
    read += [answer_to_a_long_body(server, churn), *pipelined(server, churn)]
    writes, syncs = parsed(notes)
    for prediction_id, read_at in read:
        pid, written = writes[prediction_id]
        assert any(s.pid == pid and written <= s.began and s.ended <= read_at * 1e9 for s in syncs), prediction_id
    assert len(syncs) < len(writes)  # they share


def answer_to_a_long_body(server: Server, churn: Churn) -> tuple[str, float]:
    """Ask in chunks, which is answered on the other road."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Authorization": f"Bearer {churn.key}", "Content-Type": "application/json"}
    connection.request("POST", PATH, iter([churn.body[:9], churn.body[9:]]), headers, encode_chunked=True)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["parameters"]["prediction_id"], time.monotonic()


def pipelined(server: Server, churn: Churn) -> list[tuple[str, float]]:
    """Send five requests at once, one of them for health: five answers, in their order."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {churn.key}\r\n"
    sized = f"{head}Content-Length: {len(churn.body)}\r\n"
    asked = [f"{sized}X-Request-Id: {number}\r\n\r\n{churn.body.decode()}" for number in range(3)]
    alive, last = (
        f"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {number}\r\nConnection: {then}\r\n\r\n"
        for number, then in ((7, "keep-alive"), (8, "close"))
    )
    requests = [asked[0], asked[1], alive, asked[2], last]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall("".join(requests).encode())
        data = connection.makefile("rb").read()
    read_at = time.monotonic()
    assert re.findall(rb"x-request-id: (\d)\r\n", data) == [b"0", b"1", b"7", b"2", b"8"]
    ids = re.findall(rb'"prediction_id":"([^"]+)"', data)
    assert len(ids) == 3
    return [(prediction_id.decode(), read_at) for prediction_id in ids]


def parsed(notes: Path) -> tuple[dict[str, tuple[int, int]], list[Sync]]:
    """Return when each record was written, by whom; and each sync."""
    writes: dict[str, tuple[int, int]] = {}
    syncs: list[Sync] = []
    for line in notes.read_text().splitlines():
        kind, pid, first, second = line.split()
        if kind == "write":
            writes[second] = int(pid), int(first)
        else:
            syncs.append(Sync(int(pid), int(first), int(second)))
    return writes, syncs
