"""The drift page, as people with and without permissions see it."""

import time
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.django.console.test_pages import text
from tests.django.watched import asked_for_numbers, count, keep, watched_version
from tests.django.worlds import ready
from trivet.control.monitoring.accepting import accept_as_normal
from trivet.control.monitoring.alerts import acknowledge_alert, raise_alert
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.models import Cause, Grain, Monitor, Profile, Severity
from trivet.control.monitoring.past import Left, remember
from trivet.control.monitoring.references import watched
from trivet.control.registry import actions
from trivet.control.registry.models import RegisteredModel
from trivet.core.profile.layout import Answers
from trivet.core.signature import Input, Output, Signature

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
SEE, INPUTS = "view_registeredmodel", "view_inputs"
PAGE = "/models/churn/drift/"
HOUR = timedelta(hours=1)
MOMENT_SECONDS = 20.0


def now():
    return begin_of(timezone.now(), Grain.HOUR)


def asked(version, *, hours=3, **how):
    """Let `version` be asked 500 times in each of the last `hours`."""
    for hour in range(hours):
        count(version, now() - hour * HOUR, 500, seed=hour, **how)


def judged(version, mean, series=()):
    """Say that the evidence against `version` is `mean`."""
    monitor = Monitor.objects.create(version=version, options={"hours": 1}, windows=40, until=now(), mean_evidence=mean)
    for name, log_m in series:
        monitor.series.create(name=name, log_m=log_m)


def test_a_quiet_version_is_said_to_be_quiet_with_its_budget(signed_in):
    version = watched_version()
    asked(version)
    judged(version, 1.04, [("drift:age", 0.0)])
    page = text(signed_in(SEE).get(PAGE))
    assert "Has what churn is asked changed?" in page
    assert "Version 1 in the last 7 days, beside the rows given at its push." in page
    assert "Quiet: the evidence is 1.0 of 2,160 windows" in page
    assert "1.04 2,160" in page
    assert "Hardly any change" in page
    assert "Rows counted 1,500 Rows of the reference 2,000" in page


def test_a_shift_is_named_first_with_its_distance_and_direction(signed_in):
    version = watched_version()
    asked(version, older=20.0)
    judged(version, 5000.0)
    raise_alert(version, Cause.DRIFT, Severity.WARNING, features=["age"], evidence={"mean": 5000.0, "budget": 2160})
    page = text(signed_in(SEE).get(PAGE))
    assert "Drift: the evidence reached its budget (5,000.0 of 2,160 windows), and the alert is open." in page
    assert page.index("A large change KS 0.3") < page.index("total variation")
    assert "Values are higher than they were." in page


def test_once_an_alert_was_answered_the_verdict_tells_its_state_and_the_evidence_that_began_anew(signed_in):
    version = watched_version()
    asked(version, older=20.0)
    judged(version, 5000.0)
    remember(Monitor.objects.get().pk, Grain.HOUR, Left(now() - HOUR, 5000.0, 2160.0))
    remember(Monitor.objects.get().pk, Grain.HOUR, Left(now() - 2 * HOUR, 20.0, 2160.0))
    alert = raise_alert(version, Cause.DRIFT, Severity.WARNING, features=["age"], evidence={"mean": 5000.0})
    acknowledge_alert(alert=alert.pk, actor="cli:ana")
    page = text(signed_in(SEE).get(PAGE))
    assert (
        "Drift: the alert is acknowledged. The evidence had reached its budget, and is 0.0 of 2,160 windows now."
        in page
    )
    assert "At most the evidence was 5,000 of 2,160 in 30 days" in page
    assert "it has begun anew since the last window." in page


def test_rows_outside_the_reference_stand_beside_how_many_were_when_other_days_became_normal(signed_in):
    version = watched_version()
    asked(version, older=20.0, unseen=0.1)
    client = signed_in(SEE)
    page = text(client.get(PAGE))
    share = page.partition(" out of range")[0].rpartition(" ")[0].rpartition(" ")[2]
    assert float(share) > 0
    assert "out of range was" not in page
    alert = raise_alert(version, Cause.DRIFT, Severity.WARNING, features=["age"], evidence={"mean": 5000.0})
    accept_as_normal(alert=alert.pk, actor="cli:ana", days=1)
    page = text(client.get(PAGE))
    assert f"{share} % out of range was {share} %" in page
    assert "never seen was" in page


def test_it_says_whether_numbers_still_move_together(signed_in):
    version, client = asked_for_numbers(), signed_in(SEE)
    page = text(client.get(PAGE))
    assert "Reconstruction error 0.1" in page
    assert ", as usual: 0.1" in page
    assert "whether its 3 numbers still move together as they did" in page
    actions.set_sensitive(model="churn", add=["y"], actor="cli:ana")
    assert "Reconstruction error not measured" in text(client.get(PAGE))
    Profile.objects.filter(version=version).delete()
    assert "Reconstruction" not in text(client.get(PAGE))


def test_numbers_that_no_longer_do_are_said_so_though_no_single_one_has_moved(signed_in):
    asked_for_numbers(apart=True)
    page = text(signed_in(SEE).get(PAGE))
    assert ", outside what is usual: 0.1" in page
    assert "A large change" not in page
    assert "A moderate change" not in page


def test_values_that_were_sent_are_shown_to_who_may_see_inputs_alone(signed_in):
    version = watched_version()
    asked(version, unseen=0.3)
    address = f"{PAGE}?window=1"
    without = text(signed_in(SEE).get(address))
    assert "enterprise" not in without
    assert "pro" not in without.split(), "nor are the values of the reference, which its signature does not list"
    assert "Which values were never seen is shown to those who may see inputs" in without
    assert "bin 1 of 60" in without
    assert "up to 18" not in without, "nor are numbers, where a bin is of one"
    with_inputs = text(signed_in(SEE, INPUTS, username="ana").get(address))
    assert "Never seen in the reference: enterprise" in with_inputs
    assert "“pro” went from 66.6 % to" in with_inputs


def test_what_was_sent_is_text_and_never_markup(signed_in):
    version = watched_version()
    found = watched("churn", version.digest)
    plans = ["<script>alert(1)</script>", "x" * 3000]
    counts = found.reference.fold(
        {"age": np.array([40.0, 41.0]), "plan": plans}, Answers([np.array([0.5, 0.5])], ["stays", "stays"])
    )
    keep(version, now(), counts)
    page = signed_in(SEE, INPUTS).get(PAGE).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "x" * 81 not in page


def test_a_sensitive_feature_is_said_so_and_nothing_of_it_shown(signed_in):
    version = watched_version()
    asked(version)
    RegisteredModel.objects.update(sensitive=["plan"])
    response = signed_in(SEE, INPUTS).get(PAGE)
    page = text(response)
    assert "plan sensitive: not compared" in page
    assert "Sensitive: its values are neither recorded in the clear nor counted" in page
    assert "pro" not in page.split()
    assert response.content.decode().count("<figure>") == 1
    assert 'style="' not in response.content.decode()


def test_the_importance_of_a_feature_stands_beside_it_unless_it_is_sensitive(signed_in):
    asked(watched_version(importance=(0.876, 0.124)))
    client = signed_in(SEE)
    page = text(client.get(PAGE))
    assert "Feature Importance Change" in page
    assert "age 88 % Hardly any change" in page
    assert "plan 12 % Hardly any change" in page
    RegisteredModel.objects.update(sensitive=["plan"])
    page = text(client.get(PAGE))
    assert "age 88 % Hardly any change" in page
    assert "plan sensitive: not compared" in page
    assert "12 %" not in page


def test_of_a_reference_without_importance_the_word_is_not_there(signed_in):
    asked(watched_version())
    assert "mportance" not in text(signed_in(SEE).get(PAGE))


def test_before_the_first_rows_and_before_the_first_judgement_it_says_so(signed_in):
    version = watched_version()
    client = signed_in(SEE)
    page = text(client.get(PAGE))
    assert "Nothing was asked in this time" in page
    tomorrow = (timezone.now() + timedelta(days=1)).strftime("%Y-%m-%d")
    told = f"Not judged yet: the day that goes on is judged soon after {tomorrow} 00:00 UTC, if 50 rows have been asked by then."
    assert told in page
    asked(version, hours=1)
    page = text(client.get(PAGE))
    assert "Not judged yet" in page
    assert "Nothing was asked" not in page


def test_without_a_reference_it_says_what_to_do(signed_in):
    ready(model="churn")
    page = text(signed_in(SEE).get(PAGE))
    assert "There is nothing to compare with" in page
    assert "churn 1 has no reference to compare with: push it with a sample (--sample)" in page
    assert "trivet push model.joblib --name churn --sample rows.csv" in page


def test_a_model_without_a_version_has_a_page(signed_in):
    RegisteredModel.objects.create(name="churn")
    assert "No version was registered yet." in text(signed_in(SEE).get(PAGE))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("window=1", "in the last day, beside the rows given at its push"),
        ("window=30&against=previous", "in the last 30 days, beside the time before, as long"),
        ("against=same-hour", "in the last 7 days, beside the same hours of four weeks before"),
        ("window=junk&against=%00", "in the last 7 days, beside the rows given at its push"),
    ],
)
def test_time_and_reference_are_chosen_by_the_address(signed_in, query, said):
    version = watched_version()
    asked(version)
    assert said in text(signed_in(SEE).get(f"{PAGE}?{query}"))


def test_beside_a_time_without_rows_nothing_is_measured(signed_in):
    version = watched_version()
    asked(version)
    page = text(signed_in(SEE).get(f"{PAGE}?against=previous"))
    assert "Not measured: no rows in the reference." in page


def test_another_version_is_chosen_by_its_number(signed_in):
    watched_version()
    client = signed_in(SEE)
    assert client.get(f"{PAGE}?version=1").status_code == 200
    assert client.get(f"{PAGE}?version=2").status_code == 404


def wide_version(features):
    """Return a version of many features, half numbers and half categories, and the reference of it."""
    names = [f"f{place}" for place in range(features)]
    signature = Signature(
        inputs=tuple(
            Input(name=name, datatype="BYTES" if place % 2 else "FP64", shape=(-1, 1))
            for place, name in enumerate(names)
        ),
        outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
        task="regression",
    )
    rng = np.random.default_rng(3)
    inputs = {
        name: [f"value {one}" for one in rng.integers(0, 40, 1000)] if place % 2 else rng.normal(size=1000).tolist()
        for place, name in enumerate(names)
    }
    outputs = {"prediction": rng.normal(size=1000).tolist()}
    version = watched_version("wide", signature=signature, rows=(inputs, outputs))
    return version, watched("wide", version.digest).reference


def test_fifty_features_take_under_a_tenth_of_a_second_and_as_many_queries_as_two(signed_in):
    asked(watched_version())
    version, reference = wide_version(50)
    for hour in range(24):
        keep(version, now() - hour * HOUR, reference.whole)
    client = signed_in(SEE, INPUTS)
    counts, times = [], []
    for address in (f"{PAGE}?window=1", "/models/wide/drift/?window=1"):
        client.get(address)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get(address).status_code == 200
        counts.append(len(captured))
    until = time.monotonic() + MOMENT_SECONDS  # in which others leave the processor alone for once
    while not times or (min(times) >= 0.1 and time.monotonic() < until):
        began = time.process_time()
        client.get("/models/wide/drift/?window=1")
        times.append(time.process_time() - began)
    assert counts[0] == counts[1] <= 20
    assert min(times) < 0.1
    page = client.get("/models/wide/drift/?window=1").content.decode()
    assert page.count("<figure>") == 12
    assert "Draw the other 38 features" in page
    every = client.get("/models/wide/drift/?window=1&charts=all").content.decode()
    assert every.count("<figure>") == 50
    assert "Draw the other" not in every


def test_what_windows_left_is_drawn_with_what_happened_meanwhile(signed_in):
    version = watched_version()
    promoted = actions.promote(model="churn", version=1, actor="cli:ana")
    asked(version)
    judged(version, 3.1)
    monitor = Monitor.objects.get()
    for hour, mean in ((5, 1.0), (4, 2500.0), (3, 40.0), (2, 3.1)):
        remember(monitor.pk, Grain.HOUR, Left(now() - hour * HOUR, mean, 2160.0))
    raise_alert(version, Cause.TRUST, Severity.WARNING, features=[], evidence={})
    response = signed_in(SEE).get(PAGE)
    page = text(response)
    assert "At most the evidence was 2,500 of 2,160 in 30 days" in page
    assert "after the last window it is 3.1 of 2,160." in page
    assert "ana (command line) promoted version 1" in page
    assert "Alert: estimate not trusted (warning)" in page
    assert page.index("promoted version 1") < page.index("Alert: estimate"), promoted.at
    markup = response.content.decode()
    assert '<text class="pin-text" y="14">1–2</text>' in markup, "both happened now"
    assert 'style="' not in markup


def test_before_a_window_was_judged_there_is_no_time_to_look_at(signed_in):
    asked(watched_version())
    page = text(signed_in(SEE).get(PAGE))
    assert "Evidence over time" not in page


def test_what_is_told_of_a_model_lies_one_click_apart_and_of_the_version_that_was_chosen(signed_in):
    watched_version()
    client = signed_in(SEE)
    for here in ("drift", "performance", "labels"):
        page = client.get(f"/models/churn/{here}/?version=1").content.decode()
        query = "" if here == "labels" else "?version=1"
        links = [
            f'href="/models/churn/{there}"' for there in (query, f"drift/{query}", f"performance/{query}", "labels/")
        ]
        assert all(link in page for link in links), here
        assert f'href="/models/churn/{here}/{query}" aria-current="page"' in page
