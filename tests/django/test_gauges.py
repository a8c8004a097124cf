"""What `/metrics` tells of live models: by the keeper, from counts that are there, and nothing that is not known."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from tests.django import test_class_performance as several_classes
from tests.django.segmented import declared_segments
from tests.django.test_performance_report import START as LABELLED_START, champion, day
from tests.django.turns import hurry
from tests.django.watched import count, watched_version
from tests.django.worlds import record
from trivet.control.monitoring.alerts import raise_alert
from trivet.control.monitoring.gauges import Gauge, performances, states
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.models import Alert, AlertState, Cause, Severity
from trivet.control.monitoring.watching import watch
from trivet.control.registry import actions
from trivet.core.records import encode_record
from trivet.dataplane.metrics import host
from trivet.dataplane.metrics.exposition import Exposition
from trivet.dataplane.spool import Spool
from trivet.serving import chores
from trivet.serving.keeper import Keeper, counting_of_keeper

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)


def told(gauges) -> dict[tuple[str, ...], float]:
    return {(gauge.name, *gauge.labels): gauge.value for some in gauges for gauge in some}


def scraped(home: Path) -> dict[tuple[str, ...], float]:
    """Return what Prometheus reads of the keeper's gauges and counters."""
    text = Exposition(host.read(home / "metrics"), ["churn"]).text().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_evidence_and_alerts_of_each_model_are_told(django_assert_num_queries):
    version = watched_version()
    actions.promote(model="churn", version=1, actor="cli:ana")
    for hour in range(6):
        count(version, START + hour * timedelta(hours=1), 500, seed=hour, older=12.0 if hour > 3 else 0.0)
    list(watch(START + timedelta(hours=6, minutes=5)))
    raise_alert(version, Cause.TRUST, Severity.WARNING, features=[], evidence={})
    with django_assert_num_queries(6):
        found = told(states(START + DAY))
    assert found["trivet_drift_evidence", "churn"] > 2
    assert found["trivet_alerts_open", "churn", "warning"] == 1
    assert found["trivet_alerts_open", "churn", "critical"] == 0
    assert not [name for name, *_ in found if name == "trivet_label_coverage"]  # nobody said anything yet
    Alert.objects.update(state=AlertState.RESOLVED, resolved_at=timezone.now())
    assert told(states(START + DAY))["trivet_alerts_open", "churn", "warning"] == 0


def test_segments_which_no_gauge_tells_are_not_counted_up_for_it():
    version = champion()
    with declared_segments("plan"):
        day(version, 0)
        with CaptureQueriesContext(connection) as queries:
            found = told(performances(LABELLED_START + DAY))
    assert ("trivet_performance", "churn", "1", "auc", "realised") in found
    assert not [query["sql"] for query in queries if '"segment" IN' in query["sql"]]


def test_coverage_performance_and_trust_come_from_labels():
    version = champion()
    for number in range(3):
        day(version, number, labelled=0.75)
    now = LABELLED_START + 12 * DAY
    list(judge(now))
    assert told(states(now))["trivet_label_coverage", "churn"] == pytest.approx(0.75)
    found = told(performances(now))
    assert found["trivet_estimate_trusted", "churn", "1"] == 1
    realised, estimated = (found["trivet_performance", "churn", "1", "auc", kind] for kind in ("realised", "estimated"))
    assert 0.5 < realised <= 1
    assert 0.5 < estimated <= 1


def test_an_estimate_that_is_too_low_is_not_trusted_either():
    version = champion()
    for number in range(5):
        day(version, number, settled=0.8)
    list(judge(LABELLED_START + 12 * DAY))
    assert told(performances(LABELLED_START + 12 * DAY))["trivet_estimate_trusted", "churn", "1"] == 0


def test_of_several_classes_accuracy_and_means_are_told():
    version = several_classes.champion()
    several_classes.day(version, 0)
    found = told(performances(LABELLED_START + 2 * DAY))
    for metric in ("accuracy", "macro_f1", "macro_auc"):
        both = [found["trivet_performance", "flowers", "1", metric, kind] for kind in ("realised", "estimated")]
        assert both[0] == pytest.approx(both[1], abs=0.1)


def test_what_is_not_known_is_not_a_number():
    day(champion(), 0, labelled=0.25)
    found = told(performances(LABELLED_START + 20 * DAY))
    assert math.isnan(found["trivet_performance", "churn", "1", "auc", "realised"])
    assert math.isnan(found["trivet_estimate_trusted", "churn", "1"])


@pytest.mark.django_db(transaction=True)
def test_the_keeper_counts_what_it_folds_where_workers_read_it(home: Path):
    version = watched_version()
    spool = Spool(home / "spool", "a", segment_bytes=4 * 1024 * 1024)
    spool.append(encode_record(record(version, rows=3, made_at=int((timezone.now().timestamp() - 5) * 1e9))))
    keeper = Keeper(home / "spool", counting=counting_of_keeper())
    assert keeper.step() == 1
    for chore in keeper._chores:
        hurry(chore)
    for _ in range(4):  # a step of each chore at a time
        keeper.step()
    keeper._release()
    spool.close()
    samples = scraped(home)
    assert samples["trivet_folded_rows_total",] == 3
    assert 4 < samples["trivet_fold_lag_seconds",] < 60
    assert samples["trivet_alerts_open", "churn", "critical"] == 0


def test_what_is_not_told_any_more_is_taken_back(home: Path):
    gauges = [[Gauge("trivet_drift_evidence", ("churn",), 1.5)]]
    counting = counting_of_keeper()
    tell = chores._Gauges(counting, lambda _now: iter(gauges))
    list(tell())
    assert scraped(home) == {("trivet_drift_evidence", "churn"): 1.5}
    gauges.clear()
    list(tell())
    assert scraped(home) == {}
