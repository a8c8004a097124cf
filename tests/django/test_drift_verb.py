"""`trivet drift` and `trivet alerts`: the verdict in a sentence, features by how far they are, and what people do about it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from django.utils import timezone

from tests.django.command_line import trivet, verb
from tests.django.people import person
from tests.django.watched import count, watched_version
from tests.django.worlds import CHURN, ready
from trivet.control.monitoring.alerts import raise_alert
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.drift import DriftReport, FeatureDrift, drift_report, without_inputs
from trivet.control.monitoring.models import Alert, AlertState, Cause, Grain, Severity
from trivet.control.monitoring.sentences import whole_percent
from trivet.control.monitoring.series import Baseline
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion
from trivet.core.profile.bins import numeric_bins
from trivet.core.signature import Input

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def live(*, importance: tuple[float, ...] = (), **counted: float) -> ModelVersion:
    """A champion with an hour of traffic, two hours ago."""
    version = watched_version(importance=importance)
    actions.promote(model="churn", version=1, actor="cli:ana")
    if counted:
        count(version, begin_of(timezone.now(), Grain.HOUR) - 2 * HOUR, 500, **counted)
    return version


def raised(version: ModelVersion, severity: Severity = Severity.WARNING) -> Alert:
    evidence = {"mean": 3000.0, "budget": 2160.0}
    return raise_alert(version, Cause.DRIFT, severity, features=["age"], evidence=evidence)


def test_the_farthest_feature_comes_first_with_its_numbers(capsys):
    version = live(older=20.0, unseen=0.1)
    assert trivet("drift", "churn") == 0

    verdict, about, changed, empty, header, *rows = capsys.readouterr().out.splitlines()
    assert re.match(
        r"Not judged yet: the day that goes on is judged soon after \d{4}-\d\d-\d\d 00:00 UTC, if 50 rows", verdict
    )
    assert changed.startswith("Changed further than is tolerated and than chance explains: the values of age")
    assert "how often plan was never seen" in changed
    assert "out of range" in changed
    assert about.startswith("churn 1: 500 rows from ")
    assert about.endswith(" UTC so far, beside 2,000 of its reference")
    assert empty == ""
    assert header.split() == ["FEATURE", "DISTANCE", "PSI", "MISSING", "BEFORE", "UNSEEN", "OUT", "OF", "RANGE", "M"]
    assert [row.split()[0] for row in rows] == ["age", "plan", "unseen"]
    assert "large" in rows[0] or "moderate" in rows[0]
    assert rows[2].startswith("unseen in plan: 'enterprise' (")
    assert version.number == 1


def test_the_share_of_the_answers_that_hangs_on_a_feature_is_shown_beside_it(capsys):
    live(importance=(0.876, 0.124), older=20.0)
    assert trivet("drift", "churn") == 0
    header, age, plan = capsys.readouterr().out.splitlines()[-3:]
    assert header.split()[:3] == ["FEATURE", "IMPORTANCE", "DISTANCE"]
    assert (age.split()[:3], plan.split()[:3]) == (["age", "88", "%"], ["plan", "12", "%"])
    told = {feature["name"]: feature["importance"] for feature in verb(capsys, "drift", "churn")[1]["features"]}
    assert told == {"age": 0.876, "plan": 0.124}


def test_where_nobody_found_out_what_is_important_there_is_no_column(capsys):
    live(older=20.0)
    assert [feature["importance"] for feature in verb(capsys, "drift", "churn")[1]["features"]] == [None, None]
    trivet("drift", "churn")
    assert "IMPORTANCE" not in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--as=ina",)])
def test_the_importance_of_a_sensitive_feature_is_told_to_nobody(capsys, more):
    live(importance=(0.876, 0.124), older=20.0)
    actions.set_sensitive(model="churn", add=["plan"], actor="cli:ana")
    person("view_registeredmodel", "view_inputs", name="ina")
    told = {feature["name"]: feature["importance"] for feature in verb(capsys, "drift", "churn", *more)[1]["features"]}
    assert told == {"age": 0.876, "plan": None}
    for word in ("drift", "report"):
        trivet(word, "churn", *more)
        shown = capsys.readouterr().out
        assert "88 %" in shown
        assert "12 %" not in shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "0 %"), (0.004, "< 1 %"), (0.006, "1 %"), (0.124, "12 %"), (1.0, "100 %")]
)
def test_a_share_that_rounds_to_nothing_is_not_shown_as_nothing(share, shown):
    assert whole_percent(share) == shown


def test_of_a_quiet_window_nothing_is_named(capsys):
    live(older=0.0)
    assert trivet("drift", "churn") == 0
    assert "Nothing changed further than is tolerated and than chance explains." in capsys.readouterr().out
    _, told = verb(capsys, "drift", "churn")
    assert [feature["changed"] for feature in told["features"]] == [[], []]


def test_what_is_named_goes_by_how_many_are_looked_at(monkeypatch, capsys):
    """One p-value of 0.03 is named by itself, and not among six: whoever looks at many finds something."""
    live(older=0.0)
    found = Baseline.found

    def unlikely(self, *windows):
        return (replace(one, log_p=math.log(0.03) if one.name == "drift:age" else 0.0) for one in found(self, *windows))

    monkeypatch.setattr(Baseline, "found", unlikely)
    assert all(not feature["changed"] for feature in verb(capsys, "drift", "churn")[1]["features"])
    monkeypatch.setattr(
        Baseline, "found", lambda *windows: [one for one in unlikely(*windows) if "drift:age" in one.name]
    )
    told = {feature["name"]: feature["changed"] for feature in verb(capsys, "drift", "churn")[1]["features"]}
    assert told == {"age": ["drift"], "plan": []}


def test_json_has_the_whole_report_and_only_so_many_features(capsys):
    live(older=20.0)
    code, told = verb(capsys, "drift", "churn@champion", "--limit", "1", "--window", "1d")
    assert code == 0
    assert (told["model"], told["version"], told["against"]) == ("churn", 1, "training")
    (feature,) = told["features"]
    assert feature["name"] == "age"
    assert feature["distance"] > 0.2
    assert feature["changed"] == ["drift", "range"]
    assert abs(sum(feature["current"]) - 1) < 1e-9


def test_it_ends_with_1_while_an_alert_is_open(capsys):
    alert = raised(live(older=20.0))
    assert verb(capsys, "drift", "churn")[0] == 1
    Alert.objects.update(state=AlertState.RESOLVED, resolved_at=timezone.now())
    assert verb(capsys, "drift", "churn")[0] == 0
    assert alert.severity == "warning"


def test_without_rows_or_a_reference_it_says_so(capsys):
    live()
    assert trivet("drift", "churn") == 0
    assert "counted no rows from" in capsys.readouterr().out
    ready(1, model="fraud")
    actions.promote(model="fraud", version=1, actor="cli:ana")
    code, said = verb(capsys, "drift", "fraud")
    assert code == 4
    assert "fraud 1 has no reference to compare with: push it with a sample" in said


def test_the_window_before_may_have_had_no_rows(capsys):
    live(older=1.0)
    assert trivet("drift", "churn", "--reference", "previous") == 0
    assert "the window before had none, so there are no distances" in capsys.readouterr().out


@pytest.mark.parametrize(
    "more", [("--window", "7"), ("--window", "soon"), ("--reference", "yesterday"), ("--limit", "0")]
)
def test_what_makes_no_sense_is_wrong_usage(capsys, more):
    live(older=1.0)
    assert trivet("drift", "churn", *more) == 2


@pytest.mark.parametrize("window", ["0d", "100000h"])
def test_a_length_of_time_out_of_bounds_is_told_the_bounds(capsys, window):
    live(older=1.0)
    assert trivet("drift", "churn", "--window", window) == 2
    assert f"--window '{window}': a number from 1 to 99,999 and h, d or w" in capsys.readouterr().err


def test_texts_that_callers_sent_are_for_who_may_see_inputs(capsys):
    live(unseen=0.2)
    person("view_registeredmodel", name="eve")
    person("view_registeredmodel", "view_inputs", name="ina")
    of_eve, of_ina = (verb(capsys, "drift", "churn", f"--as={name}")[1] for name in ("eve", "ina"))
    assert {name for feature in of_ina["features"] for name, _ in feature["values_unseen"]} == {"enterprise"}
    assert "enterprise" not in str(of_eve)
    ina, eve = ({feature["name"]: feature for feature in told["features"]} for told in (of_ina, of_eve))
    assert ina["plan"]["titles"] == ["pro", "free", "other seen", "never seen"]
    assert eve["plan"]["titles"] == ["other seen", "never seen"], "the reference's values are inputs as well"
    of_others, of_unseen = sum(ina["plan"]["current"][:3]), ina["plan"]["current"][3]
    assert eve["plan"]["current"] == pytest.approx([of_others, of_unseen])
    assert eve["plan"]["distance"] == ina["plan"]["distance"] > 0.1
    assert ina["age"]["titles"][:2] == ["up to 18", "18 to 19"]
    assert (eve["age"]["titles"][:2], eve["age"]["bounds"]) == (["bin 1 of 60", "bin 2 of 60"], [])
    assert eve["age"]["current"] == ina["age"]["current"]


def test_of_a_sensitive_feature_nothing_is_told_to_anybody(capsys):
    live(older=20.0, unseen=0.2)
    actions.set_sensitive(model="churn", add=["plan"], actor="cli:ana")
    person("view_registeredmodel", "view_inputs", name="ina")
    for more in ((), ("--as=ina",)):
        _, told = verb(capsys, "drift", "churn", *more)
        plan = next(feature for feature in told["features"] if feature["name"] == "plan")
        assert plan["is_sensitive"]
        assert "pro" not in str(plan).replace("'", " ").split()
        assert "enterprise" not in str(plan)
        assert (plan["distance"], plan["evidence"], plan["current"]) == (None, None, [])
        assert trivet("drift", "churn", *more) == 0
        assert "enterprise" not in capsys.readouterr().out


def test_a_value_that_the_signature_lists_is_shown_to_all():
    live(unseen=0.2)
    report = drift_report("churn", now=timezone.now())
    listed = msgspec.structs.replace(
        CHURN, inputs=(Input(name="plan", datatype="BYTES", shape=(-1, 1), categories=("free",)),)
    )
    whole, shown = (feature_of(one, "plan") for one in (report, without_inputs(report, listed)))
    assert shown.titles == ("free", "other seen", "never seen")
    assert shown.reference == pytest.approx((whole.reference[1], whole.reference[0], 0.0))


def test_of_a_number_with_many_values_quantiles_are_shown_and_never_the_smallest_or_largest():
    live(older=1.0)
    report = drift_report("churn", now=timezone.now())
    bins = numeric_bins("age", np.random.default_rng(1).normal(size=5000))
    many = replace(feature_of(report, "age"), bounds=(bins.low, *bins.edges, bins.high), titles=tuple(bins.titles()))
    (shown,) = without_inputs(replace(report, features=(many,)), CHURN).features
    assert shown.titles == many.titles
    assert shown.bounds == (bins.edges[0], *bins.edges, bins.edges[-1])


def feature_of(report: DriftReport, name: str) -> FeatureDrift:
    return next(feature for feature in report.features if feature.name == name)


def test_alerts_are_listed_acknowledged_and_snoozed(capsys):
    version = live()
    assert trivet("alerts") == 0
    assert capsys.readouterr().out == "no alert is open.\n"
    alert = raised(version)
    assert trivet("alerts", "churn") == 1
    _, row = capsys.readouterr().out.splitlines()
    assert row.split()[:4] == [str(alert.pk), "churn", "1", "warning"]
    assert "What churn 1 is asked has changed: age." in row

    code, told = verb(capsys, "alerts", "snooze", str(alert.pk), "24h", "-m", "a holiday")
    assert (code, told["state"]) == (0, "snoozed")
    assert datetime.fromisoformat(told["snoozed_until"]) > datetime.now(UTC) + 23 * HOUR
    code, told = verb(capsys, "alerts", "acknowledge", str(alert.pk), "-m", "a campaign")
    assert (code, told["state"]) == (0, "acknowledged")
    assert [event.reason for event in Event.objects.all()[:2]] == ["a campaign", "a holiday"]

    Alert.objects.update(state=AlertState.RESOLVED, resolved_at=timezone.now())
    assert verb(capsys, "alerts") == (0, [])
    assert [one["state"] for one in verb(capsys, "alerts", "--all")[1]] == ["resolved"]


@pytest.mark.parametrize("words", ["acknowledge", "snooze", "snooze 1", "churn 1", "acknowledge 1 24h"])
def test_half_of_a_command_is_wrong_usage(capsys, words):
    live()
    assert trivet("alerts", *words.split()) == 2


def test_alerts_of_a_model_that_one_may_not_know_of_are_not_there(capsys):
    alert = raised(live())
    person(name="ben")
    assert verb(capsys, "alerts", "--as=ben") == (0, [])
    code, said = verb(capsys, "alerts", "acknowledge", str(alert.pk), "--as=ben")
    assert (code, said) == (4, f"trivet alerts: there is no alert {alert.pk}.\n")
    person("view_registeredmodel", name="eve")
    assert len(verb(capsys, "alerts", "--as=eve")[1]) == 1
    assert verb(capsys, "alerts", "acknowledge", str(alert.pk), "--as=eve")[0] == 3
