"""Confine: a process takes from itself what the file it is about to open must not have, and says how far it got.

Layer after layer, each as far as the kernel and the container allow; a layer that cannot be had is named, never passed
over in silence. The level is what was reached, not what was hoped for.
"""

from __future__ import annotations

import contextlib
import os
import resource
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from trivet.model.sandbox import landlock, namespaces, seccomp
from trivet.model.sandbox.kernel import (
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    drop_capabilities,
    prctl,
    thread_count,
)

UNPRIVILEGED, FILES, CALLS, NETWORK = "no new privileges", "landlock", "seccomp", "network namespace"
LAYERS = (NETWORK, UNPRIVILEGED, FILES, CALLS)
LANDLOCK_OF_L3 = 4  # the version that holds TCP
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/etc/ld.so.cache")
HARDWARE = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/sys/fs/cgroup")  # how many threads pay
MEMORY = ("/proc/self/statm",)  # how much it has, to bound what comes
MOST_TASKS = 256  # processes and threads; chosen: a forest predicts on as many threads as there are cores
OWN = ("/proc/self/maps",)  # which libraries are loaded, asked by who bounds their threads (threadpoolctl)
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@dataclass(frozen=True)
class Confinement:
    """What holds a process: the layers it has, why it lacks the others, and the level that makes (1 to 3)."""

    layers: tuple[str, ...]
    landlock: int = 0  # its version
    missing: dict[str, str] = field(default_factory=dict)  # layer -> what the kernel said

    @property
    def level(self) -> int:
        """3: no file, call or network beyond what is needed; 2: files and calls; 1: limits of the process alone."""
        has = set(self.layers)
        if not {UNPRIVILEGED, FILES, CALLS} <= has:
            return 1
        return 3 if NETWORK in has and self.landlock >= LANDLOCK_OF_L3 else 2


def confine(writable: Iterable[Path] = (), readable: Iterable[Path] = (), *, accepts: bool = False) -> Confinement:
    """Take from this process, for good, what computing does not need; return what was reached.

    It reads libraries, `readable`, and what it has open already; it writes below `writable`. No program, process, socket
    or signal to others. Import what is slow before; later imports go on, for the libraries stay readable. Call it with
    one thread: with several, files and namespaces would bind only one of them, and are left out. With `accepts` it may take
    connections on a socket it listens on already. Never raises for what the kernel lacks.
    """
    if sys.platform != "linux":
        return Confinement((), 0, dict.fromkeys(LAYERS, "only Linux has it"))
    layers: list[str] = []
    missing: dict[str, str] = {}
    held = 0

    def reach(layer: str, step: Callable[[], object]) -> None:
        try:
            step()
        except OSError as error:
            missing[layer] = error.strerror or str(error)
        else:
            layers.append(layer)

    with contextlib.suppress(OSError):
        prctl(PR_SET_DUMPABLE, 0)
    readable, writable = [*_libraries(), *readable], list(writable)
    is_alone = thread_count() == 1
    if is_alone:
        reach(NETWORK, namespaces.leave)
    _bound_tasks(NETWORK in layers)
    reach(UNPRIVILEGED, _gain_nothing)
    if is_alone:
        held = landlock.version()
        reach(FILES, lambda: landlock.restrict(readable, [*writable, *map(Path, DEVICES)]))
    else:
        missing |= dict.fromkeys((NETWORK, FILES), "this process has several threads")
    reach(CALLS, lambda: seccomp.install(accepts=accepts))
    return Confinement(tuple(layers), held if FILES in layers else 0, missing)


def _gain_nothing() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    drop_capabilities()


def _bound_tasks(is_alone_in_its_namespace: bool) -> None:
    """Bound processes and threads. The kernel counts those of the user, in a user namespace those within it; not of root."""
    others = 0
    if not is_alone_in_its_namespace:
        with contextlib.suppress(OSError):
            others = sum(_tasks(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = MOST_TASKS + others if hard == resource.RLIM_INFINITY else min(MOST_TASKS + others, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _tasks(process: Path) -> int:
    """Return how many threads a process of this user has; none where it is another's, or gone."""
    with contextlib.suppress(OSError):
        if process.stat().st_uid == os.getuid():
            return (process / "task").stat().st_nlink - 2
    return 0


def _libraries() -> list[Path]:
    """Return where this interpreter, its packages and what they load lie; no folder of a project or a home."""
    places = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {Path(path) for path in (*site.getsitepackages(), *SYSTEM, *HARDWARE, *MEMORY, *OWN)}
    places |= {Path(sys.base_prefix, "lib"), Path(__file__).resolve().parents[2]}
    return list(places)
