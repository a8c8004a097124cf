"""One scrape of any worker tells of all of them, and what was counted outlives who counted it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, serving, trivet, wait_for

WORKERS = 4
CLIENTS = 12  # each on a connection of its own, so that no worker is left out
MADE_UP_NAMES = 10_000
REQUESTS = 25  # of each client, in each round
OF_KEEPERS = (  # told when they have something to tell
    "trivet_fold",
    "trivet_drift",
    "trivet_alerts",
    "trivet_label_coverage",
    "trivet_estimate",
    "trivet_performance",
)
GAUGES = ("trivet_version_loaded", "trivet_snapshot", "trivet_in_flight", "trivet_spool", *OF_KEEPERS)
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


def test_53_statistics_add_up_over_four_workers(churn: Churn, watched: tuple[Server, str]):
    server, key = watched
    rows = {1: churn.body, 3: json.dumps({"rows": [churn.rows[0]] * 3}).encode()}
    requests = 0  # of each size
    while not requests or (counting_workers(churn) < WORKERS and requests < 10 * CLIENTS * REQUESTS):
        send(server, churn)
        send(server, churn, path="/v2/models/churn/predict", body=rows[3])
        requests += CLIENTS * REQUESTS
    assert counting_workers(churn) == WORKERS
    request = urllib.request.Request(f"{server.url}/v2/models/churn/stats", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        version = json.loads(answer.read())["model_stats"][0]
    stats = version["inference_stats"]
    hits = stats["cache_hit"]["count"]
    assert stats["success"]["count"] == stats["queue"]["count"] == 2 * requests
    assert stats["fail"]["count"] == 0
    assert version["execution_count"] == stats["compute_infer"]["count"] == 2 * requests - hits
    calls = {batch["batch_size"]: batch["compute_infer"]["count"] for batch in version["batch_stats"]}
    assert set(calls) == set(rows)
    assert all(count <= requests for count in calls.values())
    assert sum(calls.values()) == version["execution_count"]
    assert sum(size * count for size, count in calls.items()) == version["inference_count"]
    assert version["inference_count"] + hits <= 4 * requests <= version["inference_count"] + 3 * hits
    assert scrape(server, key)["trivet_rows_total", "churn", "1"] == 4 * requests


def test_62_made_up_names_add_no_series_and_tritons_none_without_the_alias(churn: Churn, watched: tuple[Server, str]):
    server, key = watched
    send(server, churn)
    refused = (f"/v2/models/nobody-{number}/infer" for number in range(MADE_UP_NAMES + WORKERS * 20))

    def refuse(paths: Iterable[str]) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
            for path in paths:
                connection.request("POST", path, churn.body, {"Authorization": f"Bearer {churn.key}"})
                response = connection.getresponse()
                assert response.status == 404
                response.read()

    refuse(islice(refused, WORKERS * 20))
    before = scrape(server, key)
    refuse(refused)
    after = scrape(server, key)
    unknown = ("trivet_rejected_total", "_unknown", "UNKNOWN_MODEL")
    assert after[unknown] - before[unknown] == MADE_UP_NAMES
    grown = after.keys() ^ before.keys()
    assert not [key for key in grown if not key[0].startswith(OF_KEEPERS)]
    assert not [name for name, *_ in after if name.startswith("nv_")]


def test_62_tritons_names_are_told_with_the_alias(churn: Churn):
    made = trivet("keys", "create", "watch", "--model", "*", "--verb", "view", "--quiet", project=churn.project)
    with serving(churn.project, workers=1, TRIVET_METRICS_ALIASES="triton") as server:
        send(server, churn)
        samples = scrape(server, made.stdout.strip())
    assert samples["nv_inference_request_success", "churn", "1"] == CLIENTS * REQUESTS


def counting_workers(churn: Churn) -> int:
    """Return how many web workers have counted answers of their own."""
    return sum('["answers"' in path.read_text() for path in (churn.project / ".trivet/metrics").glob("*.index"))


def send(server: Server, churn: Churn, *, path: str = "/v2/models/churn/infer", body: bytes | None = None) -> None:
    def one(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for _ in range(REQUESTS):
            connection.request("POST", path, body or churn.body, {"Authorization": f"Bearer {churn.key}"})
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
