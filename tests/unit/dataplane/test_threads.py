"""A pool that cannot start a thread: the work is refused or done, never both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from trivet.dataplane.frontends.threads import NoThread, submit

SECONDS = 30


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_what_is_done_is_returned_and_what_fails_is_raised(pool: ThreadPoolExecutor):
    assert submit(pool, lambda: 3).result(SECONDS) == 3
    failed = submit(pool, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(SECONDS)


def test_F28_without_a_thread_it_is_refused_and_not_done_later(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []
    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(NoThread):
            submit(pool, lambda: done.append("for nobody"))
    submit(pool, lambda: done.append("asked")).result(SECONDS)
    assert done == ["asked"]


def test_F28_what_a_thread_that_became_free_has_begun_is_not_refused(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
):
    is_free, has_begun = threading.Event(), threading.Event()

    def begun() -> str:
        has_begun.set()
        return "done"

    def no_thread_but_a_free_one(_: threading.Thread) -> None:
        is_free.set()
        assert has_begun.wait(SECONDS)
        raise RuntimeError("can't start new thread")

    busy = submit(pool, lambda: is_free.wait(SECONDS))
    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", no_thread_but_a_free_one)
        assert submit(pool, begun).result(SECONDS) == "done"
    assert busy.result(SECONDS)


def test_a_pool_that_has_ended_refuses(pool: ThreadPoolExecutor):
    pool.shutdown()
    with pytest.raises(NoThread):
        submit(pool, lambda: None)


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
