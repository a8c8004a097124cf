"""Dynamic batching: what has queued while the model was busy is run together, where measured costs say that it pays.

Requests were validated before they came here. They share a run only when they ask for the same outputs and differ in
rows alone. Whether a larger run is cheaper a row is measured, not assumed: the limit doubles for as long as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trivet.dataplane.engines.worker.frames import Ask

WEIGHT = 0.2  # of a new measurement in a moving average
WORTHWHILE = 0.95  # a run twice as large must cost at most this share a row, or runs stay as they are
RELEARN_RUNS = 500  # then what did not pay is tried again: machines and inputs change
LONGEST_GAP = 1.0  # seconds between arrivals, beyond which there is no stream of requests


@dataclass(eq=False, slots=True)
class Waiting:
    """One request in the queue. `sender` is whom its answer goes to."""

    ask: Ask
    feed: dict[str, np.ndarray]
    rows: int
    sender: Any  # Any: a connection, which this module has no business with
    arrived: float

    @property
    def kind(self) -> tuple[Any, ...]:
        """What requests must have in common to share a run: outputs, and every dimension but the rows."""
        return (*self.ask.outputs, *((name, array.shape[1:]) for name, array in sorted(self.feed.items())))


class Costs:
    """Seconds a run takes, by its size: moving averages for sizes of 1, 2 to 3, 4 to 7 rows and so on."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._per_row: dict[int, float] = {}
        self._runs = 0

    def note(self, rows: int, seconds: float) -> None:
        """Take in one run."""
        size = rows.bit_length()
        known = self._per_row.get(size)
        fresh = seconds / rows
        self._per_row[size] = fresh if known is None else known + WEIGHT * (fresh - known)
        self._runs += 1
        if self._runs % RELEARN_RUNS == 0:
            limit = self.limit().bit_length()
            self._per_row = {size: cost for size, cost in self._per_row.items() if size <= limit}

    def expected(self, rows: int, otherwise: float) -> float:
        """Return the seconds a run of `rows` takes, where none of its size was measured at `otherwise` seconds a row."""
        return rows * self._per_row.get(rows.bit_length(), otherwise)

    def limit(self) -> int:
        """Return how many rows a run should have at most: doubled for as long as that was cheaper a row."""
        best: float | None = None
        rows = 1
        while True:
            cost = self._per_row.get(rows.bit_length())
            if cost is not None:
                if best is not None and cost > best * WORTHWHILE:
                    return rows // 2
                best = cost
            if rows * 2 > self._max_rows:
                return rows
            rows *= 2

    def saving(self) -> float:
        """Return the seconds that running two rows together saves over running them apart; 0 while that is unknown."""
        one, two = self._per_row.get(1), self._per_row.get(2)
        return max(0.0, 2 * (one - two)) if one is not None and two is not None else 0.0


class Batcher:
    """The queue of one model worker, and the choice of what runs next."""

    def __init__(self, *, max_rows: int, max_delay_seconds: float, splits: bool) -> None:
        """`splits` is False where answers cannot be told apart by rows: then every request runs alone."""
        self.costs = Costs(max_rows)
        self._max_delay = max_delay_seconds
        self._splits = splits and max_rows > 1
        self._queue: deque[Waiting] = deque()
        self._gap = LONGEST_GAP
        self._last_arrival = 0.0
        self._last_size = 0  # requests in the last run

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, waiting: Waiting) -> None:
        """Queue one request."""
        gap = min(waiting.arrived - self._last_arrival, LONGEST_GAP)
        self._gap += WEIGHT * (gap - self._gap)
        self._last_arrival = waiting.arrived
        self._queue.append(waiting)

    def drop(self, sender: Any) -> None:
        """Forget what `sender` asked: it is gone."""
        self._queue = deque(one for one in self._queue if one.sender is not sender)

    def patience(self) -> float:
        """Return how many seconds to wait for company before the next run.

        0 for a request that is alone: others come only where there were others. Then no longer than waiting saves.
        """
        waiting = len(self._queue)
        if not self._splits or self._last_size <= 1 or waiting >= self._last_size or not waiting:
            return 0.0
        if sum(one.rows for one in self._queue) >= self.costs.limit():
            return 0.0
        saving = self.costs.saving()
        return min(self._max_delay, saving / 2) if saving > 2 * self._gap else 0.0

    def take(self) -> list[Waiting]:
        """Return the requests of the next run, in the order they came; empty when none waits."""
        if not self._queue:
            return []
        first = self._queue.popleft()
        batch = [first]
        if self._splits and self._queue and not first.ask.is_alone:
            self._fill(batch)
        self._last_size = len(batch)
        return batch

    def _fill(self, batch: list[Waiting]) -> None:
        limit, rows, kind = self.costs.limit(), batch[0].rows, batch[0].kind
        left: deque[Waiting] = deque()
        while self._queue and rows < limit:
            one = self._queue.popleft()
            if rows + one.rows <= limit and not one.ask.is_alone and one.kind == kind:
                batch.append(one)
                rows += one.rows
            else:
                left.append(one)
        left.extend(self._queue)
        self._queue = left


def joined(batch: Sequence[Waiting]) -> dict[str, np.ndarray]:
    """Return the inputs of a run: those of its requests, one below the other."""
    if len(batch) == 1:
        return batch[0].feed
    return {name: np.concatenate([one.feed[name] for one in batch]) for name in batch[0].feed}


def parted(batch: Sequence[Waiting], arrays: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Return each request's own rows of the outputs."""
    if len(batch) == 1:
        return [list(arrays)]
    parts: list[list[np.ndarray]] = []
    begin = 0
    for one in batch:
        parts.append([array[begin : begin + one.rows] for array in arrays])
        begin += one.rows
    return parts
