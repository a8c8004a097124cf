"""One client, a process of its own: asks, reads the complete answer, writes one line of its ledger, asks again.

`python -m tests.acceptance.faults.client WISH`, which is a `Wish` as JSON. It ends on SIGTERM, after the request under
way. A line is on disk before the next request begins, so that the ledger is what a client had really read.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import struct
import sys
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple

AGAIN_SECONDS = 0.01
TIMEOUT_SECONDS = 30.0
NO_ANSWER = 0  # in place of a status: the connection was refused or reset


@dataclass(frozen=True)
class Wish:
    """What a client is to do."""

    port: int
    path: str
    key: str
    bodies: list[str]  # asked in turn
    ledger: str
    client: int = 0  # its number among the clients
    first: int = 0  # the place in `bodies` it begins with
    probes: bool = False  # ask for readiness first, on a new connection each time
    pause: float = 0.0  # seconds between requests


class Line(NamedTuple):
    """One request of a ledger. Times are of CLOCK_MONOTONIC, in seconds."""

    client: int
    number: int
    body: int  # which of the bodies
    port: int  # the client's end of the connection
    opened: float  # when the connection was
    started: float
    ended: float
    status: int  # NO_ANSWER where there was none
    ready: int = 0  # the status of readiness just before, where this client probes
    prediction_id: str = ""
    version: int = 0
    said: str = ""  # SHA-256 of the outputs, as `digest_of_outputs`
    sha256: str = ""  # of the answer's bytes
    problem: str = ""  # of an answer that is no prediction, or of no answer


def digest_of_outputs(outputs: dict[str, list[Any]]) -> str:
    """Return the SHA-256 of outputs by name, each a flat list. Floats count as single precision, as models give them."""
    told = {name: [_single(value) for value in values] for name, values in sorted(outputs.items())}
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _single(value: Any) -> Any:
    return struct.pack("<f", value).hex() if isinstance(value, float) else value


class _Client:
    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._connection = self._new_connection()
        self._opened = 0.0
        self._port = 0
        self._is_ending = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._end)
        descriptor = os.open(self._wish.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        number = 0
        while not self._is_ending:
            line = self._ask(number)
            os.write(descriptor, f"{json.dumps(line)}\n".encode())
            os.fsync(descriptor)
            number += 1
            if line.status != 200 or self._wish.pause:
                time.sleep(max(AGAIN_SECONDS, self._wish.pause))

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._is_ending = True

    def _new_connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._wish.port, timeout=TIMEOUT_SECONDS)

    def _ask(self, number: int) -> Line:
        body = (self._wish.first + number) % len(self._wish.bodies)
        asked = (self._wish.client, number, body)
        started, ready = time.monotonic(), 0
        try:
            if self._connection.sock is None:
                self._opened, self._port = started, 0
                self._connection.connect()
                self._port = self._connection.sock.getsockname()[1]
            if self._wish.probes:
                ready, _ = self._exchange("GET", "/v2/health/ready", "")
                started = time.monotonic()
            status, content = self._exchange("POST", self._wish.path, self._wish.bodies[body])
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._connection = self._new_connection()
            ended = time.monotonic()
            return Line(*asked, self._port, self._opened, started, ended, NO_ANSWER, ready, problem=repr(error))
        line = Line(*asked, self._port, self._opened, started, time.monotonic(), status, ready)
        if self._wish.probes:
            self._connection.close()
        if status != 200:
            return line._replace(problem=content[:300].decode("utf-8", "replace"))
        answer = json.loads(content)
        return line._replace(
            prediction_id=answer["parameters"]["prediction_id"],
            version=int(answer["model_version"]),
            said=digest_of_outputs({output["name"]: output["data"] for output in answer["outputs"]}),
            sha256=hashlib.sha256(content).hexdigest(),
        )

    def _exchange(self, method: str, path: str, body: str) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._wish.key}", "Content-Type": "application/json"}
        self._connection.request(method, path, body or None, headers)
        response = self._connection.getresponse()
        return response.status, response.read()


if __name__ == "__main__":
    _Client(Wish(**json.loads(sys.argv[1]))).run()
