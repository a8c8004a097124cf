"""Onlookers: who is told of each call of `trivet.predict` and its like that code of this process makes, once it is answered.

Nobody is one by default, and then a call costs a look at an empty tuple. An onlooker is told in the thread or coroutine of the
call, with its context variables; so it waits for nothing, and it raises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trivet.serving.prediction import Prediction


@dataclass(frozen=True)
class Call:
    """One call that was answered: of which model, about a single row or a batch, and how long all of it took."""

    model: str
    is_single: bool
    predictions: Sequence[Prediction]
    latency_ms: float


Onlooker = Callable[[Call], None]

present: tuple[Onlooker, ...] = ()


def join(onlooker: Onlooker) -> None:
    """Tell `onlooker` of calls from now on; of one that is present already, once all the same."""
    global present
    if onlooker not in present:
        present = (*present, onlooker)
