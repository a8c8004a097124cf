"""The seam of every engine: it holds loaded versions and runs them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from trivet.model.bundle.bundle import Bundle


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
