"""The connection of this process to the owner of this machine's model workers."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from trivet.core.errors import TrivetError
from trivet.dataplane.engines.worker.control import Message, Missing, Reader, Release, State, encode_message
from trivet.dataplane.engines.worker.sockets import connect_to
from trivet.dataplane.engines.worker.version import WorkerVersion
from trivet.model.bundle.bundle import Bundle, write_bundle

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # for the owner to appear, after this process has started to ask
RECONNECT_SECONDS = 0.1
FETCHES_AT_ONCE = 4  # of bundles, for an owner that was started anew; each is in memory meanwhile
FETCH_AGAIN_SECONDS = 3.0  # after a bundle could not be fetched or written


class Link:
    """Says what is wanted, hears how it is. One thread reads."""

    def __init__(self, path: Path, fetch: Callable[[str], Bundle]) -> None:
        self._path = path
        self._fetch = fetch
        self._versions: dict[str, WorkerVersion] = {}
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._provided: set[str] = set()  # digests of bundles that a thread sees to now
        self._fetching = threading.BoundedSemaphore(FETCHES_AT_ONCE)

    def add(self, version: WorkerVersion) -> None:
        """Want `version` from now on, also of an owner that comes later."""
        with self._lock:
            self._versions[version.digest] = version
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="trivet-model-workers", daemon=True)
                self._thread.start()
            elif self._socket is not None:
                self._send(version.want)

    def remove(self, version: WorkerVersion) -> None:
        """Want it no more."""
        with self._lock:
            if self._versions.get(version.digest) is version:
                del self._versions[version.digest]
                self._send(Release(version.digest))

    def _send(self, message: Message) -> None:
        if self._socket is not None:
            try:
                self._socket.sendall(encode_message(message))
            except OSError:
                logger.info("event=model_workers_away")  # the reading thread notices as well, and connects again

    def _follow(self) -> None:
        began = time.monotonic()
        while True:
            try:
                connected = connect_to(self._path, 1.0)
            except OSError:
                if time.monotonic() - began > GRACE_SECONDS:
                    self._tell_away()
                time.sleep(RECONNECT_SECONDS)
                continue
            connected.settimeout(None)
            with self._lock:
                self._socket = connected
                for version in self._versions.values():
                    self._send(version.want)
            try:
                self._listen(connected)
            except (OSError, TrivetError) as error:
                logger.warning("event=model_workers_away error=%s", error)
            except Exception:  # without this thread no version would ever hear of its model workers again
                logger.exception("event=model_workers_away")
            with self._lock:
                self._socket = None
                for version in self._versions.values():
                    version.lose("")
            connected.close()
            began = time.monotonic()
            time.sleep(RECONNECT_SECONDS)

    def _tell_away(self) -> None:
        reason = "no model workers run here: start them with `trivet serve`, or alone with `trivet model-workers`"
        with self._lock:
            for version in self._versions.values():
                version.lose(reason)

    def _listen(self, connected: socket.socket) -> None:
        reader = Reader()
        while data := connected.recv(65536):
            for message in reader.feed(data):
                with self._lock:
                    version = self._versions.get(message.digest)
                if version is None:
                    continue
                if isinstance(message, State):
                    version.hear(message)
                elif isinstance(message, Missing) and message.digest not in self._provided:
                    self._provided.add(message.digest)
                    folder = Path(message.folder)
                    name = f"trivet-bundle-{message.digest[:12]}"
                    threading.Thread(target=self._provide, args=(version, folder), name=name, daemon=True).start()

    def _provide(self, version: WorkerVersion, folder: Path) -> None:
        """Give the owner a bundle that it misses, and ask again. A thread of its own: storages take their time."""
        try:
            with self._fetching:
                self._write(version, folder)
        except Exception as error:  # noqa: BLE001  (whatever a storage raises is this version's failure, and no other's)
            if not folder.exists():  # or another process was faster
                logger.error("event=bundle_not_provided digest=%s error=%r", version.digest[:12], error)  # noqa: TRY400
                reason = error.message if isinstance(error, TrivetError) else type(error).__name__
                version.lose(f"its bundle could not be given to the model workers: {reason.rstrip('.')}")
                time.sleep(FETCH_AGAIN_SECONDS)
        with self._lock:
            self._provided.discard(version.digest)
            wanted = self._versions.get(version.digest)  # which may be another by now, of the same bundle
            if wanted is not None:
                self._send(wanted.want)

    def _write(self, version: WorkerVersion, folder: Path) -> None:
        """Write the bundle where the owner looks for it, whole or not at all."""
        bundle = version.bundle or self._fetch(version.digest)
        scratch = folder.with_name(f".{folder.name}-{os.getpid()}-{threading.get_ident()}")
        try:
            write_bundle(bundle, scratch)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
