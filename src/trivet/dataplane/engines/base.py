"""The seam of every engine: it holds loaded versions and runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from trivet.model.bundle.bundle import Bundle


class LoadedVersion(ABC):
    """One version that an engine can run now."""

    cost_us_per_row: float = 0.0  # measured while warming; 0 when it was not

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Return one array per name in `outputs`. Raises `Unavailable` when the model fails."""

    @abstractmethod
    def unload(self) -> None:
        """Release the version; requests that already run it are finished first."""


class Engine(ABC):
    """Loads versions and hands them out."""

    runs_inline: ClassVar[bool]  # True: `run` takes microseconds and may be called on an event loop

    @abstractmethod
    def load(self, bundle: Bundle) -> LoadedVersion:
        """Load and warm `bundle`, which was verified. Raises `BundleError` when it cannot be run."""
