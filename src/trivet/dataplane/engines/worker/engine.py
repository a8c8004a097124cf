"""The worker engine: versions that run in model workers, shared with every other process of this machine that asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from trivet.core.errors import BundleError
from trivet.dataplane.engines.base import Engine, LoadedVersion
from trivet.dataplane.engines.worker.control import Options
from trivet.dataplane.engines.worker.link import Link
from trivet.dataplane.engines.worker.version import WorkerVersion
from trivet.model.bundle.bundle import Bundle

CONTROL_NAME = "control.sock"
LOAD_SECONDS = 75.0  # a little longer than the owner gives a model worker


class WorkerEngine(Engine):
    """Runs in model workers whatever may not run inline."""

    def __init__(
        self,
        folder: Path,
        fetch: Callable[[str], Bundle],
        options: Options | None = None,
        *,
        max_answer_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """`folder` is the private one in which the owner of this machine's model workers listens.

        `fetch` returns a bundle again, by its digest, for an owner that was started anew.
        """
        self._options = options or Options()
        self._max_answer_bytes = max_answer_bytes
        self._link = Link(folder / CONTROL_NAME, fetch)

    def accepts(self, bundle: Bundle) -> bool:  # noqa: ARG002  (what no runtime is installed for fails when it is loaded)
        """True for every bundle: ask the inline engine first."""
        return True

    def bound_queue(self, requests: int) -> None:
        """Let so many requests of one version wait in this process at most."""
        self._options = msgspec.structs.replace(self._options, queue_length=requests)

    def load(self, bundle: Bundle) -> LoadedVersion:
        """Return once an instance has loaded `bundle`, which may take as long as its runtime's libraries do."""
        version = WorkerVersion(bundle, self._options, self._max_answer_bytes, self._link.remove)
        self._link.add(version)
        try:
            version.wait_loaded(time.monotonic() + LOAD_SECONDS)
        except BundleError:
            version.unload()
            raise
        return version
