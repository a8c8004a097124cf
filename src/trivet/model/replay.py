"""The replay: rows through a bundle in a fresh process, one batch after another. Nobody is answered by it.

`python -m trivet.model.replay FOLDER DIGEST` confines itself as the probe does, loads the bundle and says how that went;
then it reads batches of arrays on its input and writes what the model makes of each. A batch without arrays asks what one
row costs, and is the last.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import msgspec
import numpy as np

from trivet.core.environment import code_places, lean_environment
from trivet.core.errors import BundleError, TrivetError
from trivet.model.bundle.bundle import Bundle, read_bundle, write_bundle
from trivet.model.environments.environment import command_for
from trivet.model.probe import MEMORY_BYTES, TIMEOUT_SECONDS, cost_of_row
from trivet.model.runtimes.base import Runtime, runtime_class
from trivet.model.sandbox.confinement import confine

LENGTH_BYTES = 8  # before each message

T = TypeVar("T")


class Array(msgspec.Struct, frozen=True):
    """An array on its way to another process: its numbers as bytes, its texts as a list."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | list[str]


class Loaded(msgspec.Struct, frozen=True):
    """That the bundle was loaded, or why not."""

    reason: str = ""


class Ran(msgspec.Struct, frozen=True):
    """What was made of a batch: the places of the rows that were answered, and their outputs as flat lists, row-major."""

    places: list[int]
    outputs: dict[str, list[Any]]  # Any: elements of whatever datatype the signature says


class Cost(msgspec.Struct, frozen=True):
    """What one row costs, in microseconds; None where no row was run."""

    us_per_row: float | None


class FreshProcess:
    """A process that has loaded one bundle, for as long as the block lasts. Not thread-safe.

    Raises `BundleError` where the bundle cannot be loaded, and where the process ends or says nothing within a minute.
    """

    def __init__(self, bundle: Bundle, *, environments: Path) -> None:
        self._bundle, self._environments = bundle, environments

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="trivet-replay-")
        try:
            place = Path(self._folder.name) / "bundle"
            write_bundle(self._bundle, place)
            arguments = (str(place), self._bundle.digest)
            command = command_for(self._bundle, self._environments, "trivet.model.replay", arguments)
            self._process = subprocess.Popen(  # noqa: S603  (an interpreter of ours, and our own module)
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=lean_environment(),
                cwd="/",
            )
        except BaseException:
            self._folder.cleanup()
            raise
        try:
            loaded = self._heard(Loaded)
            if loaded.reason:
                raise BundleError(loaded.reason)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, arrays: Mapping[str, np.ndarray]) -> Ran:
        """Return what the model makes of a batch: arrays as the runtime takes them, by name, of shape `(rows, ...)`."""
        self._say({name: _packed(array) for name, array in arrays.items()})
        return self._heard(Ran)

    def us_per_row(self) -> float | None:
        """Return what one row costs, asked alone, in microseconds; nothing is run after it."""
        self._say({})
        return self._heard(Cost).us_per_row

    def _say(self, message: Any) -> None:
        try:
            _write(self._pipe(self._process.stdin), message)
        except BrokenPipeError:
            raise self._silent() from None

    def _heard(self, kind: type[T]) -> T:
        timer = threading.Timer(TIMEOUT_SECONDS, self._process.kill)
        timer.start()
        try:
            data = _read(self._pipe(self._process.stdout))
        finally:
            timer.cancel()
        if data is None:
            raise self._silent()
        try:
            return msgspec.msgpack.decode(data, type=kind)
        except msgspec.DecodeError:
            raise BundleError("its process said what nobody asked for.") from None

    def _silent(self) -> BundleError:
        status = self._process.wait()
        return BundleError(f"its process ended with status {status}, or said nothing for {TIMEOUT_SECONDS} s.")

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise TypeError("the process was started without a pipe")
        return pipe

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


def _packed(array: np.ndarray) -> Array:
    is_text = array.dtype.kind == "O"
    data = array.ravel().tolist() if is_text else np.ascontiguousarray(array).tobytes()
    return Array("O" if is_text else array.dtype.str, array.shape, data)


def _unpacked(array: Array) -> np.ndarray:
    if isinstance(array.data, list):
        texts = np.empty(len(array.data), dtype=object)
        texts[:] = array.data
        return texts.reshape(array.shape)
    return np.frombuffer(array.data, dtype=np.dtype(array.dtype)).reshape(array.shape)


def _write(pipe: IO[bytes], message: Any) -> None:
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    """Return the next message; None where the other side has ended, also in the middle of one."""
    head = pipe.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    data = pipe.read(length)
    return data if len(data) == length else None


# --- in that process --------------------------------------------------------------------------------------------------


def _ran(runtime: Runtime, names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> Ran:
    """Run a batch, and where that fails each row of it alone."""
    rows = len(next(iter(arrays.values())))
    outputs = _outputs(runtime, names, arrays, rows)
    if outputs is not None:
        return Ran(list(range(rows)), outputs)
    places: list[int] = []
    joined: dict[str, list[Any]] = {name: [] for name in names}
    for place in range(rows):
        alone = {name: np.ascontiguousarray(array[place : place + 1]) for name, array in arrays.items()}
        found = _outputs(runtime, names, alone, 1)
        if found is not None:
            places.append(place)
            for name, elements in found.items():
                joined[name] += elements
    return Ran(places, joined)


def _outputs(
    runtime: Runtime, names: Sequence[str], arrays: Mapping[str, np.ndarray], rows: int
) -> dict[str, list[Any]] | None:
    try:
        made = runtime.run(arrays, names)
    except Exception:  # noqa: BLE001  (whatever a model raises is a finding)
        return None
    if any(array.ndim == 0 or len(array) != rows for array in made):
        return None
    return {name: array.ravel().tolist() for name, array in zip(names, made, strict=True)}


def _main(folder: str, digest: str) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    told = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a model prints is no message
    try:
        bundle = read_bundle(Path(folder), digest)
        confine(readable=code_places())
        runtime = runtime_class(bundle.manifest.runtime).load(bundle)
    except TrivetError as error:
        _write(told, Loaded(error.message))
        return
    except Exception as error:  # noqa: BLE001  (whatever a model raises is a finding, not a crash)
        _write(told, Loaded(f"{type(error).__name__} while it was loaded."))
        return
    _write(told, Loaded())
    names = [output.name for output in bundle.signature.outputs]
    first: dict[str, np.ndarray] = {}
    while (data := _read(sys.stdin.buffer)) is not None:
        arrays = {name: _unpacked(one) for name, one in msgspec.msgpack.decode(data, type=dict[str, Array]).items()}
        if not arrays:
            _write(told, Cost(cost_of_row(runtime, first, names) if first else None))
            return
        ran = _ran(runtime, names, arrays)
        if ran.places and not first:
            place = ran.places[0]
            first = {name: np.ascontiguousarray(array[place : place + 1]) for name, array in arrays.items()}
        _write(told, ran)


if __name__ == "__main__":
    _main(*sys.argv[1:])
