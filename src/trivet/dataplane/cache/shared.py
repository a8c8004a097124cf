"""The second level: answers that other processes gave, in Redis. Whatever happens to it costs time and nothing else.

An entry is a checksum, keyed, of the rest; the BLAKE2b-256 of what was asked; and the arrays, as msgpack. Nothing in it
is believed that the checksum does not cover, and no answer is taken that was not given to exactly this question.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import redis

from trivet.core.datatypes import NUMPY_DTYPES
from trivet.dataplane.cache.memory import Arrays

logger = logging.getLogger(__name__)

PREFIX = b"trivet:cache:1:"  # the number is that of the entries' format
FLIGHT_PREFIX = b"trivet:flight:1:"
TIMEOUT_SECONDS = 0.005  # a model worth a round trip takes about as long; a store slower than this is none
FLIGHT_SECONDS = 0.25  # for what is said of a run: not knowing costs a run more, just when many ask at once
CONNECT_SECONDS = 0.05
CONNECTIONS = 16  # open at once, of one process, for looks; and as many for runs
KEEP_SECONDS = 24 * 3600
LARGEST_BYTES = 1024 * 1024  # of one entry
FAILED_SECONDS = 1.0  # for so long nobody waits for a run of what had no answer to share
FAILURES = 3  # in a row, before it is left alone
PAUSE_SECONDS = 1.0  # for so long, and twice as long each time it fails again
LONGEST_PAUSE_SECONDS = 30.0
CHECKSUM_BYTES = 16

_DATATYPES = {dtype.str: dtype for dtype in NUMPY_DTYPES.values()}


class _Array(msgspec.Struct, array_like=True):
    dtype: str
    shape: tuple[int, ...]
    values: bytes | list[str]


class _Entry(msgspec.Struct, array_like=True):
    asked: bytes
    arrays: list[_Array]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


_FLYING, _FAILED = b"1", b"0"


class Boarding(NamedTuple):
    """What is known of a question: its answer, or else whether it is to be waited for, as another process runs it."""

    arrays: Arrays | None = None
    is_flying_elsewhere: bool = False


class SharedCache:
    """Answers by key in one Redis. Thread-safe; a call blocks for milliseconds at most, so never on an event loop."""

    def __init__(
        self,
        address: str,
        secret: bytes,
        *,
        options: Mapping[str, Any] | None = None,  # Any: what a pool of redis-py takes
        timeout: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`address` is a URL (`redis://`, `rediss://`, `unix://`); nothing is connected yet. Raises `ValueError`."""
        self._client = _client(address, timeout, options or {})
        self._patient = _client(address, max(timeout, FLIGHT_SECONDS), options or {})
        self._secret = secret
        self._looks, self._runs = Breaker(clock), Breaker(clock)  # Redis may read and not write: clients are paused so

    def get(self, key: bytes, inputs: bytes) -> Arrays | None:
        """Return the arrays kept for exactly these `inputs`, read-only; None when there are none, or no telling."""
        data = self._ask(self._looks, lambda: self._client.get(PREFIX + key))
        return _opened(self._secret, key, inputs, data) if isinstance(data, bytes) else None

    def board(self, key: bytes, inputs: bytes, seconds: float) -> Boarding:
        """Take the run for this question upon oneself for `seconds`, unless it was answered or another process has it.

        Who has taken it calls `put` or `abandon`; where neither comes, its process was killed and the claim lapses. No
        answer rests on a claim: with two of them, or with none as there is no telling, there is a run more.
        """
        said = self._ask(self._runs, lambda: self._claim(key, seconds))
        if not isinstance(said, list):
            return Boarding()
        is_mine, data, flight = said
        kept = _opened(self._secret, key, inputs, data) if isinstance(data, bytes) else None
        return Boarding(kept, not is_mine and flight == _FLYING)

    def _claim(self, key: bytes, seconds: float) -> list[Any]:  # Any: whatever Redis replies
        with self._patient.pipeline(transaction=False) as pipeline:
            pipeline.set(FLIGHT_PREFIX + key, _FLYING, nx=True, px=math.ceil(seconds * 1000))
            pipeline.get(PREFIX + key)  # after the claim: what was put before it is seen
            pipeline.get(FLIGHT_PREFIX + key)
            return pipeline.execute()

    def put(self, key: bytes, inputs: bytes, arrays: Sequence[np.ndarray]) -> None:
        """Keep `arrays` for a day, if they can be kept, and let nobody wait for them any more."""
        data = _sealed(self._secret, key, inputs, arrays)
        if data is None or len(data) > LARGEST_BYTES:
            self.abandon(key)
        else:
            self._ask(self._runs, lambda: self._land(key, data))

    def _land(self, key: bytes, data: bytes) -> None:
        with self._patient.pipeline(transaction=False) as pipeline:
            pipeline.set(PREFIX + key, data, ex=KEEP_SECONDS)
            pipeline.delete(FLIGHT_PREFIX + key)
            pipeline.execute()

    def abandon(self, key: bytes) -> None:
        """Tell those who wait that there is no answer to come: each runs the model itself, and none after the other."""
        self._ask(self._runs, lambda: self._patient.set(FLIGHT_PREFIX + key, _FAILED, px=int(FAILED_SECONDS * 1000)))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._patient.close()

    def _ask(self, breaker: Breaker, command: Callable[[], object]) -> object:
        if not breaker.allows():
            return None
        try:
            answer = command()
        except (redis.RedisError, OSError, ValueError) as error:  # ValueError: what is no reply of Redis at all
            if breaker.failed():
                logger.warning("event=shared_cache_away error=%s", type(error).__name__)
            return None
        if breaker.succeeded():
            logger.warning("event=shared_cache_back")
        return answer


def _client(address: str, timeout: float, options: Mapping[str, Any]) -> redis.Redis:
    pool = redis.BlockingConnectionPool.from_url(
        address,
        **{
            "max_connections": CONNECTIONS,
            "timeout": timeout,
            "socket_timeout": timeout,
            "socket_connect_timeout": max(timeout, CONNECT_SECONDS),
            "retry": None,
            "protocol": 2,  # nothing but replies: no pushes, no maintenance notices
            **options,
        },
    )
    return redis.Redis(connection_pool=pool)


class Breaker:
    """Leaves a thing alone that keeps failing, and tries it again with one call at a time. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._until = -math.inf
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Return whether to try now."""
        if self._failures < FAILURES:
            return True
        with self._lock:
            now = self._clock()
            if now < self._until:
                return False
            self._until = now + PAUSE_SECONDS  # the others wait for how this one goes
            return True

    def failed(self) -> bool:
        """Count a failure; return whether it is the one that opens the breaker."""
        with self._lock:
            self._failures += 1
            over = self._failures - FAILURES
            if over >= 0:
                self._until = self._clock() + min(PAUSE_SECONDS * 2 ** min(over, 10), LONGEST_PAUSE_SECONDS)
            return over == 0

    def succeeded(self) -> bool:
        """Forget the failures; return whether the breaker was open."""
        if not self._failures:
            return False
        with self._lock:
            was_open = self._failures >= FAILURES
            self._failures = 0
            return was_open


def _sealed(secret: bytes, key: bytes, inputs: bytes, arrays: Sequence[np.ndarray]) -> bytes | None:
    try:
        body = _encode(_Entry(_asked(inputs), [_portable(array) for array in arrays]))
    except (UnicodeEncodeError, TypeError):
        return None
    return _checksum(secret, key, body) + body


def _opened(secret: bytes, key: bytes, inputs: bytes, data: bytes) -> Arrays | None:
    checksum, body = data[:CHECKSUM_BYTES], data[CHECKSUM_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(secret, key, body)):
        return None
    entry = _decode(body)  # ours: the checksum is keyed
    if entry.asked != _asked(inputs):
        return None
    return tuple(_array(portable) for portable in entry.arrays)


def _portable(array: np.ndarray) -> _Array:
    values = array.ravel().tolist() if array.dtype.kind == "O" else array.tobytes()
    if array.dtype.str not in _DATATYPES or (type(values) is list and not all(type(text) is str for text in values)):
        raise TypeError("an array that has no portable form")
    return _Array(array.dtype.str, array.shape, values)


def _array(portable: _Array) -> np.ndarray:
    if isinstance(portable.values, bytes):
        return np.frombuffer(portable.values, _DATATYPES[portable.dtype]).reshape(portable.shape)
    array = np.empty(len(portable.values), dtype=object)
    array[:] = portable.values
    array = array.reshape(portable.shape)
    array.flags.writeable = False
    return array


def _asked(inputs: bytes) -> bytes:
    return hashlib.blake2b(inputs, digest_size=32).digest()


def _checksum(secret: bytes, key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(key + body, digest_size=CHECKSUM_BYTES, key=secret, person=b"trivet entry").digest()
