"""F18 (promise 9): a bundle damaged or gone while it serves goes on from memory, and is never loaded again as it is."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.faults.invariants import Afresh, assert_allowed, bundle_folder
from tests.acceptance.faults.ledger import clients
from tests.acceptance.servers import Server, serving, trivet, wait_for
from tests.scale import scaled

ANSWERS = 40
MODEL = "model.onnx"
NOT_LOADED = "churn: version 2 could not be loaded here; the server's log says why."


def flip(folder: Path) -> None:
    path = folder / MODEL
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def cut(folder: Path) -> None:
    path = folder / MODEL
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[: len(data) // 2])


def swap(folder: Path) -> None:
    """Put another bundle's good model in its place."""
    other = next(path for path in folder.parents[2].rglob(MODEL) if path.parent != folder)
    (folder / MODEL).unlink()
    shutil.copy(other, folder / MODEL)


def lose(folder: Path) -> None:
    shutil.rmtree(folder)


DAMAGE = [flip, lose, cut, swap][: scaled(test=1, ci=4, full=4)]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_F18_a_damaged_bundle_serves_from_memory_and_after_a_restart_nothing_unverified_does(
    churn: Churn, tmp_path: Path, damage: Callable[[Path], None]
):
    trivet("promote", "churn@2", project=churn.project)
    digest = json.loads(trivet("show", "churn@2", "--json", project=churn.project).stdout)["digest"]
    folder, kept = bundle_folder(churn.project, digest), tmp_path / "kept"
    shutil.copytree(folder, kept)
    good = {Afresh(churn).said(digest, place) for place in range(len(churn.rows))}
    with serving(churn.project) as server, clients(churn, server.port, tmp_path / "ledger", count=2) as asking:
        asking.wait_for_answers(ANSWERS)
        damage(folder)
        asking.wait_for_answers(ANSWERS)
    assert_allowed(asking.lines, [])
    assert {(line.status, line.version) for line in asking.lines} == {(200, 2)}
    assert {line.said for line in asking.lines} <= good
    with serving(churn.project, workers=1) as server:  # without a policy nobody stands in
        status, answer = ask(server, churn)
        assert (status, answer["error"]) == (503, NOT_LOADED)
        assert get(server, churn, "/v2/models/churn/ready") == 503
        assert get(server, churn, "/v2/models/churn/versions/1/ready") == 200
        assert any("event=version_not_loaded model=churn version=2" in line for line in server.lines)
        told = trivet("route", "churn", "2=100", "--fallback", "1", project=churn.project, check=False)
        assert (told.returncode, "behind: web" in told.stdout) == (1, True)  # what has the traffic is loaded nowhere
        wait_for(lambda: ask(server, churn)[0] == 200)
        status, answer = ask(server, churn)
        assert (answer["model_version"], answer["parameters"]["fallback_from"]) == ("1", "2")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)  # from a backup
        wait_for(lambda: ask(server, churn)[1]["model_version"] == "2")
        assert get(server, churn, "/v2/models/churn/ready") == 200


def ask(server: Server, churn: Churn) -> tuple[int, dict]:
    """Return status and answer of a prediction."""
    headers = {"Authorization": f"Bearer {churn.key}"}
    return exchange(server, "POST", "/v2/models/churn/infer", churn.body, headers)


def get(server: Server, churn: Churn, path: str) -> int:
    """Return the status of a question."""
    return exchange(server, "GET", path, None, {"Authorization": f"Bearer {churn.key}"})[0]


def exchange(server: Server, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content) if content else {}
