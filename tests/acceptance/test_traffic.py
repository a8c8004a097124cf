"""Promise 5: promote and roll back under load without a failed request, and the log names the version that answered."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.databases import OF_A_ROW, rows_of
from tests.acceptance.mover import PATH, Move, assert_linearizable, mover
from tests.acceptance.servers import Load, Server, drained, serving, trivet, wait_for
from tests.robustness.score import Score
from tests.scale import scaled

MOVES = {False: scaled(test=20, ci=60, full=200), True: scaled(test=6, ci=20, full=200)}  # by whether on PostgreSQL
WORKERS = 4
ANSWERS_BETWEEN = 8  # of the clients that load the server; the mover asks each worker itself, once it was told


@pytest.mark.slow
@pytest.mark.parametrize("churn", OF_A_ROW, indirect=True)
def test_F14_promotions_and_rollbacks_under_load_fail_no_request_and_hold_from_their_return(churn: Churn, score: Score):
    moves: list[Move] = []
    count = MOVES[churn.is_on_postgres]
    with serving(churn.project, workers=WORKERS) as server:
        workers = server.web_workers()
        with (
            mover(server, churn.body, churn.key, workers) as move,
            Load(server, churn.body, churn.key, path=PATH) as load,
        ):
            for number in range(count):
                goal = load.answers.qsize() + ANSWERS_BETWEEN
                wait_for(lambda goal=goal: load.answers.qsize() >= goal)
                made = move("promote" if number % 2 == 0 else "rollback")
                assert (made.version, made.live, made.behind) == (2 - number % 2, WORKERS, [])
                assert made.met == {str(worker): str(made.version) for worker in workers}
                moves.append(made)
        assert server.stop() == 0
    answers = drained(load.answers)
    failed = [*drained(load.failures), *drained(load.resets)]
    score.count("failed_in_promotions", len(failed), of=count)
    assert not failed
    assert_linearizable([(started, ended, int(answer["model_version"])) for started, ended, answer in answers], moves)
    trivet("keeper", "--once", project=churn.project)
    logged = logged_versions(churn)
    for _, _, answer in answers:
        assert logged[answer["parameters"]["prediction_id"].replace("-", "")] == int(answer["model_version"])


def logged_versions(churn: Churn) -> dict[str, int]:
    rows = rows_of(churn.project, "select prediction_id, version from trivet_prediction")
    return {str(name).replace("-", ""): version for name, version in rows}


def test_a_flipped_byte_in_a_bundle_keeps_the_version_that_served(churn: Churn):
    shown = json.loads(trivet("show", "churn@2", "--json", project=churn.project).stdout)
    digest = shown["digest"]
    path = churn.project / ".trivet/bundles/sha256" / digest[:2] / digest[2:4] / digest / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with serving(churn.project, workers=1) as server:
        done = trivet("promote", "churn@2", project=churn.project, check=False)  # it waits longer than a retry takes
        assert done.returncode == 1
        assert "behind: web" in done.stdout
        assert ask(server, churn)["model_version"] == "1"
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        wait_for(lambda: ask(server, churn)["model_version"] == "2")


def ask(server: Server, churn: Churn) -> dict:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/v2/models/churn/infer", churn.body, {"Authorization": f"Bearer {churn.key}"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer
