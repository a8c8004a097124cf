"""A load that is offered at a rate, whatever becomes of it: processes that send when it is time to, and a ledger of each.

A client of `ledger` asks again once it is answered, so a server that slows down is asked less. These are an open loop: a
request is sent when it is due, on a connection that waits for nothing, a new one where there is none. With no rate they are a
closed loop, whose answers per second are the server's peak. `python -m tests.acceptance.faults.offered WISH` is one of them.

When an answer came is what the kernel noted as its last bytes arrived, and not when this process, which has to share the
processors with the server, came to read it.
"""

from __future__ import annotations

import hashlib
import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.faults.client import NO_ANSWER, Line, digest_of_outputs

REPOSITORY = Path(__file__).parents[3]
SO_TIMESTAMPNS = 35  # Linux's; the module of sockets does not name it
NOTED = struct.Struct("qq")  # seconds and nanoseconds since 1970
ANSWER_BYTES = 65536
LAST_SECONDS = 20.0  # for the answers to what was sent


@dataclass(frozen=True)
class Offer:
    """What one process is to send, and when."""

    port: int
    path: str
    key: str
    bodies: list[str]  # asked in turn
    ledger: str
    client: int  # its number among those that offer
    began: float  # on CLOCK_MONOTONIC
    seconds: float
    rate: float = 0.0  # requests per second; 0: each connection asks again once it is answered
    connections: int = 16  # at most


class _Asked:
    """One connection, and what was asked on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened = time.monotonic()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))  # where that fails, to read tells
        self.own_port = self.socket.getsockname()[1]
        self.number, self.body, self.started, self.came = -1, 0, 0.0, bytearray()


class _Offering:
    """Sends what is due, reads what came, and writes the ledger in the end."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        head = f"POST {offer.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {offer.key}\r\n"
        self._requests = [
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            for body in offer.bodies
        ]
        self._epoll = select.epoll()
        self._all: dict[int, _Asked] = {}
        self._idle: deque[_Asked] = deque()
        self._read: list[tuple[Line, bytes]] = []
        self._sent = 0
        self._due = 0
        self._to_monotonic = time.monotonic() - time.time()

    def run(self) -> None:
        """Offer, then write down what became of it."""
        ends = self._offer.began + self._offer.seconds
        time.sleep(max(0.0, self._offer.began - time.monotonic()))
        if not self._offer.rate:
            for _ in range(self._offer.connections):
                self._ask(self._opened())
        while (now := time.monotonic()) < ends:
            self._send_what_is_due(now)
            self._look(0.001 if self._offer.rate else 0.05, ends)
        while len(self._all) > len(self._idle) and time.monotonic() < ends + LAST_SECONDS:
            self._look(0.1, ends)
        for asked in set(self._all.values()) - set(self._idle):
            self._note(asked, time.monotonic(), NO_ANSWER, "no answer came")
        self._write()

    def _send_what_is_due(self, now: float) -> None:
        due = int((now - self._offer.began) * self._offer.rate)
        while self._due < due:
            self._due += 1
            if self._idle:
                self._ask(self._idle.pop())
            elif len(self._all) < self._offer.connections:
                self._ask(self._opened())

    def _opened(self) -> _Asked:
        asked = _Asked(self._offer.port)
        self._all[asked.socket.fileno()] = asked
        self._epoll.register(asked.socket.fileno(), select.EPOLLIN)
        return asked

    def _ask(self, asked: _Asked) -> None:
        asked.number, asked.body = self._sent, (self._sent + self._offer.client) % len(self._requests)
        self._sent += 1
        asked.came.clear()
        asked.started = time.monotonic()
        self._send(asked)

    def _send(self, asked: _Asked) -> None:
        try:
            asked.socket.send(self._requests[asked.body])
        except BlockingIOError:  # nobody has taken the connection yet: there are too many
            self._epoll.modify(asked.socket, select.EPOLLOUT)
        except OSError:
            pass  # it was closed: to read tells

    def _look(self, seconds: float, ends: float) -> None:
        for descriptor, event in self._epoll.poll(seconds):
            asked = self._all[descriptor]
            if event == select.EPOLLOUT:
                self._epoll.modify(descriptor, select.EPOLLIN)
                self._send(asked)
                continue
            try:
                data, noted, _, _ = asked.socket.recvmsg(ANSWER_BYTES, 64)
            except BlockingIOError:
                continue
            except OSError as error:
                self._lose(asked, repr(error))
                continue
            if not data:
                self._lose(asked, "it was closed")
                continue
            asked.came += data
            head, found, body = asked.came.partition(b"\r\n\r\n")
            if not found or len(body) < _length(head):
                continue
            self._note(asked, self._moment_of(noted), int(head[9:12]), "")
            if b"connection: close" in head:
                self._drop(asked)
            elif self._offer.rate or time.monotonic() >= ends:
                self._idle.append(asked)
            else:
                self._ask(asked)

    def _moment_of(self, noted: list[tuple[int, int, bytes]]) -> float:
        """Return when something came, on CLOCK_MONOTONIC; now where the kernel has just begun to note it."""
        if not noted:
            return time.monotonic()
        seconds, nanoseconds = NOTED.unpack(noted[0][2])
        return float(seconds + nanoseconds / 1e9 + self._to_monotonic)

    def _lose(self, asked: _Asked, why: str) -> None:
        if asked in self._idle:
            self._idle.remove(asked)
        else:
            self._note(asked, time.monotonic(), NO_ANSWER, why)
        self._drop(asked)

    def _drop(self, asked: _Asked) -> None:
        del self._all[asked.socket.fileno()]
        asked.socket.close()

    def _note(self, asked: _Asked, ended: float, status: int, problem: str) -> None:
        line = Line(
            self._offer.client,
            asked.number,
            asked.body,
            asked.own_port,
            asked.opened,
            asked.started,
            ended,
            status,
            problem=problem,
        )
        self._read.append((line, bytes(asked.came)))

    def _write(self) -> None:
        with Path(self._offer.ledger).open("w") as ledger:
            ledger.write(f"{self._due or self._sent}\n")
            for line, came in self._read:
                ledger.write(f"{json.dumps(_judged(line, came))}\n")


def _length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[at:].partition(b"\r\n")[0])


def _judged(line: Line, came: bytes) -> Line:
    """Return a line with what its answer says: of a prediction its id and outputs, of a refusal its headers."""
    head, _, content = came.partition(b"\r\n\r\n")
    if line.status == NO_ANSWER:
        return line
    if line.status != 200:
        return line._replace(problem=head.decode("latin-1"))
    answer = json.loads(content)
    return line._replace(
        prediction_id=answer["parameters"]["prediction_id"],
        version=int(answer["model_version"]),
        said=digest_of_outputs({output["name"]: output["data"] for output in answer["outputs"]}),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@dataclass(frozen=True)
class Became:
    """What became of an offer: how many requests were due, those that were sent, and the time it was offered in."""

    due: int
    lines: Sequence[Line]
    began: float
    ended: float

    @property
    def good(self) -> float:
        """Predictions per second that were read while it was offered."""
        answered = sum(line.status == 200 and self.began <= line.ended <= self.ended for line in self.lines)
        return answered / (self.ended - self.began)

    @property
    def refused(self) -> list[Line]:
        """What was told to ask again."""
        return [line for line in self.lines if line.status in (429, 503)]


class Offered:
    """Processes that offer a load; begun with `begin`, over with `became`."""

    def __init__(self, wish: dict[str, Any], folder: Path, *, processes: int, client: int = 0) -> None:
        """Start `processes`, numbered from `client` among all that ask; `wish` is of port, path, key and bodies."""
        folder.mkdir(parents=True)
        self._wish = wish
        self._ledgers = {client + number: folder / f"{number}.ledger" for number in range(processes)}
        command = [sys.executable, "-m", "tests.acceptance.faults.offered"]
        self._processes = [
            subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in self._ledgers
        ]
        self._began = self._seconds = 0.0

    def begin(self, seconds: float, *, connections: int, rate: float = 0.0, at: float | None = None) -> float:
        """Offer `rate` requests a second for so long, at once or `at` a moment; return the moment of the end.

        There are `connections` at most, in all.
        """
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        self._began, self._seconds, share = at or time.monotonic(), seconds, len(self._processes)
        for process, (client, ledger) in zip(self._processes, self._ledgers.items(), strict=True):
            offer = Offer(
                **self._wish,
                ledger=str(ledger),
                client=client,
                began=self._began,
                seconds=seconds,
                rate=rate / share,
                connections=connections // share,
            )
            assert process.stdin is not None
            process.stdin.write(f"{json.dumps(asdict(offer))}\n")
            process.stdin.flush()
        return self._began + seconds

    def became(self) -> Became:
        """Return what became of it, once what was sent is answered."""
        due = 0
        lines: list[Line] = []
        for process, ledger in zip(self._processes, self._ledgers.values(), strict=True):
            process.communicate(timeout=self._seconds + 2 * LAST_SECONDS)
            assert process.returncode == 0
            first, *rest = ledger.read_text().splitlines()
            due += int(first)
            lines += [Line(*json.loads(text)) for text in rest]
        return Became(due, lines, self._began, self._began + self._seconds)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


@contextmanager
def offered(wish: dict[str, Any], folder: Path, *, processes: int = 1, client: int = 0) -> Iterator[Offered]:
    """Have processes that may offer a load, for as long as the block runs."""
    load = Offered(wish, folder, processes=processes, client=client)
    try:
        yield load
    finally:
        load.close()


if __name__ == "__main__":
    print("ready", flush=True)
    _Offering(Offer(**json.loads(sys.stdin.readline()))).run()
