"""The seam of every engine: it holds loaded versions and runs them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from trivet.model.bundle.bundle import Bundle


class Question(Protocol):
    """A run that was asked of another process, until its answer is taken. One thread at a time holds it."""

    deadline: float  # an instant of `time.monotonic()`

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is more to look at."""

    def look(self) -> bool:
        """Take in what has arrived; True once there is no more to wait for, be it an answer or a failure. Never blocks."""

    @property
    def is_answered(self) -> bool:
        """True when `answer` has nothing left to wait for, nor to try again."""

    def answer(self) -> list[np.ndarray]:
        """Return what `LoadedVersion.run` would have, or raise it; to be called once, whatever has become of the run."""


class LoadedVersion(ABC):
    """One version that an engine can run now."""

    cost_us_per_row: float = 0.0  # measured while warming; 0 when it was not
    runs_inline: bool = True  # `run` takes microseconds and may be called on an event loop

    @abstractmethod
    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float = math.inf
    ) -> list[np.ndarray]:
        """Return one array per name in `outputs`.

        `deadline` is an instant of `time.monotonic()`; an engine that can stop a run stops it then. Raises
        `Unavailable` when the model fails or its queue is full, `DeadlineExceeded` when the answer would be late.
        """

    def put(
        self,
        inputs: Mapping[str, np.ndarray],  # noqa: ARG002  (of who can)
        outputs: Sequence[str],  # noqa: ARG002
        deadline: float = math.inf,  # noqa: ARG002
    ) -> Question | None:
        """Ask for a run without waiting for it; None where `run` has to be called, which is the usual case.

        Never blocks, so an event loop may call it. Raises as `run` does.
        """
        return None

    def ensure_ready(self) -> None:  # noqa: B027  (what is loaded inline is ready)
        """Raise `Unavailable` when a request would not be answered now, though the version is loaded."""

    @abstractmethod
    def unload(self) -> None:
        """Release the version; requests that already run it are finished first."""


class Engine(ABC):
    """Loads versions and hands them out."""

    is_in_process: bool = False  # what it loads takes this process's memory

    @abstractmethod
    def accepts(self, bundle: Bundle) -> bool:
        """True when this engine may run `bundle`; the first one that says so loads it."""

    @abstractmethod
    def load(self, bundle: Bundle) -> LoadedVersion:
        """Load and warm `bundle`, which was verified. Raises `BundleError` when it cannot be run."""
