"""The ledger: what client processes have read, line by line, while a server suffers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.client import NO_ANSWER, Line, Wish
from tests.acceptance.servers import DEADLINE_SECONDS, wait_for
from tests.scale import scaled

REPOSITORY = Path(__file__).parents[3]
PATH = "/v2/models/churn/infer"
PROBE_SECONDS = 0.05
CLIENTS = scaled(test=4, ci=8, full=8)
DATATYPES = (("tenure", "FP64"), ("plan", "BYTES"), ("seats", "INT64"))


def bodies_of(churn: Churn) -> list[str]:
    """Return a request for each of the rows."""
    return [
        json.dumps(
            {
                "inputs": [
                    {"name": name, "shape": [1, 1], "datatype": datatype, "data": [row[name]]}
                    for name, datatype in DATATYPES
                ]
            }
        )
        for row in churn.rows
    ]


class Clients:
    """Client processes with a ledger each; `lines` is what all of them wrote until now."""

    def __init__(
        self, churn: Churn, port: int, folder: Path, *, count: int = CLIENTS, path: str = PATH, probes: bool = True
    ) -> None:
        """Start `count` clients of the server on `port`; with `probes` one more, which judges readiness."""
        folder.mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()
        self._lines: list[Line] = []
        wish = {"port": port, "path": path, "key": churn.key, "bodies": bodies_of(churn)}
        wishes = [Wish(**wish, ledger=str(folder / f"{n}.ledger"), client=n, first=n * 3) for n in range(count)]
        if probes:
            wishes.append(
                Wish(**wish, ledger=str(folder / "probe.ledger"), client=count, probes=True, pause=PROBE_SECONDS)
            )
        self._files = {Path(one.ledger): 0 for one in wishes}  # how far each was read, in bytes
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.acceptance.faults.client", json.dumps(asdict(one))], cwd=REPOSITORY
            )
            for one in wishes
        ]

    @property
    def lines(self) -> Sequence[Line]:
        """What the clients wrote until now."""
        for path, offset in self._files.items():
            with suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(offset)
                whole = file.read().rpartition(b"\n")[0]
                if whole:
                    self._lines.extend(Line(*json.loads(line)) for line in whole.split(b"\n"))
                    self._files[path] = offset + len(whole) + 1
        return self._lines

    @property
    def answered(self) -> list[Line]:
        """The predictions that the clients read."""
        return [line for line in self.lines if line.status == 200]

    def wait_for_answers(self, more: int) -> None:
        """Return once so many answers more have been read."""
        goal = len(self.answered) + more
        wait_for(lambda: len(self.answered) >= goal)

    def wait_for_answer_since(self, moment: float) -> float:
        """Return when the first answer was read to a request that began after `moment`."""

        def found() -> float | None:
            ends = [line.ended for line in self.lines if line.status == 200 and line.started > moment]
            return min(ends, default=None)

        return float(wait_for(found))

    def stop(self) -> None:
        """Ask nothing more; return once what was asked has ended."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=DEADLINE_SECONDS)
        alive = [process for process in self._processes if process.poll() is None]
        for process in alive:
            process.kill()
            process.wait()
        assert not alive, "a client waits for an answer that does not come"


@contextmanager
def clients(churn: Churn, port: int, folder: Path, **options: object) -> Iterator[Clients]:
    """Let clients ask, as `Clients` would with these options, for as long as the block runs."""
    asking = Clients(churn, port, folder, **options)  # type: ignore[arg-type]
    try:
        yield asking
    finally:
        asking.stop()


__all__ = ["NO_ANSWER", "Clients", "Line", "bodies_of", "clients"]
