"""One version in model workers, as a process that asks them knows it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trivet.core.errors import BundleError, DeadlineExceeded, Unavailable
from trivet.dataplane.engines.base import LoadedVersion, Made, Standing
from trivet.dataplane.engines.worker.balancer import ENDED, Backend, Balancer
from trivet.dataplane.engines.worker.connection import Connection
from trivet.dataplane.engines.worker.control import Options, Peer, State, Want
from trivet.dataplane.engines.worker.frames import Ask, BadFrame, Contract, Part, Told, encode_frame
from trivet.model.bundle.bundle import Bundle
from trivet.model.environments.environment import needs_of

logger = logging.getLogger(__name__)

ATTEMPTS = 6  # of one request: one that shared a run with whatever killed a model worker runs twice, no oftener
RETURN_SECONDS = 2.0  # how long a request waits for a model worker to come back,
RETURN_LOADS = 2.0  # or this many times as long as the last one took to load: native libraries take seconds
PATIENCE_SECONDS = (
    1.0  # an answer later than this, and than 20 usual ones, is the model worker's fault and not its caller's
)
PATIENCE_RUNS = 20
MOST_PUT_BYTES = 64 * 1024  # of a frame that is sent without waiting: an idle socket takes three times as much


class _Call(NamedTuple):
    """One request, ready to be sent, as often as it takes."""

    outputs: list[str]
    parts: list[Part]
    encoded: list[bytes]
    rows: int
    deadline: float


class _Put:
    """One request that was sent to an instance, and its answer as it arrives."""

    def __init__(
        self, version: WorkerVersion, call: _Call, backend: Backend, number: int, connection: Connection
    ) -> None:
        self.call = call
        self.backend = backend
        self.number = number
        self.connection = connection
        self.deadline = call.deadline
        self.started = time.monotonic()
        self._version = version
        self._told: tuple[Told, bytearray] | None = None
        self._failure: OSError | BadFrame | None = None

    def fileno(self) -> int:
        return self.connection.fileno()

    def look(self) -> bool:
        try:
            self._told = self.connection.look()
        except (OSError, BadFrame) as error:
            self._failure = error
        return self._told is not None or self._failure is not None

    @property
    def is_answered(self) -> bool:
        return self._told is not None and not self._told[0].code

    def answer(self) -> list[np.ndarray]:
        return self._version.take(self)

    def receive(self) -> tuple[Told, bytearray]:
        """Return the answer, which may take until the deadline; raises what looking for it raised."""
        if self._failure is not None:
            raise self._failure
        return self._told if self._told is not None else self.connection.receive(self.deadline)


class WorkerVersion(LoadedVersion):
    """One version in model workers. Thread-safe; `run` blocks its thread."""

    runs_inline = False

    def __init__(
        self, bundle: Bundle, options: Options, max_answer_bytes: int, on_unload: Callable[[WorkerVersion], None]
    ) -> None:
        self.bundle: Bundle | None = bundle  # until an instance has loaded it
        self.digest = bundle.digest
        self.options = options
        needs = needs_of(bundle)
        self._environment = needs.key if needs is not None else ""
        self.restarts: dict[str, int] = {}  # of its instances, by reason
        self.rss_bytes = 0
        self.peers: Sequence[Peer] = ()  # the instances that answer: their processes, and how far each is confined
        self._contract = Contract(bundle.signature, bundle.manifest.packs)
        self._max_answer_bytes = max_answer_bytes
        self._on_unload = on_unload
        self._balancer = Balancer(bundle.digest)
        self._under_way = 0
        self._counting = threading.Lock()
        self._return_seconds = RETURN_SECONDS
        self._known = threading.Event()  # something was heard of it
        self._failure = ""

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float = math.inf
    ) -> list[np.ndarray]:
        self._enter()
        try:
            return self._run(self._call(inputs, outputs, deadline))
        finally:
            self._leave()

    @property
    def want(self) -> Want:
        """What the owner is told."""
        return Want(self.digest, self.options, self._environment)

    @property
    def takes_questions(self) -> bool:
        return self._balancer.has_spare()

    def put(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float = math.inf) -> _Put | None:
        """Ask an instance over a connection that is open and idle; None where there is none, or more to send than fits."""
        call = self._call(inputs, outputs, deadline)
        if sum(map(len, call.encoded)) > MOST_PUT_BYTES:
            return None
        self._enter()
        put = None
        try:
            put = self._put(call)
        finally:
            if put is None:
                self._leave()
        return put

    def take(self, put: _Put) -> list[np.ndarray]:
        """Return the answer to what was `put`; where there is none yet, wait, and where the instance ended, ask again."""
        try:
            return self._run(put.call, put)
        finally:
            self._leave()

    def ensure_ready(self) -> None:
        if why := self._balancer.why_not():
            raise self._unavailable(why)

    def unload(self) -> None:
        self._on_unload(self)
        self._balancer.follow(())

    @property
    def standing(self) -> Standing:
        return Standing(
            instances=self._balancer.instances,
            wanted=self.options.instances,
            rss_bytes=self.rss_bytes,
            restarts=self.restarts,
            waiting=self._under_way,
            is_breaker_open=self._balancer.is_open,
            max_batch_rows=self.options.max_batch_size if self._contract.splits else 1,
            max_batch_delay_ms=self.options.max_batch_delay_ms,
        )

    # --- one request ----------------------------------------------------------------------------------------------

    def _enter(self) -> None:
        with self._counting:
            if self._under_way >= self.options.queue_length:
                raise Unavailable(f"over {self.options.queue_length} requests wait; ask again.", code="QUEUE_FULL")
            self._under_way += 1

    def _leave(self) -> None:
        with self._counting:
            self._under_way -= 1

    def _call(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float) -> _Call:
        parts, encoded = self._contract.encode_inputs(inputs)
        rows = parts[0].shape[0] if self._contract.has_rows else 1
        until = min(deadline, time.monotonic() + self.options.deadline_seconds)
        return _Call(list(outputs), parts, encoded, rows, until)

    def _put(self, call: _Call) -> _Put | None:
        chosen = self._balancer.choose(0.0, None)
        if chosen is None:
            return None
        backend, number = chosen
        connection = backend.spare()
        put = None
        try:
            if connection is not None:
                connection.put(_frame(call, is_alone=False))
                put = _Put(self, call, backend, number, connection)
        except OSError:
            pass  # it went away while nobody looked; `run` finds another
        finally:
            if put is None:
                _close(connection)
                self._balancer.ended(backend, number, is_failure=False, is_gone=False)
        return put

    def _run(self, call: _Call, put: _Put | None = None) -> list[np.ndarray]:
        backend: Backend | None = None
        times_suspected = 0
        for _ in range(ATTEMPTS):
            if put is not None:
                backend, number = put.backend, put.number
                answer = self._ask(backend, number, call, is_alone=False, put=put)
                put = None
            else:
                backend, number = self._chosen(call, backend)
                answer = self._ask(backend, number, call, is_alone=times_suspected > 0)
            if isinstance(answer, tuple):
                return self._read(backend, number, call, *answer)
            times_suspected += answer
            if times_suspected > 1:
                break
        raise Unavailable("the model's process ended while it ran this request.", code="MODEL_FAILED")

    def _chosen(self, call: _Call, avoid: Backend | None) -> tuple[Backend, int]:
        chosen = self._balancer.choose(min(call.deadline, time.monotonic() + self._return_seconds), avoid)
        if chosen is not None:
            return chosen
        if time.monotonic() >= call.deadline:
            raise _too_late()
        raise self._unavailable()

    def _ask(
        self, backend: Backend, number: int, call: _Call, *, is_alone: bool, put: _Put | None = None
    ) -> tuple[Told, bytearray] | bool:
        """Return the answer; or, when the instance went away, whether this request was running then."""
        connection = None if put is None else put.connection
        started = time.monotonic() if put is None else put.started
        try:
            if put is not None:
                answer = put.receive()
            else:
                connection = backend.connection(call.deadline)
                answer = connection.ask(_frame(call, is_alone=is_alone), call.deadline)
        except TimeoutError:
            usual = max(backend.usual_seconds, call.rows * self.cost_us_per_row / 1e6)
            is_late = time.monotonic() - started > max(PATIENCE_SECONDS, PATIENCE_RUNS * usual)
            is_failure = connection is not None and is_late  # nothing was asked of one that was busy with somebody else
            self._balancer.ended(backend, number, is_failure=is_failure, is_gone=False)
            _close(connection)
            raise _too_late() from None
        except BadFrame as error:
            self._distrust(backend, number, error)
            _close(connection)
            raise Unavailable("the model's process answered what nobody asked.", code="MODEL_FAILED") from error
        except OSError as error:
            is_gone = isinstance(
                error, ConnectionError | FileNotFoundError
            )  # else this process has run out of something
            was_running = is_gone and connection is not None and backend.was_running(connection)
            self._balancer.ended(backend, number, is_failure=was_running, is_gone=is_gone)
            _close(connection)
            if time.monotonic() >= call.deadline:
                raise _too_late() from None
            if not is_gone:
                logger.warning("event=model_worker_not_asked digest=%s error=%s", self.digest[:12], error)
                why = f"the model's process cannot be asked now: {error.strerror or type(error).__name__}. Ask again."
                raise Unavailable(why, code="MODEL_FAILED") from error
            return was_running
        backend.give_back(connection)  # type: ignore[arg-type]  # whoever answered had one
        return answer

    def _read(self, backend: Backend, number: int, call: _Call, told: Told, data: bytearray) -> list[np.ndarray]:
        if not told.code:
            try:
                arrays = self._contract.decode_outputs(
                    call.outputs, told.parts, data, call.rows, self._max_answer_bytes
                )
            except BadFrame as error:
                self._distrust(backend, number, error)
                raise Unavailable("the model answered against its signature.", code="MODEL_FAILED") from error
            self._balancer.succeeded(backend, number)
            return Made(arrays, queued_ns=told.queue_us * 1000, run_ns=told.run_us * 1000, run_rows=told.run_rows)
        self._balancer.ended(backend, number, is_failure=False, is_gone=False)
        if told.code == "DEADLINE":
            raise _too_late()
        if told.code == "QUEUE_FULL":
            raise Unavailable("too many requests wait for this model; ask again.", code="QUEUE_FULL")
        raise Unavailable("the model failed on this request.", code="MODEL_FAILED")

    def _distrust(self, backend: Backend, number: int, error: BadFrame) -> None:
        logger.error("event=model_worker_distrusted digest=%s error=%s", self.digest[:12], error)
        self._balancer.ended(backend, number, is_failure=True, is_gone=False)

    def _unavailable(self, why: str = ENDED) -> Unavailable:
        why = self._failure or why
        return Unavailable(f"no model worker answers for this version: {why}. Ask again.", code="MODEL_FAILED")

    # --- what the owner says --------------------------------------------------------------------------------------

    def hear(self, state: State) -> None:
        """Take in how the version is."""
        self._failure = state.reason
        self.restarts = state.restarts
        self.rss_bytes = state.rss_bytes
        self.cost_us_per_row = state.cost_us_per_row
        self.peers = state.peers
        if state.peers:
            self._return_seconds = max(RETURN_SECONDS, *(RETURN_LOADS * peer.load_seconds for peer in state.peers))
        self._balancer.follow(state.peers, state.cost_us_per_row / 1e6)
        if state.peers or state.is_failed:
            self._known.set()

    def lose(self, reason: str) -> None:
        """Take in that the owner is away: so are its model workers."""
        self._failure = reason
        self._balancer.follow(())

    def wait_loaded(self, until: float) -> None:
        """Return once an instance answers; raises `BundleError` when none can, or none has by `until`."""
        while not self._known.wait(0.05):
            if self._failure:
                raise BundleError(self._failure)
            if time.monotonic() > until:
                raise BundleError("its model worker did not start in time.")
        if self._failure:
            raise BundleError(f"bundle {self.digest[:12]}…: {self._failure}.")
        self.bundle = None  # the model workers have it


def _frame(call: _Call, *, is_alone: bool) -> bytes:
    return encode_frame(Ask(call.deadline, call.outputs, call.parts, is_alone), call.encoded)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("no answer before the deadline. Send fewer rows at a time, or allow more time.")
