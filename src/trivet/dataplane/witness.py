"""Witnesses: who is told of every request once it is over. Without one, a request costs a look at an empty tuple."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from trivet.dataplane.protocol.messages import Answer


class Passage(NamedTuple):
    """One request that is over. Times are nanoseconds of `time.monotonic_ns()`."""

    door: str
    model: str  # a registered name, or `_unknown`
    version: int  # 0 where none was chosen
    code: str  # OK, or the error's
    began: int  # its body was complete; 0 where it was refused before
    ended: int
    request_id: str
    traceparent: str  # as the caller sent it, checked; empty for none
    answer: Answer | None = None
    waited: int = 0  # for a thread

    @property
    def nanoseconds(self) -> int:
        """How long it took."""
        return self.ended - self.began if self.began else 0


class Witness(ABC):
    """Sees passages. It is called on the event loop, so it waits for nothing; and it raises nothing."""

    @abstractmethod
    def see(self, passage: Passage) -> None:
        """Take note of `passage`."""
