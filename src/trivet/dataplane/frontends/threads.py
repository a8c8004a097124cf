"""Work for a pool of threads: it is done, or whoever wanted it is told that it never will be."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")


class NoThread(Exception):
    """All threads are busy and no other can be started, or the pool has ended; the work is not done, not even later."""


def submit(pool: ThreadPoolExecutor, work: Callable[[], Result]) -> Future[Result]:
    """Have `work` done by a thread of `pool`. Raises `NoThread`.

    A pool that cannot start a thread has queued the work all the same, and a thread that gets free may have begun it by
    then. Of the two, to begin and to refuse, one happens.
    """
    done: Future[Result] = Future()
    try:
        pool.submit(partial(_do, work, done))
    except RuntimeError:
        if done.cancel():
            raise NoThread from None
    return done


def _do(work: Callable[[], Result], done: Future[Result] | None) -> None:
    if done is None or not done.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  (it is raised where the result is asked for)
        done.set_exception(error)
        done = None  # which the frame in the error's trace would hold, and it the error
    else:
        done.set_result(result)
