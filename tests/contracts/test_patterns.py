"""No text makes a regular expression slow: each takes linear time on what would make a careless one quadratic, or worse."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.contracts.patterns import Pattern, attacks, imports_of_re, patterns
from tests.scale import scaled

LENGTH = 16_000
EXAMPLES = scaled(test=2, ci=4, full=24, long=100)  # of what a pattern takes; each is attacked piece by piece
PIECES = scaled(test=24, ci=48, full=200)
TIMES_PLAIN = 20  # what may take no more than so many plain looks at its text is linear
GROWTH = 7  # at four times the length a linear one takes four times as long, a quadratic one sixteen times
TRIES = 3
CUT_SECONDS = 0.25  # of the processor: hundreds of times what a linear one takes


class TooSlow(Exception):
    """It was still at it."""


@contextmanager
def cut_off() -> Iterator[None]:
    """Raise `TooSlow` in the block once this process has computed for so long: `re` looks at signals as it goes."""

    def cut(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, cut)
    signal.setitimer(signal.ITIMER_PROF, CUT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def seconds(run: Callable[[], object]) -> float:
    """Return the processor's time that a run takes in this thread, infinite where it was cut off."""
    began = time.thread_time()
    try:
        with cut_off():
            run()
    except TooSlow:
        return float("inf")
    return time.thread_time() - began


def plain_look() -> float:
    """Return what it costs at this moment to look at each character once."""
    text, look = "a" * LENGTH, re.compile("(?:a|b)*c")
    return min(seconds(lambda: look.match(text)) for _ in range(5))


def slow_texts(pattern: Pattern, plain: float) -> Iterator[str]:
    """Yield the beginnings of texts on which the pattern's time grows faster than their length."""
    for seed in range(EXAMPLES):
        shorts = attacks(pattern, LENGTH, seed=seed, most=PIECES)
        longs = attacks(pattern, 4 * LENGTH, seed=seed, most=PIECES)
        for short, long in zip(shorts, longs, strict=True):
            if seconds(lambda text=short: pattern.run(text)) > TIMES_PLAIN * plain and grows(pattern, short, long):
                yield repr(short[:60])


def grows(pattern: Pattern, short: str | bytes, long: str | bytes) -> bool:
    """True where it grew too fast whenever it was tried."""
    for _ in range(TRIES):
        at_first = seconds(lambda: pattern.run(short))
        if at_first < float("inf") and seconds(lambda: pattern.run(long)) <= GROWTH * at_first:
            return False
    return True


def test_every_pattern_is_found():
    assert list(imports_of_re()) == []
    found = patterns()
    assert len({pattern.place for pattern in found}) > 60
    assert {"match", "fullmatch", "search", "sub", "findall", "split"} <= {pattern.method for pattern in found}


@pytest.mark.parametrize(
    ("expression", "method"),
    [(r"(a+)+b", "fullmatch"), (r"\s+$", "search"), (r"<m '(\w+)'[^>]*>", "sub"), (r"(\w\w?|a)*!", "match")],
)
def test_a_slow_pattern_is_caught(expression: str, method: str):
    assert next(slow_texts(Pattern("here", expression, 0, method), plain_look()))


@pytest.mark.parametrize("pattern", patterns(), ids=lambda pattern: f"{pattern.place}-{pattern.method}")
def test_D42_a_pattern_takes_linear_time_on_hostile_texts(pattern: Pattern):
    assert next(slow_texts(pattern, plain_look()), None) is None
