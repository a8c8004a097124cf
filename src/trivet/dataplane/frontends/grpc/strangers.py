"""Callers without a key: how many of them are under way at once, and who goes so that another may come."""

from __future__ import annotations

import asyncio
from typing import Any

from trivet.core.errors import Unavailable

MAX_STRANGERS = 128  # an eighth of all calls, so that whoever has a key is never kept out by who has none


class Place:
    """What one such call holds: `timer` ends its wait for a message, and `is_gone` says that it had to make room."""

    def __init__(self) -> None:
        self.timer: asyncio.Timeout | None = None
        self.is_gone = False


class Strangers:
    """The calls under way of callers without a key, each in a place until its task has ended.

    Where all places are taken, the call that has waited longest for its message makes room: an honest one comes with
    its message, one that shall only hold a place does not. Not thread-safe: of the event loop that serves.
    """

    def __init__(self, most: int = MAX_STRANGERS) -> None:
        self._most = most
        self._places: set[Place] = set()
        self._waiting: dict[Place, None] = {}  # for a message, the longest first

    def enter(self, task: asyncio.Task[Any]) -> Place:
        """Take a place, which `task` leaves with its end; raises `Unavailable` where nobody can make room."""
        place = Place()
        self.enter_again(place)
        task.add_done_callback(lambda _: self.leave(place))
        return place

    def enter_again(self, place: Place) -> None:
        """Take a place that was left; raises what `enter` does."""
        if len(self._places) >= self._most and not self._make_room():
            raise Unavailable(f"over {self._most} calls without a key are under way; ask again.", code="QUEUE_FULL")
        self._places.add(place)

    def wait(self, place: Place, timer: asyncio.Timeout) -> None:
        """Note that the call at `place` waits for a message from now on, until `timer` is over."""
        place.timer = timer
        self._waiting[place] = None

    def go_on(self, place: Place) -> None:
        """Note that it waits no more."""
        self._waiting.pop(place, None)

    def leave(self, place: Place) -> None:
        """Give the place back; it may have been given back before."""
        self._waiting.pop(place, None)
        self._places.discard(place)

    def _make_room(self) -> bool:
        place = next(iter(self._waiting), None)
        if place is None or place.timer is None:
            return False
        self.leave(place)
        if not place.timer.expired():  # else it goes by itself
            place.is_gone = True
            place.timer.reschedule(asyncio.get_running_loop().time())
        return True
