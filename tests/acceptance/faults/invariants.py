"""What must hold of a ledger, of the log, and of what a server leaves behind (robustness.md: I1-I7).

I1  every 200 of the ledger is in the log      I2  none is there twice
I3  what the log says is what the client read, and what that version's bundle says when it is run afresh
I4  who says to be ready answers               I5  nothing is left: process, descriptor, file, socket, shared memory
I6  answers come again within the bound        I7  only 200, 429, 503, 504, or a reset of who was asked a dead process
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tests.acceptance.conftest import Churn
from tests.acceptance.databases import parsed, rows_of
from tests.acceptance.faults.client import NO_ANSWER, Line, digest_of_outputs
from tests.acceptance.servers import trivet
from tests.robustness.score import Score
from trivet.core.datatypes import NUMPY_DTYPES
from trivet.dataplane.engines.inline import InlineEngine
from trivet.model.bundle.bundle import Bundle, read_bundle

QUERY = """select prediction_id, "row", version, digest, inputs, output from trivet_prediction where kind = 'predict'"""
ALLOWED = (200, 429, 503, 504)
# in TRIVET_HOME
LEFT_BY_DESIGN = ("keeper.lock", "watching.lock", "metrics/", "bundles/", "run/address", "run/model-workers.lock")
COUNTED_DEATHS = (".deaths", ".given-up")  # a kill met a run


class Runs(Protocol):
    """What answers: a loaded version, or a runtime by itself."""

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Sequence[np.ndarray]:
        """Return the arrays of `outputs`."""


class Logged(NamedTuple):
    """One row of the log."""

    prediction_id: str
    row: int  # of those asked at once
    version: int
    digest: str
    inputs: dict[str, Any]
    said: str


@dataclass
class Fault:
    """One fault: when it began and ended, and whose connections it had to leave alone, by the ports of the clients."""

    began: float
    ended: float = 0.0
    spared: frozenset[int] = frozenset()

    def excuses(self, line: Line) -> bool:
        """True when this request got no answer because of this fault, as far as one can know.

        A connection that no process had taken yet may have been taken by the one that was killed.
        """
        return line.ended >= self.began and line.opened <= self.ended and line.port not in self.spared


@dataclass
class Findings:
    """What does not hold, and how many answers were judged."""

    answers: int
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def assert_none(self) -> None:
        """Fail where anything does not hold."""
        assert not self.lost, f"I1: {len(self.lost)} of {self.answers} answers are not in the log: {self.lost[:3]}"
        assert not self.doubled, f"I2: {len(self.doubled)} are there twice: {self.doubled[:3]}"
        assert not self.different, f"I3: {len(self.different)} differ: {self.different[:3]}"


def compare(churn: Churn, lines: Iterable[Line], *, afresh: Afresh | None = None) -> Findings:
    """Compare a ledger with the log, which nobody writes to any more.

    The log is read without our own code. `afresh` runs the bundles, where they are not the usual ones.
    """
    answered = [line for line in lines if line.status == 200]
    rows = [logged_of(row) for row in rows_of(churn.project, QUERY)]
    log = {row.prediction_id: row for row in rows if row.row == 0}  # clients of a ledger ask one row at a time
    afresh = afresh or Afresh(churn)
    findings = Findings(
        len(answered),
        doubled=[i for (i, _), n in Counter((row.prediction_id, row.row) for row in rows).items() if n > 1],
    )
    findings.doubled += [i for i, n in Counter(line.prediction_id for line in answered).items() if n > 1]
    for line in answered:
        row = log.get(line.prediction_id)
        if row is None:
            findings.lost.append(line.prediction_id)
            continue
        said = afresh.said(row.digest, line.body)
        if (row.version, row.inputs, row.said, line.said) != (line.version, churn.rows[line.body], said, said):
            findings.different.append(f"{row} was read as {line}")
    return findings


def settle(
    churn: Churn, lines: Iterable[Line], score: Score | None = None, *, kills: int = 0, afresh: Afresh | None = None
) -> Findings:
    """Let the keeper finish, then assert I1-I3 of a ledger; count what was lost or doubled over `kills`."""
    trivet("keeper", "--once", project=churn.project)
    findings = compare(churn, lines, afresh=afresh)
    if score is not None:
        score.count("lost_records", len(findings.lost) + len(findings.doubled), of=kills)
    findings.assert_none()
    trivet("verify", "--log", project=churn.project)  # the chain is whole, whenever its keeper died
    return findings


def assert_allowed(lines: Iterable[Line], faults: Sequence[Fault]) -> None:
    """I4 and I7: who said to be ready answered, and nobody else's connection was cut."""
    for line in lines:
        if line.status == NO_ANSWER:
            assert any(fault.excuses(line) for fault in faults), f"I7: a reset that no fault explains: {line}"
        else:
            assert line.status in ALLOWED, f"I7: {line}"
        assert line.ready != 200 or line.status in (200, NO_ANSWER), f"I4: it said to be ready: {line}"


def recovery_seconds(lines: Iterable[Line], faults: Iterable[Fault]) -> list[float]:
    """I6: how long after each fault began the last of the clients that it cut off had an answer again, in seconds.

    0 for a fault that cut nobody off.
    """
    by_client: dict[int, list[Line]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: line.started):
        by_client[line.client].append(line)
    found = []
    for fault in faults:
        waits = [0.0]
        for own in by_client.values():
            cut = next((line for line in own if line.status == NO_ANSWER and fault.excuses(line)), None)
            if cut is not None:
                back = (line.ended for line in own if line.status == 200 and line.started >= cut.ended)
                waits.append(next(back, float("inf")) - fault.began)
        found.append(max(waits))
    return found


def logged_of(row: tuple[Any, ...]) -> Logged:
    """Return a row of the log as every database gives it."""
    prediction_id, place, version, digest, inputs, output = row
    text = str(prediction_id).replace("-", "")
    public = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    named = {name: flat(value) for name, value in parsed(output).items()}
    return Logged(public, place, version, digest, parsed(inputs), digest_of_outputs(named))


def flat(value: Any) -> list[Any]:
    """Return an output of one row, as the log names it, as a flat list."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


class Afresh:
    """Runs the project's bundles here, each loaded anew from its files, whose digest is looked at."""

    def __init__(
        self, churn: Churn, load: Callable[[Bundle], Runs] | None = None, outputs: Sequence[str] | None = None
    ) -> None:
        """`load` makes of a bundle what runs it, and `outputs` are those that were asked for, where not all were."""
        self._churn = churn
        self._load = load or InlineEngine().load
        self._outputs = outputs
        self._said: dict[str, list[str]] = {}

    def said(self, digest: str, place: int) -> str:
        """Return the digest of what the bundle says of the row at `place`."""
        if digest not in self._said:
            self._said[digest] = self._all(digest)
        return self._said[digest][place]

    def _all(self, digest: str) -> list[str]:
        bundle = read_bundle(bundle_folder(self._churn.project, digest), digest)
        version = self._load(bundle)
        names = list(self._outputs or (output.name for output in bundle.signature.outputs))
        kinds = [(given.name, NUMPY_DTYPES[given.datatype]) for given in bundle.signature.inputs]
        told = []
        for row in self._churn.rows:
            tensors = {name: np.array([[row[name]]], dtype=kind) for name, kind in kinds}
            arrays = version.run(bundle.feed(tensors), names)
            told.append(digest_of_outputs({n: a.ravel().tolist() for n, a in zip(names, arrays, strict=True)}))
        return told


def bundle_folder(project: Path, digest: str) -> Path:
    """Return where the project keeps a bundle."""
    return project / ".trivet/bundles/sha256" / digest[:2] / digest[2:4] / digest


class Leftovers:
    """I5: what there was of a project before, to be compared with what there is once its server has ended."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._shared = _shared_memory()

    def assert_none(self) -> None:
        """Fail where a process, a file of one, a socket or shared memory is left."""
        assert not processes_in(self._project), f"I5: {processes_in(self._project)} still run"
        assert _shared_memory() <= self._shared, f"I5: {_shared_memory() - self._shared} in /dev/shm"
        home = self._project / ".trivet"
        left = [path for path in home.rglob("*") if path.is_socket() or (path.is_file() and not _belongs(path, home))]
        assert not left, f"I5: {left}"


def _belongs(path: Path, home: Path) -> bool:
    if path.suffix in COUNTED_DEATHS:
        return path.parent == home / "run" / "inline"
    return str(path.relative_to(home)).startswith(LEFT_BY_DESIGN) and ".new" not in path.suffixes


def _shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir() if "trivet" in path.name}


def processes_in(project: Path) -> list[tuple[int, str]]:
    """Return the processes that work in `project`, with their command lines."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if (folder / "cwd").readlink() == project:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(folder.name), command))
    return found
