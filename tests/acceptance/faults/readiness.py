"""I4 as it is seen from outside: who asks again and again whether something is ready, and whether it answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Self

PAUSE_SECONDS = 0.03  # between two questions of one asker
KNOWN_SECONDS = 0.2  # between two looks, what both saw is taken for true so long; beyond, whoever looks was late


class Told(NamedTuple):
    """One question and its answer. Times are of CLOCK_MONOTONIC."""

    began: float
    ended: float
    is_good: bool
    said: str


class Recorder:
    """Asks each of some questions again and again, in a thread of its own, and keeps what it was told."""

    def __init__(self, questions: Mapping[str, Callable[[], tuple[bool, str]]]) -> None:
        self._told: dict[str, list[Told]] = {name: [] for name in questions}
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=question) for question in questions.items()]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def told(self, name: str) -> list[Told]:
        """Return what the asker of that name has been told so far."""
        return list(self._told[name])

    def _ask(self, name: str, question: Callable[[], tuple[bool, str]]) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            began = time.monotonic()
            is_good, said = question()
            self._told[name].append(Told(began, time.monotonic(), is_good, said))


def longest_lie(readiness: Iterable[Told], probes: Iterable[Told]) -> float:
    """Return for how many seconds together "ready" was told at most while one probe after another failed.

    A probe counts as failed from when it had, until the next that succeeds is sent. An answer is of an instant between
    question and answer, so a stretch is counted from the end of its first to the beginning of its last.
    """
    longest = 0.0
    for start, end in _failing(probes):
        lie, before = 0.0, None
        for look in readiness:
            if look.ended < start or look.began > end:
                continue
            if look.is_good and before is not None:
                lie += min(max(look.began - before, 0.0), KNOWN_SECONDS)
            before = look.ended if look.is_good else None
            lie = lie if look.is_good else 0.0
            longest = max(longest, lie)
    return longest


def _failing(probes: Iterable[Told]) -> list[tuple[float, float]]:
    """Return the stretches in which every probe failed."""
    found: list[tuple[float, float]] = []
    start = None
    for probe in probes:
        if not probe.is_good and start is None:
            start = probe.ended
        elif probe.is_good and start is not None:
            found.append((start, probe.began))
            start = None
    return found if start is None else [*found, (start, float("inf"))]
