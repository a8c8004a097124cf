"""Handing over: an object in memory, with its rows and labels, as the bytes that a disposable process opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

import cloudpickle

from trivet.core.errors import CompileError


@dataclass(frozen=True)
class Handed:
    """What somebody pushes from a notebook: the object, rows like those it was trained on, and their labels."""

    model: Any
    sample: Any = None
    labels: Any = None


def hand_over(model: Any, sample: Any = None, labels: Any = None) -> bytes:
    """Return the object with its rows as bytes; functions and classes of the notebook travel with it.

    Raises `CompileError` for an object that cannot travel (an open file, a lock, a connection).
    """
    try:
        data: bytes = cloudpickle.dumps(Handed(model, sample, labels), protocol=5)
    except Exception as error:  # whatever the object raises
        raise CompileError(
            f"this {type(model).__name__} cannot be handed over: {error}. Push an object that can be pickled."
        ) from error
    return data


def is_handed(opened: Any) -> TypeGuard[Handed]:
    """True where a pickle holds what `hand_over` made."""
    return isinstance(opened, Handed)
