"""F22 in four workers that remember: a promotion is seen by the next request, and every remembered answer is in the log."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.mover import PATH, Move, assert_linearizable, mover
from tests.acceptance.servers import Load, drained, serving, trivet, wait_for
from tests.acceptance.test_traffic import ANSWERS_BETWEEN
from tests.robustness.score import Score
from tests.scale import scaled

WORKERS = 4
MOVES = scaled(test=8, ci=20, full=200)


@pytest.mark.slow
def test_F22_promotions_during_cached_traffic_give_no_old_answer(churn: Churn, score: Score):
    moves: list[Move] = []
    with serving(churn.project, workers=WORKERS, TRIVET_CACHE="on") as server:
        workers = server.web_workers()
        with (
            mover(server, churn.body, churn.key, workers) as move,
            Load(server, churn.body, churn.key, path=PATH) as load,
        ):
            for number in range(MOVES):
                goal = load.answers.qsize() + ANSWERS_BETWEEN
                wait_for(lambda goal=goal: load.answers.qsize() >= goal)
                made = move("promote" if number % 2 == 0 else "rollback")
                assert (made.live, made.behind) == (WORKERS, [])
                assert made.met == {str(worker): str(made.version) for worker in workers}
                moves.append(made)
        assert server.stop() == 0
    failed = [*drained(load.failures), *drained(load.resets)]
    score.count("failed_in_promotions", len(failed), of=MOVES)
    assert not failed
    answers = drained(load.answers)
    assert_linearizable([(started, ended, int(answer["model_version"])) for started, ended, answer in answers], moves)
    said: dict[str, set[str]] = {"1": set(), "2": set()}
    for _, _, answer in answers:
        said[answer["model_version"]].add(json.dumps(answer["outputs"]))
    assert [len(different) for different in said.values()] == [1, 1]
    assert said["1"] != said["2"]
    fresh = [answer for _, _, answer in answers if not answer["parameters"]["cached"]]
    assert len(fresh) <= 2 * WORKERS  # each worker ran each version once: coming back, it still knew
    trivet("keeper", "--once", project=churn.project)
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        logged = dict(database.execute("select prediction_id, cached from trivet_prediction").fetchall())
    told = {
        answer["parameters"]["prediction_id"].replace("-", ""): answer["parameters"]["cached"]
        for _, _, answer in answers
    }
    assert len(told) == len(answers)
    assert {prediction: bool(logged[prediction]) for prediction in told} == told
