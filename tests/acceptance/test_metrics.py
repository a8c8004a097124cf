"""One scrape of any worker tells of all of them, and what was counted outlives who counted it."""

from __future__ import annotations

import http.client
import os
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, serving, trivet, wait_for

WORKERS = 4
CLIENTS = 12  # each on a connection of its own, so that no worker is left out
REQUESTS = 25  # of each client, in each round
GAUGES = ("trivet_version_loaded", "trivet_snapshot", "trivet_in_flight", "trivet_spool", "trivet_keeper")
Samples = dict[tuple[str, ...], float]


@pytest.fixture
def watched(churn: Churn) -> Iterator[tuple[Server, str]]:
    key = trivet("keys", "create", "watch", "--model", "*", "--verb", "view", "--quiet", project=churn.project).stdout
    with serving(churn.project, workers=WORKERS) as server:
        yield server, key.strip()


def test_four_workers_count_as_one_and_a_killed_one_takes_nothing_with_it(churn: Churn, watched: tuple[Server, str]):
    server, key = watched
    before: Samples = {}
    for number in range(1, 4):
        send(server, churn)
        samples = scrape(server, key)
        for _ in range(3):
            samples = scrape(server, key)
            assert_nothing_went_back(before, samples)
            before = samples
        answered = samples["trivet_requests_total", "churn", "1", "rest", "OK"]
        assert answered == number * CLIENTS * REQUESTS
        assert samples["trivet_request_seconds_count", "churn", "1", "rest"] == answered
        assert samples["trivet_rows_total", "churn", "1"] == answered
        remembered = samples.get(("trivet_cache_lookups_total", "churn", "hit"), 0)
        assert samples["trivet_executions_total", "churn", "1"] + remembered == answered
        victims = server.web_workers()
        os.kill(victims[0], signal.SIGKILL)
        wait_for(lambda victims=victims: len(set(server.web_workers()) - set(victims)) == 1)
        wait_for(lambda: scrape(server, key)["trivet_version_loaded", "churn", "1"] == WORKERS)
        assert samples["trivet_snapshot_age_seconds",] < 60
        wait_for(lambda: scrape(server, key)["trivet_spool_unshipped_records",] == 0)
    assert len(list((churn.project / ".trivet/metrics").glob("*.index"))) <= WORKERS + 1  # the dead are folded


def send(server: Server, churn: Churn) -> None:
    def one(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for _ in range(REQUESTS):
            connection.request("POST", "/v2/models/churn/infer", churn.body, {"Authorization": f"Bearer {churn.key}"})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
        connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, range(CLIENTS)))


def scrape(server: Server, key: str) -> Samples:
    request = urllib.request.Request(f"{server.url}/metrics", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def assert_nothing_went_back(before: Samples, after: Samples) -> None:
    for key, value in before.items():
        if not key[0].startswith(GAUGES):
            assert after[key] >= value, key
