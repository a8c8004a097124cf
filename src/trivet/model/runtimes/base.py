"""The seam of every runtime, and the table that finds one by its registered name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import ClassVar, Self

import numpy as np

from trivet.core.errors import BundleError
from trivet.model.bundle.bundle import Bundle

ENTRY_POINTS = "trivet.runtimes"


class Runtime(ABC):
    """One loaded version. Subclasses are found by `name`, which is what a bundle's manifest holds: never a path to code."""

    name: ClassVar[str]
    is_thread_safe: ClassVar[bool] = False
    supports_batching: ClassVar[bool] = True
    may_run_inline: ClassVar[bool] = False  # only what runs bundles that are data we made or audited

    @classmethod
    @abstractmethod
    def load(cls, bundle: Bundle) -> Self:
        """Load `bundle`, which was verified; raises `BundleError` when it cannot be run here."""

    @abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Return one array per name in `outputs`.

        `inputs` has one C-contiguous array per input of the graph, as `Bundle.feed` makes them of the signature's: of
        its datatype, with shape `(rows, ...)`; BYTES are object arrays of `str`. May raise anything: the caller treats
        it as a failed model.
        """

    def close(self) -> None:  # noqa: B027  (most runtimes have nothing to release)
        """Release what `load` took; no `run` follows."""


@cache  # a search reads what every installed distribution says of itself: 9 ms, twice for each version that is loaded
def runtime_class(name: str) -> type[Runtime]:
    """Return the runtime registered as `name` (ours are entry points too); raises `BundleError` when none is installed."""
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        loaded = entry.load()
        if isinstance(loaded, type) and issubclass(loaded, Runtime):
            return loaded
    raise BundleError(f"no runtime called {name!r} is installed here.")
