"""A warm start: where a zygote listens, and a process that it forked, held on a leash."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from socket import SHUT_WR, socket

import msgspec

from trivet.model.sandbox import leash

ZYGOTE = "trivet.model.sandbox.zygote"
SOCKET_NAME = "zygote.sock"
LEAST_LEVEL = 2  # below it a process could reach the zygote, and through it the next file
PATIENCE_SECONDS = 30.0  # for a zygote that still imports, or has as many processes as it takes
END_SECONDS = 10.0  # for one that was asked to leave


class NotWarm(OSError):
    """No process can be had from this zygote; the message says why. Whoever asked starts an interpreter instead."""


class Leashed:
    """A process that a zygote forked. It ends, with its session, when `end` is called or this process dies."""

    def __init__(self, held: socket) -> None:
        self._held = held

    def ended(self, seconds: float) -> int | None:
        """Return how it ended, as `subprocess` says it, waiting up to `seconds`; None while it runs."""
        self._held.settimeout(seconds)
        try:
            return msgspec.msgpack.decode(leash.receive(self._held)[0], type=leash.Ended).code
        except (OSError, msgspec.DecodeError):
            return None

    def end(self) -> None:
        """Let it go; return once it and its session were killed and collected, or the zygote itself is gone."""
        try:
            self._held.shutdown(SHUT_WR)  # the zygote reads the end, kills, and closes its own end after that
            self._held.settimeout(END_SECONDS)
            while leash.receive(self._held)[0]:
                pass
        except OSError:
            pass
        finally:
            self._held.close()


@dataclass(frozen=True)
class WarmStart:
    """A zygote that listens on `path`."""

    path: Path

    def begin(
        self, module: str, arguments: Sequence[str], folder: int, descriptors: Mapping[int, int], seconds: float
    ) -> Leashed:
        """Have a process forked that runs `module` in `folder`, with `descriptors` by the numbers they have there.

        Raises `NotWarm`: nobody listens, it runs other code than this process, or its processes are held too weakly.
        """
        try:
            held = leash.connect_to(self.path, min(seconds, PATIENCE_SECONDS))
        except OSError as error:
            raise NotWarm(f"no zygote answers on {self.path}: {error}") from None
        try:
            self._check(msgspec.msgpack.decode(leash.receive(held)[0], type=leash.Hello))
            order = leash.Order(module, tuple(arguments), tuple(descriptors))
            leash.send(held, order, [folder, *descriptors.values()])
        except (OSError, msgspec.DecodeError) as error:
            held.close()
            raise error if isinstance(error, NotWarm) else NotWarm(f"the zygote is silent: {error}") from None
        return Leashed(held)

    def _check(self, hello: leash.Hello) -> None:
        if hello.code != _code_here():
            raise NotWarm("the zygote runs other code than this process: SIGHUP to `trivet serve` renews it.")
        if hello.confinement.level < LEAST_LEVEL:
            raise NotWarm(f"the zygote's processes are confined at L{hello.confinement.level} only.")


@cache
def _code_here() -> str:
    return leash.code_in_use()


def zygote_command(parent: int, listening: int, modules: Sequence[str], imports: Sequence[str]) -> list[str]:
    """Return the command of a zygote that ends with `parent`, listens on a descriptor, and runs `modules` only."""
    return [sys.executable, "-I", "-m", ZYGOTE, str(parent), str(listening), ",".join(modules), ",".join(imports)]


@contextmanager
def own_zygote(modules: Sequence[str], imports: Sequence[str], environment: Mapping[str, str]) -> Iterator[WarmStart]:
    """Yield a zygote of this process's own, for several files in a row; it ends with the block, or with this thread."""
    with tempfile.TemporaryDirectory(prefix="trivet-zygote-") as folder:
        path = Path(folder, SOCKET_NAME)
        with leash.listen_on(path) as listening:
            process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
                zygote_command(os.getpid(), listening.fileno(), modules, imports),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=dict(environment),
                pass_fds=[listening.fileno()],
                start_new_session=True,
            )
        try:
            yield WarmStart(path)
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
