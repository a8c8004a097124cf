"""Jobs in the console: how far each run is, who sees which, and what kept rows from their numbers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.django.console.test_pages import queries, text
from tests.django.people import browser, grant, person
from tests.django.worlds import ready
from trivet.control.scoring.models import RunState, ScoringError, ScoringRun
from trivet.core.holders import this_holder

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
SEE = "view_registeredmodel"
GONE = f"{this_holder()}0"  # it began at another time, so the process is another one


def run(model: str = "churn", **said: Any) -> ScoringRun:
    values = {
        "version": 3,
        "table": "shop.customer",
        "field": "risk",
        "batch_size": 9,
        "total": 1200,
        "actor": "user:ana",
    }
    return ScoringRun.objects.create(model=model, claim=uuid4(), **{**values, **said})


def test_a_run_under_way_says_how_far_it_is_and_is_looked_at_again(signed_in):
    run(done=300, errors=2, gone=1, seconds=30.0, holder=this_holder())
    page = signed_in(SEE).get("/jobs/")
    told = text(page)
    assert "300 of 1,200, 2 refused, 1 deleted" in told
    assert "under way about 1 min left" in told
    assert "shop.customer.risk" in told
    assert 'hx-trigger="every 2s"' in page.content.decode()
    assert 'width="25.2%"' in page.content.decode()
    part = signed_in(SEE, username="bo").get("/jobs/", headers={"HX-Request": "true"}).content.decode()
    assert part.startswith('<div id="runs"')


def test_what_is_not_under_way_is_not_asked_about_again(signed_in):
    run(done=1200, state=RunState.FINISHED, ended_at=timezone.now())
    page = signed_in(SEE).get("/jobs/").content.decode()
    assert "done" in page
    assert "hx-trigger" not in page


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"holder": GONE, "where": {"plan": "free"}}, "killed: its process is gone"),
        ({"holder": "elsewhere:1:2", "seen_at": timezone.now() - timedelta(hours=1), "where": {}}, "killed"),
        ({"state": RunState.INTERRUPTED, "where": {}}, "interrupted"),
    ],
)
def test_what_has_not_ended_says_how_to_go_on(signed_in, said: dict[str, Any], words: str):
    found = run(**said)
    told = text(signed_in(SEE).get("/jobs/"))
    assert words in told
    assert f"To go on: trivet score churn shop.customer --resume {found.pk}" in told
    ScoringRun.objects.update(where=None)
    assert "Code began it: the same call of trivet.score goes on with it." in text(
        signed_in(SEE, username="bo").get("/jobs/")
    )


def test_what_rows_hold_is_for_who_may_see_inputs(signed_in):
    found = run(state=RunState.INTERRUPTED, problem="the row 'gold' was held", errors=1)
    ScoringError.objects.create(run=found, key="17", message="'plan' is 'gold'")
    told = text(signed_in(SEE).get(f"/jobs/{found.pk}/"))
    assert "gold" not in told
    assert "is for who may see the inputs" in told
    told = text(signed_in(SEE, "view_inputs", username="bo").get(f"/jobs/{found.pk}/"))
    assert "17 &#x27;plan&#x27; is &#x27;gold&#x27;" in told
    assert "the row &#x27;gold&#x27; was held" in told


def test_of_others_models_nobody_is_told():
    ready()
    mine, other = run(), run(model="fraud", field="fraud")
    viewer = person()
    grant(f"user:{viewer.username}", "churn", "view")
    client = browser(viewer)
    told = text(client.get("/jobs/"))
    assert "churn" in told
    assert "fraud" not in told
    assert client.get(f"/jobs/{mine.pk}/").status_code == 200
    assert client.get(f"/jobs/{other.pk}/").status_code == 404
    assert client.get(f"/jobs/{other.pk + 1}/").status_code == 404


def test_as_many_queries_for_fifty_runs_as_for_one(signed_in):
    run(holder=this_holder())
    client = signed_in(SEE)
    client.get("/jobs/")
    one = queries(client, "/jobs/")
    for _ in range(60):
        run(state=RunState.FINISHED, ended_at=timezone.now())
    assert queries(client, "/jobs/") == one
    assert client.get("/jobs/").content.decode().count('scope="row"') == 50


def test_without_a_run_the_page_says_how_one_begins(signed_in):
    assert "A run begins with trivet.score" in text(signed_in(SEE).get("/jobs/"))
