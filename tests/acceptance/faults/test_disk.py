"""F07: a disk that is full, one at a time: nothing is lost silently, nothing is half done, and it recovers by itself."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.disks import Disk, Quota, Told, ask, fetch, large_body, logged, ready, small_disk
from tests.acceptance.servers import Server, serving, trivet, wait_for
from tests.scale import scaled

RECOVERY_SECONDS = 5.0
KINDS = ["disk", "quota"][: scaled(test=1, ci=2, full=2)]
ONE_SEGMENT = 24 << 20  # bytes of a disk on which a second one has no room


@contextmanager
def with_little_room(churn: Churn, kind: str, **environment: str) -> Iterator[tuple[Server, Disk | Quota]]:
    """Serve with one worker, whose log has room for a segment, or is about to have none."""
    with ExitStack() as stack:
        disk: Disk | Quota | None = None
        if kind == "disk":
            disk = stack.enter_context(small_disk(churn.project / ".trivet" / "spool", ONE_SEGMENT))
        server = stack.enter_context(serving(churn.project, workers=1, **environment))
        yield server, disk or Quota(server)


@pytest.mark.parametrize("kind", KINDS)
def test_F07_where_the_log_has_no_room_nothing_is_answered_without_a_record(churn: Churn, kind: str):
    large = large_body()
    answers: list[Told] = []
    with with_little_room(churn, kind) as (server, room):
        answers.append(ask(server, churn))
        room.fill()
        answers += until(server, churn, large, lambda told: told.status != 200)
        refused = [ask(server, churn, body) for body in (large, churn.body) for _ in range(3)]
        assert {(told.status, told.code) for told in (answers.pop(), *refused)} == {(503, "LOG_UNAVAILABLE")}
        assert ready(server)[0] == 503
        room.free()
        wait_for(lambda: ready(server)[0] == 200, RECOVERY_SECONDS)
        answers += [ask(server, churn) for _ in range(5)]
        assert server.stop() == 0
        log = logged(churn)
    assert {told.prediction_id: told.rows for told in answers} == log


@pytest.mark.parametrize("kind", KINDS)
def test_F07_who_would_rather_answer_without_a_record_counts_what_is_lost(churn: Churn, kind: str):
    viewer = key_to_view(churn)
    with with_little_room(churn, kind, TRIVET_SPOOL_FULL="serve") as (server, room):
        answers = [ask(server, churn)]
        assert ready(server) == (200, {"live": True, "ready": True})
        room.fill()
        answers += until(server, churn, large_body(), lambda _: lost(server, viewer) > 0)
        answers += [ask(server, churn) for _ in range(5)]
        assert ready(server) == (200, {"live": True, "ready": True, "log": False})
        room.free()
        wait_for(lambda: ready(server)[1].get("log", True), RECOVERY_SECONDS)
        answers += [ask(server, churn) for _ in range(5)]
        counted = lost(server, viewer)
        assert server.stop() == 0
        log = logged(churn)
    assert {told.status for told in answers} == {200}
    told = {one.prediction_id for one in answers}
    assert len(told - log.keys()) == counted > 0
    assert not log.keys() - told
    assert sum("event=spool_unwritable" in line for line in server.lines) == 1
    assert any(f"event=spool_writable lost={counted}" in line for line in server.lines)


def test_F07_readiness_notices_a_log_that_cannot_be_written_though_nobody_asks(churn: Churn):
    with with_little_room(churn, "quota") as (server, room):
        ask(server, churn)
        wait_for(lambda: ready(server)[0] == 200)
        for _ in range(20):
            ask(server, churn)  # beyond the first page, which the bound leaves writable
        room.fill()
        wait_for(lambda: ready(server)[0] == 503, RECOVERY_SECONDS)
        room.free()
        wait_for(lambda: ready(server)[0] == 200, RECOVERY_SECONDS)
        assert ask(server, churn).status == 200


def test_F07_a_worker_that_starts_on_a_full_disk_waits_for_room(churn: Churn):
    with small_disk(churn.project / ".trivet", 64 << 20) as disk, serving(churn.project, workers=1) as server:
        first = ask(server, churn)
        disk.fill()
        (keeper,) = (pid for pid in server.children() if b"keeper" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(keeper, signal.SIGSTOP)  # it would make room: what the dead leave is shipped and removed
        (victim,) = server.web_workers()
        os.kill(victim, signal.SIGKILL)
        (successor,) = wait_for(lambda: set(server.web_workers()) - {victim})
        wait_for(lambda: answers(server))
        assert (ask(server, churn).code, ready(server)[0]) == ("LOG_UNAVAILABLE", 503)
        disk.free()
        os.kill(keeper, signal.SIGCONT)
        wait_for(lambda: ready(server)[0] == 200, RECOVERY_SECONDS)
        second = ask(server, churn)
        assert server.web_workers() == [successor]
        assert server.stop() == 0
        assert logged(churn) == {first.prediction_id: 1, second.prediction_id: 1}


def test_F07_a_push_that_finds_no_room_leaves_nothing_behind(churn: Churn, churn_template: Churn, tmp_path: Path):
    samples = churn_template.project.parent
    few = tmp_path / "few.csv"
    few.write_text("".join((samples / "sample.csv").read_text().splitlines(keepends=True)[:300]))
    push = ["push", str(samples / "churn1.joblib"), "--name=churn", f"--sample={few}", "--labels=churned"]
    before = versions(churn)
    bundles = churn.project / ".trivet" / "bundles"
    with small_disk(bundles, 8 << 20) as disk:
        disk.fill()
        files = files_in(bundles)
        refused = trivet(*push, project=churn.project, check=False)
        assert refused.returncode != 0
        assert "Traceback" not in refused.stderr
        assert "No space left" in refused.stderr
        assert versions(churn) == before
        assert files_in(bundles) == files
        disk.free()
        trivet(*push, project=churn.project)
        assert len(versions(churn)) == len(before) + 1


def test_F07_with_the_database_full_predictions_go_on_and_the_log_is_complete_afterwards(churn: Churn, tmp_path: Path):
    database = churn.project / "db.sqlite3"
    with small_disk(tmp_path / "database", 16 << 20) as disk:
        moved = disk.folder / database.name
        moved.write_bytes(database.read_bytes())
        database.unlink()
        database.symlink_to(moved)
        with serving(churn.project, workers=2) as server:
            disk.fill()
            answers = [ask(server, churn) for _ in range(50)]
            answers += [ask(server, churn, large_body(200)) for _ in range(20)]
            refused = trivet(
                "keys", "create", "late", "--model=churn", "--verb=view", project=churn.project, check=False
            )
            disk.free()
            answers += [ask(server, churn) for _ in range(5)]
            assert server.stop() == 0
        log = logged(churn)
    assert {told.status for told in answers} == {200}
    assert {told.prediction_id: told.rows for told in answers} == log
    assert refused.returncode == 0 or "full" in refused.stderr


def test_F07_with_the_temporary_folder_full_predictions_go_on_and_a_push_is_whole_or_nothing(
    churn: Churn, churn_template: Churn, tmp_path: Path
):
    samples = churn_template.project.parent
    with small_disk(tmp_path / "temporary", 1 << 20) as disk:
        disk.fill()
        temporary = str(disk.folder)
        with serving(churn.project, workers=1, TMPDIR=temporary) as server:
            assert [ask(server, churn).status for _ in range(5)] == [200] * 5
        before = versions(churn)
        push = ["push", str(samples / "churn1.joblib"), "--name=other", f"--sample={samples / 'sample.csv'}"]
        done = trivet(*push, "--labels=churned", project=churn.project, check=False, TMPDIR=temporary)
        assert "Traceback" not in done.stderr
        assert versions(churn) == before
        assert done.returncode == 0 or not versions(churn, "other")
        assert files_in(disk.folder) == {"filler"}


# --- what a test looks at -----------------------------------------------------------------------------------------


def until(server: Server, churn: Churn, body: bytes, is_enough: Callable[[Told], bool]) -> list[Told]:
    """Ask until an answer is enough; return all of them, that one included."""
    answers = []
    for _ in range(60):
        answers.append(ask(server, churn, body))
        if is_enough(answers[-1]):
            return answers
    raise AssertionError(f"the disk was never full: {answers[-1]}")


def key_to_view(churn: Churn) -> str:
    made = trivet("keys", "create", "viewer", "--model=*", "--verb=view", "--json", project=churn.project).stdout
    return str(json.loads(made)["key"])


def lost(server: Server, viewer: str) -> int:
    """Return how many records the metrics say are lost."""
    _, _, text = fetch(server, "GET", "/metrics", viewer, None)
    found = [line for line in text.decode().splitlines() if line.startswith("trivet_spool_lost_records_total ")]
    return int(float(found[0].split()[1]))


def answers(server: Server) -> bool:
    with suppress(OSError):
        return fetch(server, "GET", "/v2/health/live", "", None)[0] == 200
    return False


def versions(churn: Churn, model: str = "churn") -> list[int]:
    """Return the numbers of the model's versions, read without our own code."""
    query = (
        "select number from trivet_modelversion join trivet_registeredmodel on model_id = trivet_registeredmodel.id"
        " where name = ? order by 1"
    )
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        return [number for (number,) in database.execute(query, (model,))]


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
