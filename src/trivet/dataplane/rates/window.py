"""A window: one limit of one caller, as one process counts it and all of the machine have.

In any stretch of the window's length at most `most` requests are let in, and one more for each other process at most:
one that has looked, and has not written yet. What leaves the window leaves in batches, each when its last request does, so
up to a 32nd of the limit is held back at the window's edge, and nothing where the limit is 32 or less.
"""

from __future__ import annotations

from collections.abc import Callable

from trivet.core.rates import Rate
from trivet.dataplane.rates.counters import (
    BATCHES,
    ENTRIES,
    KEPT_NS,
    RING_WORDS,
    SECOND_NS,
    WIDTH,
    Slot,
    batches,
)


class Window:
    """Not thread-safe. Ask `has_room` of every window of a request, then `add` to each."""

    def __init__(self, rate: Rate, renew: Callable[[Window, int], tuple[Slot, int, int]], slot: Slot) -> None:
        """`slot` is where this process counts while it counts alone.

        `renew` returns where to count at an instant, until when without asking again, and how many to let in.
        """
        self.rate = rate
        self.window_ns = rate.seconds * SECOND_NS
        self.ready_ns = 0  # while there is no room: before this instant there is none
        self._renew = renew
        self._till_ns = 0
        self._most = 0
        self._ceiling = 0  # below this total there is room, for as long as nobody has looked again
        self._longest_ns = self.window_ns // BATCHES  # of a batch
        self._place = self._batch = self._batch_began = self._batch_ended = self._mine = 0
        self._bind(slot)

    def has_room(self, at_ns: int) -> bool:
        """True where one more request may be let in at `at_ns`; False before `ready_ns`, and perhaps again then."""
        if at_ns > self._till_ns:
            self._take_slot(at_ns)
        if self._header[WIDTH] != self._width:
            self._see_all()
        if sum(self._row) < self._ceiling:
            return True
        if at_ns < self.ready_ns:
            return False
        self._look(at_ns)
        return sum(self._row) < self._ceiling

    def add(self, at_ns: int) -> None:
        """Count one that was let in at `at_ns`."""
        if self._batch >= self._batch_most or at_ns - self._batch_began > self._longest_ns:
            self._begin_batch(at_ns)
        # In this order, whoever looks in between counts one too many, or has it neither here nor in the total.
        self._batch += 1
        self._counts[self._place] = self._batch
        if at_ns > self._batch_ended:
            self._times[self._place] = self._batch_ended = at_ns
        self._mine += 1
        self._row[self._column] = self._mine

    def seconds_until_room(self, at_ns: int) -> int:
        """Return after how many whole seconds there is room again, if nobody else takes it."""
        return max(-(-(self.ready_ns - at_ns) // SECOND_NS), 1)

    def _look(self, at_ns: int) -> None:
        """Work out up to which total there is room; where there is none, from when on there will be."""
        total = sum(self._row)  # before the batches, as it is written after them
        live = [
            (ended, count)
            for times, counts in batches(self._rings, self._width)
            for ended, count in zip(times, counts, strict=True)
            if ended + self.window_ns > at_ns
        ]
        left = sum([count for _, count in live]) - self._most
        self._ceiling = total - left
        if left >= 0:
            for ended, count in sorted(live):
                left -= count
                if left < 0:
                    self.ready_ns = ended + self.window_ns
                    break

    def _begin_batch(self, at_ns: int) -> None:
        """Begin another batch where the ring has a place that is not needed any more."""
        following = (self._place + 1) % ENTRIES
        if self._times[following] + self.window_ns > at_ns:
            return
        self._place, self._batch, self._batch_began, self._batch_ended = following, 0, at_ns, 0
        if self.slot.is_shared:
            self._till_ns = at_ns + self.window_ns + KEPT_NS

    def _take_slot(self, at_ns: int) -> None:
        """Ask where to count from now on, and how many to let in."""
        slot, self._till_ns, self._most = self._renew(self, at_ns)
        self._bind(slot)

    def _bind(self, slot: Slot) -> None:
        """Count in `slot`, and go on where the last process of this column ended."""
        self.slot = slot
        self._header, self._rings, self._column = slot.header, slot.rings, slot.column
        ring = slot.rings[slot.column * RING_WORDS : (slot.column + 1) * RING_WORDS]
        self._times, self._counts = ring[:ENTRIES], ring[ENTRIES:]
        self._mine = slot.totals[slot.column]
        times = self._times.tolist()
        self._batch_ended = self._batch_began = max(times)
        self._place = times.index(self._batch_ended)
        self._batch = self._counts[self._place]
        self._batch_most = -(-self._most // BATCHES)
        self._see_all()

    def _see_all(self) -> None:
        """Take in how many columns there are, and look anew."""
        self._width = self._header[WIDTH]
        self._row = self.slot.totals[: self._width]
        self._ceiling = self.ready_ns = 0
