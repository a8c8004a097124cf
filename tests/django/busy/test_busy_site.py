"""A busy site answers: each page of the console, and the admin's long lists, in half a second, and reads no log from end to end.

`make test` looks at a small one for how much is asked and how it is found; `make busy` at one of a million predictions, with
the clock, and prints what each page took.
"""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from django.db.models import Count, Sum
from django.test import Client

from tests.django.busy.asking import ASKED, admin_addresses, console_addresses
from tests.django.busy.clock import Cost, cost_of, full_scans
from tests.django.busy.conftest import ROWS
from tests.django.busy.site import Site
from tests.django.busy.traffic import Kind
from trivet.console import urls
from trivet.control.monitoring.models import LabelProfile, Profile
from trivet.control.monitoring.packing import total_of, total_of_labels
from trivet.control.monitoring.references import Watched, watched
from trivet.control.predictions.models import Label, LabelState, Prediction
from trivet.control.registry.models import ModelVersion
from trivet.core.profile.labels import empty_labels, fold_labels
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import columns_of, score_columns

pytestmark = pytest.mark.urls("trivet.server.urls")
MOST_MILLISECONDS = 500.0
IS_LARGE = ROWS >= 1_000_000  # on fewer rows the clock would say nothing
MOST_QUERIES = 40
ANSWERED = (200, 302, 404, 405)  # of pages that somebody's browser asks for; others need a form, or are not there
SAMPLED = 4  # days of each model that are counted again, from the log


@pytest.fixture
def browser(django_user_model, site: Site) -> Client:
    """Return the browser of somebody who may see everything."""
    client = Client(headers={"accept": "text/html"})
    client.force_login(django_user_model.objects.create_superuser("root", "", "a long pass phrase"))
    return client


def found_slow(costs: dict[str, Cost]) -> list[str]:
    """Return what is wrong with pages, a line each, and print what they took."""
    problems = [f"{address}: {cost.status}" for address, cost in costs.items() if cost.status not in ANSWERED]
    problems += [
        f"{address}: {len(cost.queries)} queries" for address, cost in costs.items() if len(cost.queries) > MOST_QUERIES
    ]
    for address, cost in costs.items():
        problems += [f"{address} reads the whole log: {plan}" for plan in full_scans(cost.queries, is_large=IS_LARGE)]
    if IS_LARGE:
        slowest = sorted(costs.items(), key=lambda one: -one[1].milliseconds)
        print(f"\n{'ms':>6}  {'queries':>7}  page", *(_line(*one) for one in slowest), sep="\n")
        problems += [_line(*one) for one in slowest if one[1].milliseconds >= MOST_MILLISECONDS]
    return problems


def _line(address: str, cost: Cost) -> str:
    return f"{cost.milliseconds:6.0f}  {len(cost.queries):7}  {address}"


def asked(browser: Client, addresses: list[str]) -> dict[str, Cost]:
    return {address: cost_of(browser, address, times=3 if IS_LARGE else 1) for address in addresses}


def test_every_page_of_the_console_is_asked() -> None:
    assert {pattern.name for pattern in urls.urlpatterns} == set(ASKED), "a page is missing in asking.py, or gone"


def test_no_page_of_the_console_is_slow_or_reads_the_whole_log(site: Site, browser: Client) -> None:
    addresses = [address for some in console_addresses(site).values() for address in some]
    assert len(addresses) > 100
    assert not found_slow(asked(browser, addresses))


def test_none_of_the_admins_long_lists_is_slow_or_reads_the_whole_log(site: Site, browser: Client) -> None:
    assert not found_slow(asked(browser, admin_addresses(site)))


def test_the_site_has_what_was_asked_for(site: Site) -> None:
    assert Prediction.objects.count() == ROWS
    labels = Label.objects.filter(state=LabelState.APPLIED).count()
    assert 0.55 < labels / ROWS < 0.7
    assert Profile.objects.filter(segment="").aggregate(rows=Sum("rows"))["rows"] == ROWS
    assert LabelProfile.objects.filter(segment="").aggregate(labels=Sum("labels"))["labels"] == labels
    versions = Prediction.objects.values_list("model", "version").annotate(Count("pk")).order_by()
    assert {(model, version) for model, version, _ in versions} == {(k.model, n) for k in site.kinds for n in (1, 2)}


def test_what_a_keeper_counted_is_what_the_log_says(site: Site) -> None:
    for kind in site.kinds:
        version = ModelVersion.objects.resolve(kind.model, 2)
        found = watched(kind.model, version.digest)
        assert found is not None
        newest = site.now.replace(hour=0, minute=0, second=0, microsecond=0)
        for back in range(SAMPLED):
            day = newest - timedelta(days=back)
            rows = Prediction.objects.of_model(kind.model).of_version(2).between(day, day + timedelta(days=1))
            _hold_against_log(kind, found, list(rows.with_labels()))


def _hold_against_log(kind: Kind, found: Watched, rows: list[Prediction]) -> None:
    """Count a day's rows of the log again, as a keeper does, and compare."""
    signature, reference = found.version.read_signature(), found.reference
    inputs = {spec.name: [row.inputs[spec.name] for row in rows] for spec in signature.inputs}
    if kind.classes:
        chances = [row.output["probabilities"][name] for row in rows for name in kind.classes]
        outputs = {"label": [row.output["label"] for row in rows], "probabilities": chances}
    else:
        outputs = {"variable": [row.output["variable"] for row in rows]}
    scores = score_columns(signature, reference.scores, outputs, len(rows))
    answers = Answers(scores, [row.decision for row in rows])
    latencies = np.array([row.latency_us for row in rows], dtype=float)
    counts = reference.fold(columns_of(signature, inputs, len(rows)), answers, latency_us=latencies)
    begin = rows[0].made_at.replace(hour=0, minute=0, second=0, microsecond=0)
    of_day = {"version": found.version, "segment": "", "start__gte": begin, "start__lt": begin + timedelta(days=1)}
    kept = Profile.objects.filter(**of_day).values_list("payload", flat=True)
    assert total_of(kept, reference.empty) == counts

    said = [place for place, row in enumerate(rows) if row.label is not None]
    told = Answers([score[said] for score in scores], [rows[place].decision for place in said])
    table = fold_labels(reference, told, [_value(rows[place].label) for place in said])
    kept_labels = LabelProfile.objects.filter(**of_day).values_list("payload", flat=True)
    assert total_of_labels(kept_labels, empty_labels(reference)) == table


def _value(label: object) -> object:
    """Return a label's value: a database gives what a subquery found of JSON as it is."""
    return json.loads(label) if isinstance(label, str) and label.startswith('"') else label
