"""F19: the second level of the cache, in a real Redis that is stopped, slow, full, or says what it likes."""

from __future__ import annotations

import os
import pickle
import signal
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis, strategies as st

from tests.acceptance.redis_server import RedisServer
from tests.unit.dataplane.remembering import (
    DEADLINE,
    SECRET,
    Engine,
    a_cache,
    answer,
    lookups,
    runs,
    together,
    wait_until,
)
from tests.unit.dataplane.world import World, infer_body
from trivet.dataplane.cache.memory import Memory, frozen
from trivet.dataplane.cache.prediction_cache import CLAIM_SECONDS
from trivet.dataplane.cache.shared import (
    FAILURES,
    FLIGHT_PREFIX,
    LARGEST_BYTES,
    LONGEST_PAUSE_SECONDS,
    PREFIX,
    Breaker,
    SharedCache,
    _opened,
    _sealed,
)

pytestmark = pytest.mark.service

GENEROUS_SECONDS = 2.0  # where Redis shall be in time, however busy the machine
AGES = [float(age) for age in range(20)]


class Site:
    """Several processes of one site, each with its own memory, around one Redis. `now` is their clock."""

    def __init__(self, folder, url: str) -> None:
        self.folder, self.url = folder, url
        self.levels: list[SharedCache] = []
        self.now = 0.0

    def process(self, *, secret: bytes = SECRET, timeout: float = GENEROUS_SECONDS, hash_of=None) -> World:
        level = SharedCache(self.url, secret, timeout=timeout, clock=lambda: self.now)
        self.levels.append(level)
        folder = self.folder / str(len(self.levels))
        return World(folder, cache=a_cache(shared=level, hash_of=hash_of), engine=Engine())

    def close(self) -> None:
        for level in self.levels:
            level.close()


@pytest.fixture
def site(tmp_path, redis_server) -> Iterator[Site]:
    site = Site(tmp_path, redis_server.url)
    yield site
    site.close()


def answers(world: World) -> list:
    return [answer(world, infer_body(age=[age]))[0] for age in AGES]


@pytest.fixture
def right(tmp_path) -> list:
    """What the model says, without any cache."""
    return answers(World(tmp_path / "plain"))


def test_what_one_process_was_told_the_others_need_not_ask(site, right):
    first, second = site.process(), site.process()
    assert answers(first) == right
    assert answers(second) == right
    assert (runs(first), runs(second)) == (len(AGES), 0)
    assert lookups(second) == {"shared": len(AGES)}
    assert all(record.cached for record in second.records())
    assert answers(second) == right  # and now from its own memory
    assert lookups(second) == {"shared": len(AGES), "hit": len(AGES)}


def test_nothing_is_kept_for_ever(site, redis_server):
    answer(site.process())
    with redis_server.client() as client:
        (key,) = client.keys()
        assert key.startswith(PREFIX)
        assert 0 < client.ttl(key) <= 24 * 3600


def test_another_site_with_the_same_redis_shares_nothing(site, right):
    answers(site.process())
    stranger = site.process(secret=b"the secret of another site")
    assert answers(stranger) == right
    assert runs(stranger) == len(AGES)


def test_many_who_ask_the_same_ask_redis_once(site):
    world = site.process()
    together(world, 50)
    assert runs(world) == 1


class Crowd:
    """Four processes of a site, each asked the same several times, while the first of them is held up in its run."""

    def __init__(self, site: Site, pool: ThreadPoolExecutor) -> None:
        self.leader, *self.others = self.worlds = [site.process() for _ in range(4)]
        self.model = self.leader.engine.loaded[0]
        self.model.gate.clear()
        self.first = pool.submit(self.leader.ask)
        assert self.model.has_begun.wait(DEADLINE)
        self.rest: list[Future] = [pool.submit(world.ask) for world in self.worlds for _ in range(5)]

    def statuses(self) -> set[int]:
        return {future.result(DEADLINE)[0] for future in self.rest}

    def runs(self) -> list[int]:
        return [runs(world) for world in self.worlds]


@pytest.fixture
def crowd(site) -> Iterator[Crowd]:
    with ThreadPoolExecutor(21) as pool:
        crowd = Crowd(site, pool)
        yield crowd
        crowd.model.gate.set()


def boarded(crowd: Crowd) -> bool:
    """True once somebody of every other process is on the way to Redis, to wait for the run there."""
    return wait_until(lambda: all(world.plane.reconciler.cache.flights._flights for world in crowd.others))


def test_F20_those_who_ask_the_same_of_four_processes_at_once_are_one_run(crowd, redis_server):
    assert boarded(crowd)
    assert not any(future.done() for future in crowd.rest)
    crowd.model.gate.set()
    assert crowd.first.result(DEADLINE)[0] == 200
    assert crowd.statuses() == {200}
    assert crowd.runs() == [1, 0, 0, 0]
    assert all(lookups(world)["shared"] == 1 for world in crowd.others)
    assert wait_until(lambda: not keys_of_flights(redis_server))


def keys_of_flights(redis_server: RedisServer) -> list[bytes]:
    with redis_server.client() as client:
        return client.keys(FLIGHT_PREFIX + b"*")


def test_F21_a_run_that_fails_lets_the_other_processes_run_at_once(site):
    failing, other = site.process(), site.process()
    failing.engine.loaded[0].fails = 1
    assert failing.ask()[0] == 503
    started = time.monotonic()
    assert not answer(other)[1]
    assert time.monotonic() - started < CLAIM_SECONDS


def test_F21_a_claim_whose_process_is_gone_lapses_and_one_other_runs(crowd):
    assert boarded(crowd)  # and the first never comes back: its gate stays shut
    assert {future.result(DEADLINE)[0] for future in crowd.rest[5:]} == {200}
    assert sorted(crowd.runs()[1:]) == [0, 0, 1]


def test_nobody_waits_for_an_answer_that_is_too_large_to_share(site, redis_server):
    level = site.process() and site.levels[0]
    assert not level.board(KEY, b"asked", 60.0).is_flying_elsewhere
    assert level.board(KEY, b"asked", 60.0).is_flying_elsewhere
    level.put(KEY, b"asked", frozen([np.zeros(LARGEST_BYTES)]))
    assert level.board(KEY, b"asked", 60.0) == (None, False)


def test_F19_redis_that_was_never_there(tmp_path, right):
    site = Site(tmp_path, "redis://127.0.0.1:1/0")
    world = site.process()
    assert answers(world) == right
    site.close()


def test_F19_redis_that_dies_and_comes_back(site, redis_server, right):
    world = site.process()
    assert answers(world) == right
    redis_server.stop()
    world.plane.reconciler.cache.memory = Memory(0)  # nothing is left to fall back on
    assert answers(world) == right
    redis_server.start()
    other = site.process()
    answers(other)
    site.now += LONGEST_PAUSE_SECONDS
    before = runs(world)
    assert answers(world) == right
    assert runs(world) == before  # it looks there again


def test_F19_redis_that_hangs_costs_milliseconds_a_few_times_and_then_nothing(site, redis_server, right):
    world = site.process(timeout=0.005)
    redis_server.signal(signal.SIGSTOP)
    started = time.monotonic()
    assert answers(world) == right
    assert together(world, 20, infer_body(age=[99]))[0][0] == 200
    assert time.monotonic() - started < 2.0  # twenty-one times 5 ms twice, and the machine's own business
    assert runs(world) == len(AGES) + 1


def test_F19_redis_that_answers_looks_and_lets_writes_wait_costs_as_little(site, redis_server, right):
    world = site.process(timeout=0.05)
    with redis_server.client() as client:
        client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")  # as when another takes its place
    started = time.monotonic()
    assert answers(world) == right
    assert time.monotonic() - started < 3.0  # three times 250 ms, and the machine's own business: not for each question
    with redis_server.client() as client:
        client.execute_command("CLIENT", "UNPAUSE")


def test_F19_redis_that_is_full(site, redis_server, right):
    with redis_server.client() as client:
        client.config_set("maxmemory", "1")
        client.config_set("maxmemory-policy", "noeviction")
    first, second = site.process(), site.process()
    assert answers(first) == right
    assert answers(second) == right


def test_F19_redis_that_evicts(site, redis_server, right):
    first, second = site.process(), site.process()
    answers(first)
    with redis_server.client() as client:
        kept = client.keys()
        client.delete(*kept[: len(kept) // 2])
    assert answers(second) == right
    assert runs(second) == len(AGES) // 2


class Canary:
    """Unpickled, it would leave a trace."""

    touched = False

    def __reduce__(self):
        return setattr, (Canary, "touched", True)


@pytest.mark.parametrize(
    "garble",
    [
        lambda value, others: b"",
        lambda value, others: b"garbage",
        lambda value, others: value[:-1],
        lambda value, others: value + b"\x00",
        lambda value, others: others[0] if others[0] != value else others[1],
        lambda value, others: value[:40] + bytes([value[40] ^ 1]) + value[41:],
        lambda value, others: pickle.dumps(Canary()),
        lambda value, others: os.urandom(len(value)),
    ],
    ids=["empty", "text", "cut", "longer", "of another question", "one bit", "pickle", "noise"],
)
def test_F19_redis_that_answers_garbage(site, redis_server, right, garble):
    answers(site.process())
    with redis_server.client() as client:
        values = {key: client.get(key) for key in client.scan_iter()}
        for key, value in values.items():
            client.set(key, garble(value, list(values.values())))
    world = site.process()
    assert answers(world) == right
    assert runs(world) == len(AGES)
    assert not Canary.touched


def test_F19_redis_that_holds_something_else_under_our_keys(site, redis_server, right):
    answers(site.process())
    with redis_server.client() as client:
        for key in client.keys(PREFIX + b"*"):
            client.delete(key)
            client.lpush(key, b"a list")
    assert answers(site.process()) == right


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$-7\r\n",
        b"$5\r\nhello\r\n",
        b":1\r\n",
        b"*3\r\n+a\r\n",
        b"\x00\xff\r\n",
        b"$9x\r\n\r\n",
        b"",
    ],
)
def test_F19_what_is_no_redis_at_all(tmp_path, right, reply):
    class Stranger(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while reply and self.request.recv(4096):
                self.request.sendall(reply)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Stranger) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = Site(tmp_path, f"redis://127.0.0.1:{server.server_address[1]}/0")
        assert answers(site.process(timeout=0.05)) == right
        site.close()
        server.shutdown()


def test_a_forced_collision_gives_no_answer_of_another_question(site, right):
    processes = [site.process(hash_of=lambda _: bytes(16)) for _ in range(2)]
    for world in processes:
        assert answers(world) == right
    assert answers(processes[0])[::-1] == right[::-1]


def test_the_breaker_tries_one_at_a_time_and_waits_longer_each_time():
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    assert [breaker.failed() for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    waits = []
    for _ in range(7):
        start = now[0]
        while not breaker.allows():
            now[0] += 0.5
        assert not breaker.allows()  # one call is out to see
        breaker.failed()
        waits.append(now[0] - start)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    now[0] += LONGEST_PAUSE_SECONDS
    assert breaker.allows()
    assert breaker.succeeded()
    assert breaker.allows()


PORTABLE = st.one_of(
    st.lists(st.floats(width=64), max_size=4).map(lambda v: np.array(v, dtype=np.float64)),
    st.lists(st.floats(width=16), max_size=4).map(lambda v: np.array(v, dtype=np.float16)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda v: np.array(v, dtype=np.int64)),
    st.lists(st.booleans(), max_size=4).map(lambda v: np.array(v, dtype=np.bool_)),
    st.lists(st.text(max_size=3), max_size=4).map(lambda v: np.array(v, dtype=object)),
).flatmap(lambda array: st.sampled_from([array, array.reshape(-1, 1)]))
KEY = bytes(16)


@hypothesis(deadline=None)
@given(st.lists(PORTABLE, max_size=3), st.binary(max_size=20))
def test_what_is_sealed_opens_to_the_same_bits_for_the_same_question_only(arrays, inputs):
    sealed = _sealed(SECRET, KEY, inputs, frozen(arrays))
    if sealed is None:  # a lone surrogate has no form outside this process
        return
    opened = _opened(SECRET, KEY, inputs, sealed)
    assert [(a.dtype, a.shape, a.tolist() if a.dtype.kind == "O" else a.tobytes()) for a in opened] == [
        (a.dtype, a.shape, a.tolist() if a.dtype.kind == "O" else a.tobytes()) for a in arrays
    ]
    assert not any(array.flags.writeable for array in opened)
    assert _opened(SECRET, KEY, inputs + b"x", sealed) is None
    assert _opened(SECRET, b"another key 16 b", inputs, sealed) is None
    for place in range(len(sealed)):
        assert _opened(SECRET, KEY, inputs, sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]) is None
