"""What is counted, by whom it is read, and that nothing counted is ever lost or counted twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.core.keys import mint_key
from trivet.dataplane.metrics import host
from trivet.dataplane.metrics.exposition import Exposition
from trivet.dataplane.metrics.families import BOUNDS_NS, bucket
from trivet.dataplane.metrics.meter import Meter
from trivet.dataplane.metrics.totals import Duration, Totals
from trivet.dataplane.metrics.triton import triton_text
from trivet.dataplane.spool import segments


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def watched(tmp_path: Path) -> World:
    return seeing_all(World(tmp_path))


def seeing_all(world: World) -> World:
    """Let the world's key view every model."""
    world.sees_all = True
    world.route({1: 100})
    return world


def test_statistics_count_requests_rows_and_calls(tmp_path: Path):
    world = World(tmp_path)
    for _ in range(3):
        world.ask()
    world.ask(body=infer_body(age=[1.0, 2.0], city=["Lyon", "Oslo"], seats=[1, 2]))
    world.ask(body=infer_body(seats=["many"]))
    totals = world.plane.meter.totals()["churn", 1]
    assert (totals.success.count, totals.inference_count, totals.execution_count) == (4, 5, 4)
    assert totals.fail.count == 1
    assert {rows: batch.compute_infer.count for rows, batch in totals.batches.items()} == {1: 3, 2: 1}
    assert totals.compute_infer.ns == sum(batch.compute_infer.ns for batch in totals.batches.values())
    stages = (totals.queue, totals.compute_input, totals.compute_infer, totals.compute_output)
    assert sum(stage.ns for stage in stages) == totals.success.ns > 0
    assert all(stage.count == 4 for stage in stages)


def test_an_answer_counts_for_the_version_that_gave_it(tmp_path: Path):
    world = World(tmp_path)
    world.ask()
    world.route({2: 100})
    world.ask()
    world.ask()
    counted = {version: totals.success.count for (_, version), totals in world.plane.meter.totals().items()}
    assert counted == {1: 1, 2: 2}


def test_a_failure_counts_for_the_version_that_failed(tmp_path: Path):
    world = World(tmp_path)
    world.engine.loaded[0].broken = True
    assert world.ask()[0] == 503
    assert world.plane.meter.totals()["churn", 1].fail.count == 1


def test_a_request_that_reaches_no_version_is_none_of_its_failures(tmp_path: Path):
    world = World(tmp_path)
    assert world.ask(key=None)[0] == 401
    assert world.ask(path="/v2/models/nothing/infer")[0] == 404
    assert world.plane.meter.totals() == {}


def test_answers_without_rows_call_no_model(tmp_path: Path):
    world = World(tmp_path)
    world.ask(body=infer_body(age=[], city=[], seats=[]))
    totals = world.plane.meter.totals()["churn", 1]
    assert (totals.success.count, totals.inference_count, totals.execution_count) == (1, 0, 0)


def test_calls_of_several_requests_are_counted_by_the_engine(root: Path):
    meter = Meter(root, "a")
    meter.called("churn", 1, 7, 2)
    meter.called("churn", 1, 200, 2)
    totals = meter.totals()["churn", 1]
    assert totals.execution_count == 2
    assert {rows: batch.compute_infer for rows, batch in totals.batches.items()} == {
        7: Duration(1, 2),
        128: Duration(1, 2),
    }


def test_rows_of_a_call_are_told_as_a_histogram(root: Path):
    meter = Meter(root, "a")
    for rows in (1, 7, 200, 5000):
        meter.called("churn", 1, rows, 2)
    lines = Exposition(meter.read(), ["churn"]).text().decode().splitlines()
    told = {line.split(" ")[0]: line.split(" ")[1] for line in lines if line.startswith("trivet_batch_rows")}
    counts = {
        le: told[f'trivet_batch_rows_bucket{{model="churn",le="{le}"}}'] for le in (1, 3, 7, 127, 255, 2047, "+Inf")
    }
    assert list(counts.values()) == ["1", "1", "2", "2", "3", "3", "4"]
    assert told['trivet_batch_rows_sum{model="churn"}'] == str(1 + 7 + 200 + 5000)
    assert told['trivet_batch_rows_count{model="churn"}'] == "4"


def test_who_waits_for_model_workers_is_told_under_tritons_name(root: Path):
    first, second = Meter(root, "a"), Meter(root, "b")
    first.gauge("trivet_queue_depth", "churn", "1", value=2)
    second.gauge("trivet_queue_depth", "churn", "1", value=3)
    text = triton_text(first.read(), ["churn"]).decode()
    assert 'nv_inference_pending_request_count{model="churn",version="1"} 5' in text


def test_whoever_asks_is_told_of_all_processes(root: Path):
    first, second = Meter(root, "a"), Meter(root, "b")
    first.looked_up("churn", 1, "miss", 5)
    second.looked_up("churn", 1, "miss", 7)
    assert first.totals() == second.totals() == {("churn", 1): Totals(cache_miss=Duration(2, 12))}


def test_what_an_ended_process_counted_stays_and_is_counted_once(root: Path):
    ended, living = Meter(root, "a"), Meter(root, "b")
    for meter in (ended, living):
        meter.count("trivet_rows_total", "churn", "1", by=10)
        meter.gauge("trivet_version_loaded", "churn", "1", value=1)
    ended.close()
    rows, loaded = ("count", "trivet_rows_total", "churn", "1"), ("gauge", "trivet_version_loaded", "churn", "1")
    for _ in range(3):
        assert living.read() == {rows: [20], loaded: [1]}
        host.fold(root)
    assert not list(root.glob("a.*"))


def test_folding_that_was_cut_short_is_finished_later(root: Path, monkeypatch: pytest.MonkeyPatch):
    ended = Meter(root, "a")
    ended.count("trivet_rows_total", "churn", "1", by=10)
    ended.close()
    with monkeypatch.context() as cut:
        cut.setattr(host.Page, "remove", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            host.fold(root)
    assert list(root.glob("a.*"))
    assert list(host.read(root).values()) == [[10]]
    host.fold(root)
    assert list(host.read(root).values()) == [[10]]
    assert not list(root.glob("a.*"))


COUNTING = """
import sys
from pathlib import Path
from trivet.dataplane.metrics.meter import Meter
meter = Meter(Path(sys.argv[1]), "victim")
for number in range(1000):
    meter.count("trivet_rows_total", "churn", "1")
while True:
    meter.count("trivet_rejected_total", "churn", "QUEUE_FULL")
    if number:
        print("counted", flush=True)
        number = 0
"""


def test_a_killed_process_loses_no_count(root: Path):
    process = subprocess.Popen([sys.executable, "-c", COUNTING, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    reader = Meter(root, "reader")
    endless = ("count", "trivet_rejected_total", "churn", "QUEUE_FULL")
    before = reader.read()[endless]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    host.fold(root)
    after = reader.read()
    assert after["count", "trivet_rows_total", "churn", "1"] == [1000]
    assert after[endless] >= before


def test_threads_lose_no_count(root: Path):
    meter = Meter(root, "a")
    threads = [
        threading.Thread(target=lambda: [meter.count("trivet_rows_total", "churn", "1") for _ in range(20_000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(meter.read().values()) == [[80_000]]


def test_more_series_than_one_part_holds_keep_their_counts(root: Path):
    meter = Meter(root, "a")
    for number in range(10_000):
        meter.count("trivet_rows_total", "churn", str(number), by=number)
    counts = Meter(root, "b").read()
    assert all(counts["count", "trivet_rows_total", "churn", str(number)] == [number] for number in range(10_000))


def test_a_full_disk_stops_no_prediction(root: Path, monkeypatch: pytest.MonkeyPatch):
    meter = Meter(root, "a")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    meter.count("trivet_rows_total", "churn", "1")
    assert meter.read() == {}


def test_an_index_that_cannot_be_written_stops_no_prediction(root: Path):
    meter = Meter(root, "a")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, meter._sheet._index)
    os.close(full)
    meter.count("trivet_rows_total", "churn", "1")
    meter.count("trivet_rows_total", "churn", "2")
    assert meter.read() == {}


def test_what_a_power_cut_left_is_passed_over(root: Path):
    Meter(root, "a").count("trivet_rows_total", "churn", "1", by=3)
    index = next(root.glob("a.index"))
    index.write_bytes(index.read_bytes() + b'\0\0\0\n["count", "trivet_rows_total", "churn", "2", 900000, 1]\n["cou')
    (root / host.FOLDED).write_bytes(b"")
    assert list(host.read(root).values()) == [[3]]


@pytest.mark.parametrize(
    ("nanoseconds", "place"),
    [
        (0, 0),
        (100_000, 0),
        (100_001, 1),
        (200_000, 1),
        (6_553_600_000, 16),
        (6_553_600_001, 17),
        (10_000_000_000, 17),
        (10_000_000_001, 18),
        (10**15, 18),
    ],
)
def test_a_duration_falls_into_the_first_bucket_that_is_not_below_it(nanoseconds: int, place: int):
    assert bucket(nanoseconds) == place
    assert place == len(BOUNDS_NS) or nanoseconds <= BOUNDS_NS[place]
    assert place == 0 or nanoseconds > BOUNDS_NS[place - 1]


# --- what a scraper reads ---------------------------------------------------------------------------------------------


def scrape(world: World, **options: object) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and label values, as the official parser reads them."""
    response = world.send("GET", "/metrics", **options)
    assert response.status == 200, response.body
    assert dict(response.headers)[b"content-type"] == b"text/plain; version=0.0.4; charset=utf-8"
    samples = {}
    for family in text_string_to_metric_families(response.body.decode()):
        assert family.documentation or family.name.startswith("nv_")
        for sample in family.samples:
            samples[sample.name, *sample.labels.values()] = sample.value
    return samples


def test_a_scrape_tells_requests_by_what_came_of_them(watched: World):
    watched.ask()
    watched.ask("POST", "/v2/models/churn/predict", {"rows": [GOOD_ROW, GOOD_ROW]})
    watched.ask(body=infer_body(seats=["many"]))
    samples = scrape(watched)
    assert samples["trivet_requests_total", "churn", "1", "rest", "OK"] == 1
    assert samples["trivet_requests_total", "churn", "1", "rows", "OK"] == 1
    assert samples["trivet_requests_total", "churn", "1", "rest", "BAD_ELEMENT"] == 1
    assert samples["trivet_rejected_total", "churn", "BAD_ELEMENT"] == 1
    assert samples["trivet_rows_total", "churn", "1"] == 3
    assert samples["trivet_executions_total", "churn", "1"] == 2
    assert samples["trivet_version_loaded", "churn", "1"] == 1
    assert samples["trivet_snapshot_generation",] == watched.generation
    for stage in ("decode", "validate", "queue", "infer", "encode", "record"):
        assert samples["trivet_stage_seconds_count", "churn", stage] == 2
    buckets = [labels for name, *labels in samples if name == "trivet_request_seconds_bucket"]
    assert [bound for *_, protocol, bound in buckets if protocol == "rest"] == [repr(ns / 1e9) for ns in BOUNDS_NS] + [
        "+Inf"
    ]
    of_stages = sum(value for (name, *_), value in samples.items() if name == "trivet_stage_seconds_sum")
    of_requests = sum(value for (name, *_), value in samples.items() if name == "trivet_request_seconds_sum")
    assert of_stages == pytest.approx(of_requests)


def test_a_refused_key_is_counted_by_what_is_wrong_with_it(watched: World):
    watched.ask(key=None)
    watched.ask(key="trivet_typo")
    watched.ask(key=mint_key()[1])
    watched.ask(headers={"X-API-Key": "another"})
    watched.ask("POST", "/v2/models/churn/predict", key=None)
    watched.route({1: 100}, verbs=set())
    watched.ask()
    samples = scrape(watched)
    counted = {key[1]: count for key, count in samples.items() if key[0] == "trivet_auth_failures_total"}
    assert counted == {"missing": 2, "malformed": 1, "invalid": 1, "conflicting": 1, "verb": 1}
    assert samples["trivet_requests_total", "churn", "", "rest", "KEY_REQUIRED"] == 4


def test_62_made_up_names_add_no_series(watched: World):
    watched.ask()
    watched.ask(path="/v2/models/made-up/infer")
    watched.ask(path="/v2/models/churn/versions/77/infer")
    watched.ask(path="/no/such/path")
    series = scrape(watched).keys()
    for number in range(10_000):
        watched.ask(path=f"/v2/models/made-up-{number}/infer")
    for number in range(100):
        watched.ask(path=f"/v2/models/churn/versions/{number + 78}/infer")
        watched.ask("GET", f"/no/such/path/{number}")
    after = scrape(watched)
    assert after.keys() == series
    assert after["trivet_requests_total", "_unknown", "", "rest", "UNKNOWN_MODEL"] == 10_001


def test_metrics_are_for_who_may_view_every_model(tmp_path: Path):
    world = World(tmp_path)
    assert world.ask("GET", "/metrics", key=None)[0] == 401
    status, answer, _ = world.ask("GET", "/metrics")
    assert (status, answer["error"]) == (
        403,
        "the metrics tell of every model; this key may not view all of them (--model '*').",
    )


def test_a_scraper_may_send_any_host(tmp_path: Path):
    world = seeing_all(World(tmp_path, allowed_hosts=("models.example.com",)))
    assert scrape(world, headers={"Host": "10.0.0.7:8000"})
    assert world.ask("GET", "/v2", headers={"Host": "10.0.0.7:8000"})[0] == 400


def test_a_model_that_is_no_more_leaves_the_scrape(watched: World):
    watched.ask()
    watched.plane.meter.count("trivet_flagged_rows_total", "retired", "1")
    assert not [key for key in scrape(watched) if "retired" in key]


def test_what_a_label_holds_is_escaped(root: Path):
    meter = Meter(root, "a")
    meter.count("trivet_auth_failures_total", 'a"b\\c\nd')
    (family,) = text_string_to_metric_families(Exposition(meter.read(), ()).text().decode())
    assert family.samples[0].labels == {"reason": 'a"b\\c\nd'}


def test_62_tritons_names_are_told_where_they_are_asked_for(tmp_path: Path):
    plain = seeing_all(World(tmp_path / "plain"))
    plain.ask()
    assert not [key for key in scrape(plain) if key[0].startswith("nv_")]
    world = seeing_all(World(tmp_path / "aliased", metrics_aliases=("triton",)))
    for _ in range(3):
        world.ask(body=infer_body(age=[1.0, 2.0], city=["Lyon", "Oslo"], seats=[1, 2]))
    world.engine.loaded[0].broken = True
    world.ask()
    world.ask(path="/v2/models/made-up/infer")
    samples = {key: value for key, value in scrape(world).items() if key[0].startswith("nv_")}
    assert samples["nv_inference_request_success", "churn", "1"] == 3
    assert samples["nv_inference_count", "churn", "1"] == 6
    assert samples["nv_inference_exec_count", "churn", "1"] == 3
    assert samples["nv_inference_request_failure", "churn", "1", "BACKEND"] == 1
    assert samples["nv_inference_request_duration_us", "churn", "1"] > 0
    assert {key[1] for key in samples} == {"churn"}


def test_an_age_is_that_of_the_process_furthest_behind(root: Path):
    one, other = Meter(root, "a"), Meter(root, "b")
    one.gauge("trivet_snapshot_age_seconds", value=time.monotonic_ns())
    other.gauge("trivet_snapshot_age_seconds", value=time.monotonic_ns() - 7_000_000_000)
    ((family),) = text_string_to_metric_families(Exposition(one.read(), ()).text().decode())
    assert 7 <= family.samples[0].value < 67


def test_a_scrape_tells_what_waits_for_the_keeper(watched: World):
    names = ("trivet_spool_unshipped_records", "trivet_spool_oldest_seconds")
    assert [scrape(watched)[name,] for name in names] == [0, 0]
    for _ in range(5):
        watched.ask()
    samples = scrape(watched)
    assert samples["trivet_spool_unshipped_records",] == 5
    assert 0 < samples["trivet_spool_oldest_seconds",] < 60
    assert samples["trivet_spool_bytes",] == 4 * 1024 * 1024
    (segment,) = segments(watched.spool_root)
    offsets = [offset for _, offset in segment.payloads(0)]
    segment.mark_shipped(offsets[2])
    assert scrape(watched)["trivet_spool_unshipped_records",] == 2
    watched.ask()
    assert scrape(watched)["trivet_spool_unshipped_records",] == 3
    segment.mark_shipped(offsets[-1])
    watched.plane.spool.close()
    segment.remove()
    assert [scrape(watched)[name,] for name in names] == [0, 0]
    assert not list(watched.spool_root.iterdir())
