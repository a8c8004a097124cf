"""Microseconds of a look-up in the prediction cache, for one row of ten columns: `python -m benchmarks.remembering`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.corridor import best
from trivet.core.signature import Signature
from trivet.dataplane.cache.key import keyed_hash
from trivet.dataplane.cache.prediction_cache import PredictionCache, VersionCache
from trivet.dataplane.engines.base import LoadedVersion

OUTPUTS = ("label", "probabilities")
ANSWER = [np.array(["stays"], dtype=object), np.array([[0.25, 0.75]])]
WORDS = 3
FEEDS = {
    "ten numbers, one tensor": {"columns": np.random.default_rng(0).random((1, 10))},
    "ten numbers, ten tensors": {f"c{i}": np.full((1, 1), float(i)) for i in range(10)},
    "seven numbers in one tensor, three words": {
        "columns": np.random.default_rng(0).random((1, 7)),
        **{f"w{i}": np.array([["LAX"]], dtype=object) for i in range(WORDS)},
    },
}


class Free(LoadedVersion):
    """A model that costs nothing, so that what is left is the cache."""

    def __init__(self, *, runs_inline: bool) -> None:
        self.runs_inline = runs_inline

    def run(self, *_: object) -> list[np.ndarray]:
        return ANSWER

    def unload(self) -> None:
        """Nothing is held."""


def main() -> None:
    """Print a table: what is asked, a hit, a miss and what it takes to keep it, inline and where others may wait for it."""
    print("| what is asked | hit, µs | miss, µs | miss in a model worker, µs |\n|---|---|---|---|")
    for name, feed in FEEDS.items():
        hit = best(asking(feed, runs_inline=True, moves=False))
        misses = [best(asking(feed, runs_inline=runs_inline, moves=True)) for runs_inline in (True, False)]
        print(f"| {name} | {hit:.1f} | {misses[0]:.1f} | {misses[1]:.1f} |")


def asking(feed: Mapping[str, np.ndarray], *, runs_inline: bool, moves: bool) -> Callable[[], object]:
    """Return a call that asks `feed`, with another first value each time if it `moves`."""
    cache = version_cache(runs_inline=runs_inline)
    first = next(iter(feed.values())).reshape(-1)

    def ask() -> object:
        if moves:
            first[0] += 1.0
        return cache.answer(OUTPUTS, feed, lambda: ANSWER)

    ask()
    return ask


def version_cache(*, runs_inline: bool) -> VersionCache:
    """Return the cache of one version, open."""
    cache = PredictionCache(64 * 1024 * 1024, keyed_hash(bytes(32)), is_forced=True)
    found = cache.of_version("0" * 64, Signature(inputs=(), outputs=()), Free(runs_inline=runs_inline))
    assert found is not None
    return found


if __name__ == "__main__":
    main()
