"""A process that promotes a version of `churn` when told to, unless the model changed since it was last looked at.

`promoter` starts it and is what tests use; `python -m tests.acceptance.promoter` is the process. Both read the same clock
(CLOCK_MONOTONIC is the machine's), so that several can be told to act at one moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.servers import DEADLINE_SECONDS, clean_environment

REPOSITORY = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """What became of one attempt: a generation that all but `behind` follow, or what the promoter was told instead."""

    version: int
    started: float
    returned: float
    generation: int | None
    live: int
    behind: list[str]
    told: str


class Promoter:
    """A handle on the process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, version: int, *, seen: int, at: float) -> None:
        """Let it promote `version` at the moment `at`, having seen the model in generation `seen`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"version": version, "seen": seen, "at": at}) + "\n")
        self._process.stdin.flush()

    def outcome(self) -> Outcome:
        """Return what became of it."""
        assert self._process.stdout is not None
        return Outcome(*json.loads(self._process.stdout.readline()))


@contextmanager
def promoter(project: Path, name: str) -> Iterator[Promoter]:
    """Yield a promoter who is the user `name` of `project`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.promoter"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(
            TRIVET_PROJECT=str(project), DJANGO_SETTINGS_MODULE="trivet.server.settings", PROMOTER=name
        ),
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()  # from here on it is quick
        yield Promoter(process)
    finally:
        process.communicate(timeout=DEADLINE_SECONDS)


def main() -> None:
    """Print a line once it is ready; then promote as the lines of standard input say, and print each `Outcome` as JSON."""
    import django

    django.setup()
    print(flush=True)
    actor = f"user:{os.environ['PROMOTER']}"
    for line in sys.stdin:
        print(json.dumps(_promote(actor, **json.loads(line))), flush=True)


def _promote(actor: str, *, version: int, seen: int, at: float) -> Outcome:
    from trivet.control.registry import actions
    from trivet.core.errors import Conflict, Refused
    from trivet.serving.acknowledgement import wait_for_workers

    time.sleep(max(0.0, at - time.monotonic()))
    started = time.monotonic()
    behind: Any = []
    try:
        event = actions.promote(model="churn", version=version, actor=actor, expected_generation=seen)
    except (Conflict, Refused) as error:
        return Outcome(version, started, time.monotonic(), None, 0, behind, f"{type(error).__name__}: {error}")
    acknowledged = wait_for_workers(event.generation, event.model)
    behind = list(acknowledged.behind)
    return Outcome(version, started, time.monotonic(), event.generation, acknowledged.live, behind, "")


if __name__ == "__main__":
    main()
