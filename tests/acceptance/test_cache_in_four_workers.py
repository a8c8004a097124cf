"""F19, F23 in four web workers that remember, around one Redis that fails in every way: the answers stay what they are."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.connections import connection_to
from tests.acceptance.redis_server import RedisProxy, proxy_before, redis_of_ones_own
from tests.acceptance.servers import clean_environment, copy_project, serving, trivet, wait_for
from tests.acceptance.workshop import install_by_wish
from tests.unit.dataplane.test_cache import DISTINCT, numbers_body
from trivet.dataplane.cache.shared import PREFIX

pytestmark = pytest.mark.service

WORKERS = 4
QUESTIONS = 4  # to each worker
SLOW_SECONDS = 0.5  # longer than a process waits for Redis
PATIENCE_SECONDS = 5.0  # for each worker to find out, of looks and of writes
REGISTER = """
from tests.acceptance.workshop import by_wish_bundle, parrot_bundle
from tests.unit.dataplane.test_cache import NUMBERS
from trivet.control.registry import actions, pushing

for name, bundle in (("double", by_wish_bundle()), ("parrot", parrot_bundle(NUMBERS))):
    version = pushing.register_and_probe(bundle, name=name, actor="test").version
    actions.promote(model=name, version=version.number, actor="test", reason="a test")
"""


class Site:
    """A connection to each of the workers, and what stands between them and Redis."""

    def __init__(self, proxy: RedisProxy, connections: list[http.client.HTTPConnection], keys: list[str]) -> None:
        self.proxy, self.connections, self.keys = proxy, connections, keys
        self._numbers = itertools.count(1)

    def ask(self, worker: int, model: str, body: dict[str, Any], owner: int = 0) -> tuple[list[Any], bool]:
        """Return what a worker answers, and whether that was remembered."""
        connection = self.connections[worker]
        headers = {"Authorization": f"Bearer {self.keys[owner]}"}
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(body), headers)
        response = connection.getresponse()
        told = json.loads(response.read())
        assert response.status == 200, told
        return told["outputs"][0]["data"], told["parameters"]["cached"]

    def double(self, worker: int, value: int) -> bool:
        """Let a worker double a number; return whether it remembered the answer, which is right in any case."""
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [value]}
        answer, is_cached = self.ask(worker, "double", {"inputs": [tensor], "outputs": [{"name": "doubled"}]})
        assert answer == [2 * value]
        return is_cached

    def double_in_all(self) -> list[bool]:
        """Let each worker in turn double a number nobody was asked about; return whether it was remembered by each."""
        value = next(self._numbers)
        return [self.double(worker, value) for worker in range(WORKERS)]

    def double_many(self) -> list[list[bool]]:
        return [self.double_in_all() for _ in range(QUESTIONS)]

    def wait_until_shared(self) -> None:
        """Return once what one worker was told, the others know: a process tries a Redis that failed again later."""
        wait_for(lambda: self.double_in_all() == [False, True, True, True])


@pytest.fixture(scope="module")
def site(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    here, folder = Path(__file__).parents[2], tmp_path_factory.mktemp("four")
    project = copy_project(churn_template.project, folder / "project")
    with ExitStack() as stack:
        proxy = stack.enter_context(proxy_before(stack.enter_context(redis_of_ones_own(folder))))
        environment = {
            "PYTHONPATH": os.pathsep.join([install_by_wish(folder / "installed"), str(here), str(here / "src")]),
            "REDIS_URL": proxy.url,
            "TRIVET_SHARED_CACHE": "redis",
            "TRIVET_CACHE": "on",
        }
        command = [sys.executable, "manage.py", "shell", "-c", REGISTER]
        subprocess.run(command, cwd=project, env=clean_environment(**environment), check=True, timeout=120)
        keys = [
            json.loads(trivet("keys", "create", name, "--model=*", "--verb=predict", "--json", project=project).stdout)
            for name in ("one", "another")
        ]
        server = stack.enter_context(serving(project, workers=WORKERS, **environment))
        workers = wait_for(lambda: len(server.web_workers()) == WORKERS and server.web_workers())
        connections = [connection_to(server.port, worker) for worker in workers]
        for connection in connections:
            stack.callback(connection.close)
        site = Site(proxy, connections, [key["key"] for key in keys])
        site.wait_until_shared()
        yield site


def slowly(reply: bytes) -> bytes:
    threading.Event().wait(SLOW_SECONDS)
    return reply


CHANCE = random.Random(19)


def with_one_byte_wrong(reply: bytes) -> bytes:
    at = CHANCE.randrange(len(reply))
    return reply[:at] + bytes([reply[at] ^ CHANCE.randrange(1, 256)]) + reply[at + 1 :]


WEATHERS: dict[str, Callable[[bytes], bytes]] = {
    "slow": slowly,
    "one byte wrong": with_one_byte_wrong,
    "no redis": lambda reply: b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("weather", WEATHERS)
def test_F19_redis_that_is_slow_or_answers_garbage_changes_no_answer_of_four_workers(site: Site, weather: str):
    before = site.proxy.replies
    site.proxy.weather = WEATHERS[weather]
    try:
        started = time.monotonic()
        remembered = site.double_many()
        took = time.monotonic() - started
    finally:
        site.proxy.weather = bytes
    assert site.proxy.replies > before
    assert [False] * WORKERS in remembered  # nobody had it from Redis
    assert took < PATIENCE_SECONDS  # nobody waits for it each time, which would take 8 s
    site.wait_until_shared()


def test_F19_redis_that_is_down_changes_no_answer_of_four_workers(site: Site):
    site.proxy.behind.stop()
    try:
        remembered = site.double_many()
    finally:
        site.proxy.behind.start()
    assert remembered == [[False] * WORKERS] * QUESTIONS
    site.wait_until_shared()


def test_F19_redis_that_evicts_changes_no_answer_of_four_workers(site: Site):
    with site.proxy.behind.client() as client:
        for _ in range(QUESTIONS):
            value = next(site._numbers)
            assert not site.double(0, value)
            client.delete(*(client.keys(PREFIX + b"*") or [b"none"]))
            assert not site.double(1, value)
            assert site.double(0, value)  # it has not forgotten


def test_F23_no_two_questions_to_four_workers_share_an_answer(site: Site):
    fresh = [site.ask(0, "parrot", numbers_body(**one) | {"parameters": {"cache": False}}) for one in DISTINCT]
    assert len({answer for (answer,), _ in fresh}) == len(DISTINCT)
    assert not any(is_cached for _, is_cached in fresh)
    for again, worker in itertools.product((False, True), range(WORKERS)):
        for one, (expected, _) in zip(DISTINCT, fresh, strict=True):
            plain = numbers_body(**one)
            reordered = {"inputs": plain["inputs"][::-1]} | {"id": f"id-{worker}", "parameters": {"note": worker}}
            answer, is_cached = site.ask(worker, "parrot", reordered if again else plain, owner=worker % 2)
            assert answer == expected, one
            assert is_cached or not again, one  # by its own memory, whoever asks and in whatever order
