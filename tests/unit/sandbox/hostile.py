"""Hostile trained files, and what they must not reach: a canary that is a file, listeners and a secret."""

import contextlib
import os
import pickle
import socket
from dataclasses import dataclass
from pathlib import Path

from trivet.model.compile import disposable

SECRET = "canary-51c6f2"


class Runs:
    """A pickle that runs a statement on opening."""

    def __init__(self, statement):
        self.statement = statement

    def __reduce__(self):
        return exec, (self.statement,)


class Calls:
    """A pickle that calls a function on opening."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def write(folder, thing, name="model.joblib"):
    """Write a file that runs a statement, is a pickle of an object, or holds these bytes."""
    path = Path(folder, name)
    if isinstance(thing, str):
        thing = Runs(thing)
    path.write_bytes(thing if isinstance(thing, bytes) else pickle.dumps(thing))
    return path


def working_in(folder, monkeypatch):
    """Have disposable processes work in `folder`, the only one they may write into, so that a test sees what they wrote."""
    monkeypatch.setattr(disposable.tempfile, "TemporaryDirectory", lambda **_: contextlib.nullcontext(str(folder)))
    return folder


@dataclass
class Canary:
    """A file, two listeners and a secret in the environment, which nobody may touch."""

    file: Path
    tcp: socket.socket
    unix: socket.socket

    @property
    def port(self):
        return self.tcp.getsockname()[1]

    def is_untouched(self):
        for listener in (self.tcp, self.unix):
            try:
                connected, _ = listener.accept()
            except BlockingIOError:
                continue
            connected.close()
            return False
        return self.file.read_text() == SECRET and [*self.file.parent.iterdir()] == [self.file]


@contextlib.contextmanager
def canary_in(folder):
    """Yield a canary; fail where it was touched."""
    place = Path(folder, "canary")
    place.mkdir()
    file = place / "secret"
    file.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(b"\0trivet-canary-" + os.urandom(8).hex().encode())
        unix.listen()
        for listener in (tcp, unix):
            listener.setblocking(False)
        canary = Canary(file, tcp, unix)
        yield canary
        assert canary.is_untouched()
