"""A process that moves the traffic of `churn` when told to, and at once asks each web worker which version answers.

`mover` starts it and is what tests use; `python -m tests.acceptance.mover` is the process. Both read the same clock
(CLOCK_MONOTONIC is the machine's).
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.connections import connection_to
from tests.acceptance.servers import DEADLINE_SECONDS, Server, clean_environment

REPOSITORY = Path(__file__).parents[2]
PATH = "/v2/models/churn/infer"


class Move(NamedTuple):
    """One promotion or rollback, as the process that made it saw it."""

    version: int  # champion from then on
    started: float
    returned: float
    live: int
    behind: list[str]
    met: dict[str, str]  # the version each worker answered with, asked after the return


@contextmanager
def mover(
    server: Server, body: bytes, key: str, workers: Sequence[int], **environment: str
) -> Iterator[Callable[[str], Move]]:
    """Yield a function that promotes version 2 ("promote") or rolls back ("rollback"), and asks these web workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.mover"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(
            TRIVET_PROJECT=str(server.project),
            DJANGO_SETTINGS_MODULE="trivet.server.settings",
            ASKING=json.dumps({"port": server.port, "body": body.decode(), "key": key, "workers": list(workers)}),
            **environment,
        ),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told, heard = process.stdin, process.stdout

    def move(verb: str) -> Move:
        told.write(f"{verb}\n")
        told.flush()
        return Move(*json.loads(heard.readline()))

    try:
        yield move
    finally:
        process.communicate(timeout=DEADLINE_SECONDS)


def assert_linearizable(answers: list[tuple[float, float, int]], moves: list[Move]) -> None:
    """A request that started after a move had returned, and ended before the next one began, has that move's version."""
    checked = 0
    next_starts = [*(move.started for move in moves[1:]), float("inf")]
    for move, next_start in zip(moves, next_starts, strict=True):
        between = [version for started, ended, version in answers if move.returned < started and ended < next_start]
        assert set(between) <= {move.version}, f"after {move}: {between}"
        checked += len(between)
    assert checked >= len(moves)


class Asking:
    """A kept-alive connection to each of some web workers."""

    def __init__(self, port: int, body: str, key: str, workers: list[int]) -> None:
        self._body, self._headers = body, {"Authorization": f"Bearer {key}"}
        self._to = {worker: connection_to(port, worker) for worker in workers}

    def versions(self) -> dict[str, str]:
        """Return the version that each worker answers with."""
        return {str(worker): self._version(connection) for worker, connection in self._to.items()}

    def close(self) -> None:
        """Close the connections."""
        for connection in self._to.values():
            connection.close()

    def _version(self, connection: http.client.HTTPConnection) -> str:
        connection.request("POST", PATH, self._body, self._headers)
        return str(json.loads(connection.getresponse().read())["model_version"])


def main() -> None:
    """Move traffic as the lines of standard input say, and print each `Move` as JSON."""
    import django

    django.setup()
    from trivet.control.registry import actions
    from trivet.serving.acknowledgement import wait_for_workers

    asking = Asking(**json.loads(os.environ["ASKING"]))
    for line in sys.stdin:
        started = time.monotonic()
        if line.strip() == "promote":
            event = actions.promote(model="churn", version=2, actor="user:mover")
        else:
            event = actions.roll_back(model="churn", actor="user:mover")
        told = wait_for_workers(event.generation, event.model)
        returned = time.monotonic()
        assert event.version is not None
        print(
            json.dumps(Move(event.version, started, returned, told.live, list(told.behind), asking.versions())),
            flush=True,
        )


if __name__ == "__main__":
    main()
