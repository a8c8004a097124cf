"""A model worker: one fresh process, one bundle, one socket. `python -m trivet.dataplane.engines.worker.instance [RUNTIME]`

It reads its order from standard input; with RUNTIME it imports that one's libraries before, and so stands by for an order.

It has no Django, no database, no environment but what finds the installed code, and one thread of ours. Before it makes
anything of the bundle's bytes it confines itself (`model.sandbox`): no file but libraries, no program, no network. While a
run is under way the kernel's own timer is armed: whatever the run does, at its bound the process ends.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from trivet.core.environment import code_places
from trivet.core.errors import BundleError, TrivetError
from trivet.core.log_sink import LogSink
from trivet.core.parent import end_with
from trivet.dataplane.engines.warming import warm
from trivet.dataplane.engines.worker.batching import Batcher, Waiting, joined, parted
from trivet.dataplane.engines.worker.control import Options
from trivet.dataplane.engines.worker.frames import Ask, BadFrame, Contract, Hello, Inbox, Told, encode_frame
from trivet.dataplane.engines.worker.runs import RunsWritten
from trivet.dataplane.engines.worker.sockets import listen_on
from trivet.model.bundle.bundle import Bundle, read_bundle
from trivet.model.runtimes.base import Runtime, runtime_class
from trivet.model.sandbox import tripwire
from trivet.model.sandbox.confinement import confine
from trivet.model.sandbox.kernel import thread_count

logger = logging.getLogger(__name__)

READ_BYTES = 256 * 1024
READS_AT_ONCE = 16  # of one connection, before the others have their turn
IDLE_SECONDS = 0.25  # between two signs of life of one that has nothing to do
ACCEPT_AGAIN_SECONDS = 0.5  # where there was no descriptor for a connection
LEAVE_SECONDS = 10.0  # after SIGTERM, while somebody still asks
QUIET_SECONDS = 0.3  # after SIGTERM, this long without a request means that nobody asks any more
HOPELESS_SECONDS = 1.0  # a run that nobody waits for any more may still take this long,
HOPELESS_RUNS = 20  # or this many times as long as so many rows usually take, before it is ended
OVERDUE_SECONDS = 0.5  # a run that takes longer, and
OVERDUE_RUNS = 10  # this many times as long as so many rows usually take, hangs as far as readiness is concerned
FULL_SHARE = 0.9  # of the longest a run may take: who waits for so long cuts it short by no more than queueing took
MODULE = "trivet.dataplane.engines.worker.instance"
PR_SET_NO_NEW_PRIVS = 38  # prctl(2)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a model worker is told."""

    folder: str
    digest: str
    socket: str
    runs: str
    report: int  # descriptor
    owner: int  # process id
    options: Options


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What it says once: that it answers, or why it cannot."""

    reason: str = ""
    runtime: str = ""
    import_seconds: float = 0.0  # of that runtime's libraries; 0 where they were imported before the order came
    cost_us_per_row: float = 0.0
    sandbox_level: int = 0


class Connection:
    """One caller's socket: bytes in until they are a request, bytes out until the caller has taken them."""

    def __init__(self, number: int, connected: socket.socket) -> None:
        self.number = number
        self.socket = connected
        self.inbox = Inbox(Ask)
        self.outbox = bytearray()


class Service:
    """Answers on one listening socket until `leave`. One thread: what arrives during a run is read after it."""

    def __init__(
        self,
        runtime: Runtime,
        bundle: Bundle,
        listening: socket.socket,
        runs: RunsWritten,
        options: Options,
        *,
        cost_us_per_row: float,
    ) -> None:
        """`cost_us_per_row` is what warming measured, which counts for as long as no run has told more."""
        self._runtime = runtime
        self._digest = bundle.digest
        self._contract = Contract(bundle.signature, bundle.manifest.packs)
        self._listening = listening
        self._runs = runs
        self._options = options
        self._batcher = Batcher(
            max_rows=options.max_batch_size,
            max_delay_seconds=options.max_batch_delay_ms / 1000,
            splits=runtime.supports_batching and self._contract.splits,
        )
        self._connections: dict[int, Connection] = {}  # by descriptor
        self._count = 0
        self._poll = select.epoll()
        self._poll.register(listening.fileno(), select.EPOLLIN)
        self._warmed_seconds = cost_us_per_row / 1e6
        self._leaving_since: float | None = None
        self._accept_at = 0.0  # when connections are taken again, after there was no descriptor for one
        self._last_request = time.monotonic()

    def leave(self) -> None:
        """Take no new callers, answer those there are, then return from `serve`."""
        if self._leaving_since is None:
            self._leaving_since = time.monotonic()

    def serve(self) -> None:
        """Answer until told to leave."""
        while not self._may_leave():
            self._runs.expect(time.monotonic() + IDLE_SECONDS)
            self._gather(IDLE_SECONDS if self._leaving_since is None else QUIET_SECONDS / 4)
            while self._batcher:
                if patience := self._batcher.patience():
                    self._gather(patience)
                self._answer(self._batcher.take())
                self._gather(0)

    def _may_leave(self) -> bool:
        if self._leaving_since is None:
            return False
        now = time.monotonic()
        is_quiet = now - max(self._last_request, self._leaving_since) > QUIET_SECONDS
        is_sending = any(connection.outbox for connection in self._connections.values())
        return (is_quiet and not is_sending) or now - self._leaving_since > LEAVE_SECONDS

    # --- in and out -----------------------------------------------------------------------------------------------

    def _gather(self, seconds: float) -> None:
        """Read what has arrived; wait up to `seconds` for something to arrive."""
        if self._accept_at and time.monotonic() >= self._accept_at:
            self._accept_at = 0.0
            self._poll.register(self._listening.fileno(), select.EPOLLIN)
        for descriptor, events in self._poll.poll(seconds):
            if descriptor == self._listening.fileno():
                self._accept()
                continue
            connection = self._connections.get(descriptor)
            if connection is None:
                continue
            if events & select.EPOLLOUT:
                self._send(connection, b"")
            if events & ~select.EPOLLOUT:
                self._read(connection)

    def _accept(self) -> None:
        try:
            connected, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the caller left
        except OSError as error:  # out of descriptors: the connection waits until one is free
            logger.error("event=not_accepted error=%s", error.strerror)  # noqa: TRY400
            self._poll.unregister(self._listening.fileno())
            self._accept_at = time.monotonic() + ACCEPT_AGAIN_SECONDS
            return
        connected.setblocking(False)
        self._count = self._count % 0xFFFFFFFF + 1
        connection = Connection(self._count, connected)
        self._connections[connected.fileno()] = connection
        self._poll.register(connected.fileno(), select.EPOLLIN)
        self._send(connection, encode_frame(Hello(self._digest, connection.number)))

    def _read(self, connection: Connection) -> None:
        try:
            for _ in range(READS_AT_ONCE):
                data = connection.socket.recv(READ_BYTES)
                if not data:
                    self._close(connection)
                    return
                complete = connection.inbox.feed(data)
                if complete is not None:
                    self._take_in(connection, *complete)
                    return
                if len(data) < READ_BYTES:
                    return
        except BlockingIOError:
            return
        except (OSError, BadFrame) as error:
            logger.warning("event=caller_dropped error=%s", error)
            self._close(connection)

    def _take_in(self, connection: Connection, ask: Ask, data: bytearray) -> None:
        self._last_request = now = time.monotonic()
        if len(self._batcher) >= self._options.queue_total:
            self._refuse(connection, "QUEUE_FULL")
            return
        feed, rows = self._contract.decode_inputs(ask.parts, data)
        if not ask.outputs or not self._contract.outputs.keys() >= set(ask.outputs):
            raise BadFrame("the outputs are not the model's.")
        self._batcher.add(Waiting(ask, feed, rows, connection, now))

    def _send(self, connection: Connection, data: bytes) -> bool:
        """Send what the caller takes now; the rest follows as it takes more. Return whether the caller is there."""
        pending = connection.outbox + data if connection.outbox else data
        try:
            sent = os.write(connection.socket.fileno(), pending)  # not `send`, which the sandbox refuses
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return False
        had = bool(connection.outbox)
        connection.outbox = bytearray(pending[sent:])
        if had != bool(connection.outbox):
            wanted = select.EPOLLIN | (select.EPOLLOUT if connection.outbox else 0)
            self._poll.modify(connection.socket.fileno(), wanted)
        return True

    def _close(self, connection: Connection) -> None:
        if self._connections.pop(connection.socket.fileno(), None) is not None:
            self._poll.unregister(connection.socket.fileno())
            connection.socket.close()
            self._batcher.drop(connection)

    # --- runs -----------------------------------------------------------------------------------------------------

    def _answer(self, batch: list[Waiting]) -> None:
        """Run `batch` and answer each of its requests; those whose deadline is over are told so without a run."""
        now = time.monotonic()
        timely = [one for one in batch if one.ask.deadline > now]
        for one in batch:
            if one.ask.deadline <= now:
                self._refuse(one.sender, "DEADLINE")
        if timely:
            self._run(timely)

    def _run(self, batch: list[Waiting]) -> None:
        """Run `batch` as one; where that fails, its halves, until the requests that fail stand alone."""
        started = time.monotonic()
        rows = sum(one.rows for one in batch)
        outputs = batch[0].ask.outputs
        expected = self._batcher.costs.expected(rows, self._warmed_seconds)
        bound = self._bound(batch, expected, started)
        is_cut_short = bound < FULL_SHARE * self._options.deadline_seconds
        until = started + min(bound, max(OVERDUE_SECONDS, OVERDUE_RUNS * expected))
        self._runs.begin([one.sender.number for one in batch], until, is_cut_short=is_cut_short)
        signal.setitimer(signal.ITIMER_REAL, bound)
        try:
            arrays = self._runtime.run(joined(batch), outputs)
            self._check(outputs, arrays, rows)
        except Exception as error:  # noqa: BLE001  (whatever a model raises is that model's failure)
            arrays = None
            problem = error.message if isinstance(error, BadFrame) else type(error).__name__
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._runs.end()
        if arrays is None:
            self._separate(batch, problem)
            return
        run_us = int((time.monotonic() - started) * 1e6)
        untold = rows
        for one, part in zip(batch, parted(batch, arrays), strict=True):
            queue_us = int((started - one.arrived) * 1e6)
            if self._tell(one, part, Told("", [], queue_us, run_us, untold)):
                untold = 0  # to a caller that has gone it was not told
        self._batcher.costs.note(rows, time.monotonic() - started)

    def _separate(self, batch: list[Waiting], problem: str) -> None:
        if len(batch) == 1:
            logger.warning("event=model_failed digest=%s error=%.500r", self._digest[:12], problem)
            self._refuse(batch[0].sender, "MODEL_FAILED")
            return
        middle = len(batch) // 2
        self._answer(batch[:middle])
        self._answer(batch[middle:])

    def _bound(self, batch: list[Waiting], expected: float, now: float) -> float:
        """Return how long a run may take: until nobody waits for it and it takes far longer than its rows do, or the
        deadline.
        """
        wanted = max(one.ask.deadline for one in batch) - now
        hopeless = max(HOPELESS_SECONDS, HOPELESS_RUNS * expected)
        return max(min(self._options.deadline_seconds, max(wanted, hopeless)), 0.001)

    def _check(self, outputs: Sequence[str], arrays: Sequence[np.ndarray], rows: int) -> None:
        if len(arrays) != len(outputs):
            raise BadFrame("the runtime gave another number of outputs than were asked for.")
        for name, array in zip(outputs, arrays, strict=True):
            self._contract.check_output(name, array, rows)

    def _tell(self, one: Waiting, arrays: Sequence[np.ndarray], told: Told) -> bool:
        """Answer one request; return whether its sender is still there to be told."""
        try:
            parts, encoded = self._contract.encode_outputs(one.ask.outputs, arrays)
        except BadFrame as error:
            self._separate([one], error.message)
            return False
        return self._send(one.sender, encode_frame(msgspec.structs.replace(told, parts=parts), encoded))

    def _refuse(self, connection: Connection, code: str) -> None:
        self._send(connection, encode_frame(Told(code, [])))


def main(order: Order) -> int:
    """Load the bundle, say so, answer; return the exit code."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the process: no handler has to find its turn
    _limit(order)
    with os.fdopen(order.report, "wb") as report:
        try:
            bundle = read_bundle(Path(order.folder), order.digest)
            runs = RunsWritten(Path(order.runs))
            listening = listen_on(Path(order.socket))
            confinement = confine(readable=code_places(), accepts=True)  # before anything is made of the bundle
            began = time.monotonic()
            runtime_type = runtime_class(bundle.manifest.runtime)
            import_seconds = time.monotonic() - began
            runtime = runtime_type.load(bundle)
            cost = warm(runtime, bundle)
        except TrivetError as error:
            report.write(msgspec.msgpack.encode(Report(reason=error.message)))
            return 1
        except Exception as error:
            logger.exception("event=model_worker_failed digest=%s", order.digest[:12])
            reason = f"{type(error).__name__} while its runtime loaded it; the log has more"
            report.write(msgspec.msgpack.encode(Report(reason=reason)))
            return 1
        service = Service(runtime, bundle, listening, runs, order.options, cost_us_per_row=cost)
        signal.signal(signal.SIGTERM, lambda *_: service.leave())
        gc.collect()
        gc.freeze()  # what was loaded stays: collections need not look at it again
        tripwire.arm()
        ready = Report(
            runtime=bundle.manifest.runtime,
            import_seconds=import_seconds,
            cost_us_per_row=cost,
            sandbox_level=confinement.level,
        )
        report.write(msgspec.msgpack.encode(ready))
    service.serve()
    runtime.close()
    return 0


def _limit(order: Order) -> None:
    """End with the owner, gain nothing, use no more memory than allowed, leave no core file."""
    end_with(order.owner, signal.SIGKILL)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (order.options.memory_bytes, order.options.memory_bytes))


def stand_by(runtime: str = "") -> int:
    """Import what `runtime` needs, wait for an order, carry it out; return the exit code. Without an order it is not needed."""
    if runtime:
        runtime_class(runtime)
        if thread_count() > 1:  # a process confines one thread only: begin anew, and import after that
            logger.warning("event=model_worker_stands_by_empty runtime=%s threads=%d", runtime, thread_count())
            os.execv(sys.executable, [sys.executable, "-m", MODULE])  # noqa: S606  (our own module)
    text = sys.stdin.buffer.read()  # until its end: that of the owner, too
    return main(_read_order(text)) if text else 0


def _read_order(text: bytes) -> Order:
    try:
        return msgspec.json.decode(text, type=Order)
    except msgspec.DecodeError as error:
        raise BundleError(f"a model worker's order cannot be read: {error}") from None


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s", handlers=[LogSink()])
    sys.exit(stand_by(*sys.argv[1:]))
