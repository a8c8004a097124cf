"""The process that supervises one machine: `python -m trivet.serving.supervision DESCRIPTOR`.

`trivet serve` asks settings and database, opens the sockets, writes a plan of what is to run, and becomes this process:
it keeps its process id, and loses Django, NumPy and the connection to the database, which supervising does not need.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from trivet.core.log_sink import LogSink, takes
from trivet.dataplane.engines.guard import forget_the_dead
from trivet.serving.supervisor import Child, Supervisor


@dataclass(frozen=True)
class Plan:
    """What is to run on this machine. Every descriptor in it is inherited."""

    children: list[Child]
    listening: int  # the socket of the web workers
    began: float  # when starting began, on the monotonic clock, in seconds
    voice: int | None = None  # the descriptor on which to say that all are ready
    kept: Sequence[int] = ()  # other descriptors to hold for as long as this runs
    removed: Sequence[str] = ()  # files to remove at the end

    def encode(self) -> bytes:
        """Return it as JSON."""
        children = [
            {one.name: getattr(child, one.name) for one in fields(child) if one.init} for child in self.children
        ]
        return json.dumps({**self.__dict__, "children": children}).encode()

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        """Return what `encode` wrote down."""
        known: dict[str, Any] = json.loads(data)
        return cls(**{**known, "children": [Child(**child) for child in known["children"]]})

    @property
    def descriptors(self) -> tuple[int, ...]:
        return self.listening, *self.kept


def become_supervisor(plan: Plan) -> NoReturn:
    """Replace this process by the one that carries `plan` out."""
    for descriptor in plan.descriptors:
        os.set_inheritable(descriptor, True)
    written = os.memfd_create("trivet-plan", 0)
    with os.fdopen(written, "wb", closefd=False) as file:
        file.write(plan.encode())
    os.lseek(written, 0, os.SEEK_SET)
    os.execv(sys.executable, [sys.executable, "-m", __name__, str(written)])  # noqa: S606  (our own module)


def supervise(plan: Plan) -> int:
    """Keep the children of `plan` running until SIGTERM or SIGINT; return the exit code."""

    def ready() -> None:
        if plan.voice is None or not takes(plan.voice):
            return
        with suppress(OSError):  # whoever listened has gone
            os.write(plan.voice, f"ready in {time.monotonic() - plan.began:.1f} s\n".encode())

    for descriptor in plan.descriptors:
        os.set_inheritable(descriptor, False)
    try:
        return Supervisor(plan.children, on_ready=ready, on_end=lambda: os.close(plan.listening)).run()
    finally:
        for path in plan.removed:
            Path(path).unlink(missing_ok=True)
        for folder in {child.guard_folder for child in plan.children if child.guard_folder}:
            forget_the_dead(Path(folder))


def main(descriptor: str) -> int:
    """Carry out the plan that `descriptor` holds."""
    with os.fdopen(int(descriptor), "rb") as file:
        plan = Plan.decode(file.read())
    return supervise(plan)


if __name__ == "__main__":
    logging.basicConfig(
        format="{asctime} {levelname} {name} {message}", style="{", level=logging.INFO, handlers=[LogSink()]
    )
    sys.exit(main(*sys.argv[1:]))
