"""Who is killed: the processes of one server, and what each of their deaths may cut off."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from tests.acceptance.connections import open_files
from tests.acceptance.faults.invariants import Fault
from tests.acceptance.servers import Server, wait_for


def kill_one(server: Server, verb: str, chance: random.Random, *, spare: Collection[int] = ()) -> Fault:
    """SIGKILL one process that runs `verb` (web, keeper), and none to `spare`; return whom that has to leave alone."""
    victim = chance.choice(wait_for(lambda: [pid for pid in processes(server, verb) if pid not in spare]))
    spared = client_ports([pid for pid in server.web_workers() if pid != victim], server.port)
    began = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    return Fault(began, time.monotonic(), spared)


def kill_everything(server: Server) -> Fault:
    """SIGKILL the supervisor and all it started, within as little time as there can be; return once all are gone."""
    began = time.monotonic()
    os.kill(server.process.pid, signal.SIGSTOP)  # or it would replace them meanwhile
    children = server.children()
    for child in children:
        os.kill(child, signal.SIGKILL)
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: not any(is_running(child) for child in children))
    return Fault(began, time.monotonic())


def kill_supervisor(server: Server) -> Fault:
    """SIGKILL the process that watches over the others, which end by themselves; return once all are gone."""
    began = time.monotonic()
    children = server.children()
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: not any(is_running(child) for child in children))
    return Fault(began, time.monotonic())


def processes(server: Server, verb: str) -> list[int]:
    """Return the process ids of the server's children that run `verb`."""
    return [pid for pid in server.children() if verb.encode() in command_of(pid)]


def command_of(pid: int) -> list[bytes]:
    """Return the words of a process's command line; none where there is no such process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def is_running(pid: int) -> bool:
    """True for a process that is there and no zombie."""
    return command_of(pid)[:1] not in ([], [b""])


def stop(pid: int) -> None:
    """SIGSTOP a process; return once it has stopped, which is a moment after the signal was sent."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZX", every=0.0001)


def client_ports(pids: Iterable[int], server_port: int) -> frozenset[int]:
    """Return the ports of the clients whose connections to `server_port` some processes have taken."""
    held: set[str] = set()
    for pid in pids:
        with suppress(OSError):  # it has ended
            held |= open_files(pid)
    ends = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    own = (end for end in ends if end[1].endswith(f":{server_port:04X}") and f"socket:[{end[9]}]" in held)
    return frozenset(int(end[2].rpartition(":")[2], 16) for end in own)
