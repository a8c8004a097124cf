"""F04 with a PostgreSQL that is really stopped: predictions go on, records wait in the spool and arrive once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.postgres_server import PostgresServer
from tests.acceptance.servers import Load, drained, serving, trivet, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.service]

PATH = "/v2/models/churn/infer"
LEASE_SECONDS = 3
ANSWERS_WHILE_AWAY = 500


def test_F04_a_database_that_is_stopped_under_traffic_fails_no_request_and_gets_every_record_once(
    churn_on_postgres: Churn, postgres: PostgresServer
):
    churn = churn_on_postgres
    with (
        serving(churn.project, workers=4, TRIVET_LEASE_SECONDS=str(LEASE_SECONDS)) as server,
        Load(server, churn.body, churn.key, path=PATH, clients=4) as load,
    ):
        wait_for(lambda: load.answers.qsize() >= 100)
        postgres.stop()
        stopped_at, goal = time.monotonic(), load.answers.qsize() + ANSWERS_WHILE_AWAY
        refused = trivet("promote", "churn@1", project=churn.project, check=False)
        assert refused.returncode == 5, refused.stderr  # management is out of reach, and says so
        wait_for(lambda: load.answers.qsize() >= goal and time.monotonic() > stopped_at + 2 * LEASE_SECONDS)
        assert segments(churn)  # what was answered meanwhile waits here
        postgres.start()
        wait_for(lambda: any("event=log_back" in line for line in server.lines))
        goal = load.answers.qsize() + 100
        wait_for(lambda: load.answers.qsize() >= goal)
        load.stop()
        assert server.stop() == 0
    assert not drained(load.failures)
    assert not drained(load.resets)
    read = [answer["parameters"]["prediction_id"] for _, _, answer in drained(load.answers)]
    logged = [str(i) for (i,) in postgres.read("select prediction_id from trivet_prediction")]
    assert sorted(logged) == sorted(read)
    assert not segments(churn)


def segments(churn: Churn) -> list[Path]:
    return list((churn.project / ".trivet" / "spool").rglob("*.seg"))
