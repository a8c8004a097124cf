"""The seam of every engine: it holds loaded versions and runs them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


class Made(list[np.ndarray]):
    """What a model worker made of one request, and what it told of the run, which others may have shared."""

    def __init__(self, arrays: Sequence[np.ndarray], *, queued_ns: int, run_ns: int, run_rows: int) -> None:
        """`run_rows` are those of the whole run; 0 with all of its answers but one, so that it is counted once."""
        super().__init__(arrays)
        self.queued_ns = queued_ns
        self.run_ns = run_ns
        self.run_rows = run_rows


@dataclass(frozen=True)
class Standing:
    """How the model workers of a version are, as this process sees them."""

    instances: int  # that answer now
    wanted: int
    rss_bytes: int  # of all of them
    restarts: Mapping[str, int]  # by reason
    waiting: int  # requests of this process that wait for an answer
    is_breaker_open: bool
    max_batch_rows: int
    max_batch_delay_ms: float


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

    @property
    def takes_questions(self) -> bool:
        """True when there is somebody to `put` a question to now: worth a look before one is made, and no promise."""
        return False

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

    @property
    def standing(self) -> Standing | None:
        """How its model workers are; None where it runs in this process."""
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

    def has_given_up(self, digest: str) -> bool:  # noqa: ARG002  (of who does)
        """True when what this engine loaded of a bundle is to be loaded by another engine, by whoever looks next."""
        return False

    def bound_queue(self, requests: int) -> None:  # noqa: B027  (one that runs in this process has none)
        """Let so many requests of one version wait in this process at most: its share, where several ask. Before `load`."""

    @abstractmethod
    def load(self, bundle: Bundle) -> LoadedVersion:
        """Load and warm `bundle`, which was verified. Raises `BundleError` when it cannot be run."""
