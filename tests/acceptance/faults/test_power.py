"""F03: what the kernel was asked, in which order; and a machine that forgets whatever was not synced.

No plug is pulled: strace tells what was on disk at the instant of the kill, and a shim drops the rest.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.disks import PATH, logged
from tests.acceptance.faults.strace import Call, calls_of, can_trace, traced
from tests.acceptance.servers import Load, Server, drained, serving, wait_for
from tests.robustness.score import Score
from tests.scale import scaled

ANSWERS = scaled(test=100, ci=400, full=2000)
CUTS = scaled(test=1, ci=3, full=20)
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
WRITTEN = re.compile(r", (\d+), (\d+)\) += (\d+)$")  # bytes, offset, bytes written
CALLS = ("-y", "-s", "8192", "-e", "trace=pwrite64,fdatasync,write,writev,sendto,sendmsg")

pytestmark = pytest.mark.skipif(not can_trace(), reason="strace cannot trace here")


def test_F03_the_sync_that_covers_a_record_ends_before_its_answer_is_written(churn: Churn, tmp_path: Path):
    with loaded(churn, tmp_path / "trace", "power") as (_, load):
        wait_for(lambda: load.answers.qsize() >= ANSWERS)
        load.stop()
    assert not drained(load.failures)
    read = {answer["parameters"]["prediction_id"] for _, _, answer in drained(load.answers)}
    records: dict[str, Call] = {}
    syncs: list[Call] = []
    told = set()
    for call in calls_of(tmp_path / "trace"):
        if call.name == "fdatasync":
            syncs.append(call)
        elif call.file.endswith(".seg"):
            records |= dict.fromkeys(
                ID.findall(call.text.partition('"')[2])[:1], call
            )  # not that of the worker, in the path
        elif "HTTP/1.1 200" in call.text:
            for prediction_id in set(ID.findall(call.text)) & read:
                record = records[prediction_id]
                covering = [
                    s for s in syncs if s.file == record.file and record.ended < s.began and s.ended < call.began
                ]
                assert covering, f"{prediction_id} was answered before it was on disk"
                told.add(prediction_id)
    assert told == read


@pytest.mark.parametrize("durability", ["power", "process"])
def test_F03_what_was_answered_is_in_the_log_though_all_that_was_not_synced_is_forgotten(
    churn: Churn, tmp_path: Path, score: Score, durability: str
):
    read: set[str] = set()
    for cut in range(CUTS if durability == "power" else 1):
        trace = tmp_path / f"trace{cut}"
        with loaded(churn, trace, durability) as (server, load):
            goal = load.answers.qsize() + ANSWERS // 2 + 7 * cut
            wait_for(lambda: load.answers.qsize() >= goal)  # noqa: B023  (within this turn)
            cut_power(server)
        read |= {answer["parameters"]["prediction_id"] for _, _, answer in drained(load.answers)}
        forgotten = forget_unsynced(churn, trace)
        assert forgotten or durability == "power"
    lost = read - logged(churn).keys()
    if durability == "power":
        score.count("lost_records", len(lost), of=CUTS)
        assert not lost
    else:
        assert lost  # so the shim does forget, and the setting is what keeps


@pytest.mark.parametrize("durability", ["power", "process"])
def test_F03_what_was_shipped_is_in_the_log_though_all_that_the_database_did_not_sync_is_forgotten(
    churn: Churn, tmp_path: Path, score: Score, durability: str
):
    if durability == "process" and not scaled(test=0, ci=1, full=1):
        pytest.skip("that the shim forgets is shown where there is more time")
    with serving(churn.project, workers=1, TRIVET_DURABILITY=durability) as server:
        keeper = keeper_of(server)
        (worker,) = server.web_workers()
        with traced(keeper, "-y", "-e", "trace=pwrite64,fdatasync,fsync", log=tmp_path / "trace"):
            os.kill(keeper, signal.SIGSTOP)
            with Load(server, churn.body, churn.key, path=PATH, clients=6) as load:
                wait_for(lambda: load.answers.qsize() >= ANSWERS)
            held = list((churn.project / ".trivet" / "spool").rglob("*.seg"))
            os.kill(worker, signal.SIGKILL)  # so that its segment is shipped to its end and removed
            os.kill(keeper, signal.SIGCONT)
            wait_for(lambda: not any(path.exists() for path in held))
            cut_power(server)
    read = {answer["parameters"]["prediction_id"] for _, _, answer in drained(load.answers)}
    forget_unsynced_commits(churn.project / "db.sqlite3-wal", tmp_path / "trace")
    lost = read - logged(churn).keys()
    if durability == "power":
        score.count("lost_records", len(lost), of=1)
        assert not lost
    else:
        assert lost  # so the shim does forget


@contextmanager
def loaded(churn: Churn, trace: Path, durability: str) -> Iterator[tuple[Server, Load]]:
    """Serve under load with one web worker that is traced, while nobody ships: the spool alone has the records."""
    with serving(churn.project, workers=1, TRIVET_DURABILITY=durability) as server:
        keeper = keeper_of(server)
        os.kill(keeper, signal.SIGSTOP)
        (worker,) = server.web_workers()
        try:
            with traced(worker, *CALLS, log=trace), Load(server, churn.body, churn.key, path=PATH, clients=6) as load:
                yield server, load
        finally:
            with suppress(ProcessLookupError):
                os.kill(keeper, signal.SIGCONT)


def keeper_of(server: Server) -> int:
    """Return the process that ships."""
    (keeper,) = (pid for pid in server.children() if b"keeper" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return keeper


def cut_power(server: Server) -> None:
    """Kill everything at once."""
    children = server.children()
    for pid in (server.process.pid, *children):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in children))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def forget_unsynced(churn: Churn, trace: Path) -> int:
    """Drop from each segment what was written after the last sync that ended; return how many bytes that were."""
    written: dict[str, list[tuple[int, int]]] = {}  # by file: the line at which a write ended, and its end in the file
    safe: dict[str, int] = {}
    for call in calls_of(trace):
        if call.name == "pwrite64" and call.file.endswith(".seg"):
            found = WRITTEN.search(call.text)
            assert found, call.text[-80:]
            _, offset, size = map(int, found.groups())
            if call.text.partition('"')[2].startswith("TV"):
                written.setdefault(call.file, []).append((call.ended, offset + size))
        elif call.name == "fdatasync":
            ends = [end for ended, end in written.get(call.file, []) if ended < call.began]
            safe[call.file] = max([safe.get(call.file, 0), *ends])
    forgotten = 0
    for path in (churn.project / ".trivet" / "spool").rglob("*.seg"):
        if str(path) not in written and str(path) not in safe:
            continue  # of an earlier turn
        content = bytearray(path.read_bytes())
        kept = safe.get(str(path), 0)
        forgotten += max((end for _, end in written.get(str(path), [])), default=0) - kept
        content[kept:] = bytes(len(content) - kept)
        path.write_bytes(content)
    return forgotten


def forget_unsynced_commits(log: Path, trace: Path) -> None:
    """Drop from SQLite's write-ahead log what the traced process wrote after the last sync of it that ended."""
    written: list[tuple[int, int, int]] = []  # the line at which a write ended, its offset and size
    for call in calls_of(trace):
        if call.file == str(log) and call.name == "pwrite64":
            found = WRITTEN.search(call.text)
            assert found, call.text[-80:]
            _, offset, size = map(int, found.groups())
            written.append((call.ended, offset, size))
        elif call.file == str(log):
            written = [write for write in written if write[0] > call.began]
    with log.open("r+b") as file:
        for _, offset, size in written:
            file.seek(offset)
            file.write(bytes(size))
