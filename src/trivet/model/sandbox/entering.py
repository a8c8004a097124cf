"""Enter: the first steps of a disposable process, the same whether a zygote forked it or an interpreter began with it.

A session of its own; it dies with who started it; nobody else reads its memory; no descriptor but those it was given. Then
it runs a module's `main`, which limits and confines it before it opens anything. `python -I -m` this module does the same
in a new interpreter.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from importlib import import_module

from trivet.model.sandbox.kernel import PR_SET_DUMPABLE, PR_SET_PDEATHSIG, prctl

STANDARD = 3  # descriptors 0 to 2
MOST_DESCRIPTORS = 2**20
CRASHED = 1


def enter(parent: int, kept: Collection[int]) -> None:
    """Leave session and descriptors of whoever started this process, and end when the process `parent` does.

    Descriptors 0 to 2 and `kept` stay. A parent that has died already was replaced by another: then this ends at once.
    """
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    if sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_DUMPABLE, 0)
    if os.getppid() != parent:
        os._exit(CRASHED)
    close_all_but({*range(STANDARD), *kept})


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor of this process that is not in `kept` (close_range(2), through `os.closerange`)."""
    low = 0
    for descriptor in sorted({*kept, MOST_DESCRIPTORS}):
        if descriptor > low:
            os.closerange(low, descriptor)
        low = descriptor + 1


def run(module: str, arguments: Collection[str]) -> int:
    """Call `main` of `module` as if an interpreter had begun with it; return its exit code. What it raises goes to stderr."""
    sys.argv = [module, *arguments]
    try:
        code = import_module(module).main()
        return code if isinstance(code, int) else 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else CRASHED
    except BaseException:  # noqa: BLE001  (whatever it is, this process ends with it)
        sys.excepthook(*sys.exc_info())
        return CRASHED


def main() -> int:
    """Enter, then run: PARENT, MODULE, the descriptors to keep with commas between them, and the module's arguments."""
    parent, module, kept, *arguments = sys.argv[1:]
    enter(int(parent), [int(descriptor) for descriptor in kept.split(",") if descriptor])
    return run(module, arguments)


if __name__ == "__main__":
    sys.exit(main())
