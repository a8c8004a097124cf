"""The search of the log in the console: who reads whose log, what is found, and the way from page to page."""

import html
import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from tests.django.console.test_pages import SCRIPTS, Markup, queries, text
from tests.django.people import browser, grant, person
from tests.django.worlds import ready, ready_of, record
from trivet.control.predictions import searching
from trivet.control.predictions.labelling import say
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import ModelVersion, RegisteredModel
from trivet.core.records import SaidLabel

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
SEE, READ = "view_registeredmodel", "view_predictions"
PAGE = "/predictions/"


def answered(count=3, model="churn", **changes):
    """Have `count` requests answered, a minute apart, the last a minute ago; return their records."""
    version = ModelVersion.objects.filter(model__name=model).first() or ready(model=model)[0]
    begin = timezone.now() - timedelta(minutes=count)
    records = [
        record(
            version,
            made_at=int((begin + timedelta(minutes=place)).timestamp() * 1e9),
            **{"request_id": f"r-{place}", "entity_key": f"shop.customer:{place}"} | changes,
        )
        for place in range(count)
    ]
    ship(records, cursor=("worker", 1, 10))
    return records


def links(response):
    return [html.unescape(one) for one in re.findall(r'href="([^"]*)"', response.content.decode())]


def test_the_newest_answers_are_there_with_what_turned_out_and_each_leads_to_its_page(signed_in):
    records = answered(inputs=[[41.0], ["premium"]])
    say([SaidLabel("stays", records[0].id)], actor="cli:ana")
    page = signed_in(SEE, READ).get(PAGE)
    assert "3 predictions." in text(page)
    assert "churned 75.0 %" in text(page)
    assert "stays" in text(page)
    assert [f"/predictions/{one.id}:0/" for one in reversed(records)] == [
        one for one in links(page) if one.startswith("/predictions/0")
    ]
    assert "premium" not in page.content.decode(), "inputs are of no list"


def test_a_decision_that_there_is_not_is_told_which_there_are(signed_in):
    answered()
    client = signed_in(SEE, READ)
    told = text(client.get(PAGE, {"model": "churn", "decision": "chruned"}))
    assert "No prediction meets this. Version 1 decides one of: stays, churned." in told
    assert "decides one of" not in text(client.get(PAGE, {"model": "churn", "decision": "stays"}))
    assert "decides one of" not in text(client.get(PAGE, {"model": "churn", "caller": "key:none"}))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"request": "r-1"}, 1),
        ({"entity": " shop.customer:2 "}, 1),
        ({"caller": "key:abcdefgh", "version": "1", "decision": "churned"}, 3),
        ({"caller": "key:none"}, 0),
        ({"version": "0"}, 0),
        ({"flags": "yes"}, 0),
        ({"flags": "no", "label": "no"}, 3),
        ({"label": "yes"}, 0),
        ({"since": "2020-01-01", "until": "2020-01-01T12:00"}, 0),
        ({"since": "2020-01-01T00:00:00Z"}, 3),
        ({"request": "r-1\0"}, 0),
        ({"flags": "junk", "label": "junk", "after": "junk", "nothing": "1"}, 3),
    ],
)
def test_conditions_leave_what_meets_them(signed_in, asked, found):
    answered()
    page = signed_in(SEE, READ).get(PAGE, {"model": "churn", **asked})
    assert len(re.findall(r"/predictions/0", page.content.decode())) == found
    assert ("No prediction meets this." in text(page)) == (not found)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("version", "junk", "'junk' is no number of a version"),
        ("version", "9" * 30, "is no number of a version"),
        ("version", "\u0661", "is no number of a version"),
        ("prediction", "junk", "'junk' is no id of a prediction"),
        ("since", "yesterday", "'yesterday' is no time: write it as 2026-11-30T09:15."),
        ("until", "2026-13-01", "'2026-13-01' is no time"),
        ("until", "0001-01-01", "'0001-01-01' is no time"),
        ("until", "9999-12-31T23:59:59-12:00", "is no time"),
        ("caller", "k" * 257, "At most 256 characters."),
    ],
)
def test_a_condition_that_cannot_be_read_is_told_beside_its_field_and_nothing_is_looked_for(
    signed_in, name, value, told
):
    answered()
    client = signed_in(SEE, READ)
    page = client.get(PAGE, {"model": "churn", name: value})
    assert page.status_code == 200
    assert told in html.unescape(text(page))
    assert f'id="{name}-error"' in page.content.decode()
    asked = queries(client, f"{PAGE}?{urlencode({'model': 'churn', name: value})}")
    assert asked == queries(client, f"{PAGE}?model=churn") - 2, "nothing is looked for"


def test_D39_sql_and_look_ups_are_texts_that_nothing_has(signed_in):
    answered()
    client = signed_in(SEE, READ)
    for sql in ("' OR 1=1 --", "'; DROP TABLE trivet_prediction; --", "%' OR '%'='", "\\"):
        for name in ("decision", "entity", "caller", "request"):
            assert "No prediction meets this." in text(client.get(PAGE, {"model": "churn", name: sql}))
        assert client.get(PAGE, {"model": sql}).status_code == 404
    for lookup in ("inputs__age=41", "caller__startswith=key", "_connector=OR", "after=1-1&after=2", "model__in=a"):
        assert client.get(f"{PAGE}?model=churn&{lookup}").status_code == 200


def test_D41_a_place_that_is_none_begins_at_the_newest_and_an_absurd_one_finds_nothing(signed_in):
    answered()
    client = signed_in(SEE, READ)
    for junk in ("1", "-1-1", "9" * 40 + "-1", "1e9-1", "\u0661-1", "1-1\0"):
        assert "3 predictions." in text(client.get(PAGE, {"after": junk})), junk
    for place in ("0-0", "1-1"):
        assert "No older prediction meets this." in text(client.get(PAGE, {"after": place}))
    assert client.get(PAGE, {"after": "9" * 17 + "-" + "9" * 18}).status_code == 200


def test_pages_lead_to_older_ones_and_keep_the_conditions(signed_in, monkeypatch):
    monkeypatch.setattr(searching, "PAGE_ROWS", 2)
    answered(5)
    client, address, found = signed_in(SEE, READ), f"{PAGE}?model=churn&version=1&label=no", []
    while address:
        page = client.get(address)
        found += [one for one in links(page) if one.startswith("/predictions/0")]
        older = [one for one in links(page) if "after=" in one]
        assert all("version=1" in one and "label=no" in one and "model=churn" in one for one in older)
        address = PAGE + older[0] if older else ""
    assert len(found) == len(set(found)) == 5


def test_what_was_not_looked_at_yet_is_said(signed_in, monkeypatch):
    monkeypatch.setattr(searching, "LOOKED_AT", 2)
    answered(3)
    client = signed_in(SEE, READ)
    page = client.get(f"{PAGE}?model=churn&request=r-0")
    assert "0 predictions, of those since" in text(page)
    assert "Older ones were not looked at yet." in text(page)
    assert "Look further back" in text(page)
    (further,) = [one for one in links(page) if "after=" in one]
    assert "1 prediction." in text(client.get(PAGE + further))


def test_an_id_leads_to_its_page(signed_in):
    (one,) = answered(1)
    client = signed_in(SEE, READ)
    assert client.get(PAGE, {"prediction": f" {one.id.upper()} "})["Location"] == f"/predictions/{one.id}/"
    assert client.get(PAGE, {"prediction": f"{one.id}:3", "model": "churn"})["Location"] == f"/predictions/{one.id}:3/"


def test_a_log_is_read_by_who_may_read_it_and_a_hidden_model_is_none(client):
    answered(1, "churn")
    answered(1, "fraud", caller="key:of-fraud")
    assert client.get(PAGE)["Location"] == "/login/?next=/predictions/"
    ben, eva, zoe = person(name="ben"), person(SEE, name="eva"), person(name="zoe")
    grant("user:ben", "churn", "view_predictions")
    grant("user:zoe", "churn", "label")
    of_ben = browser(ben)
    page = of_ben.get(PAGE)
    assert "churn" in text(page)
    assert "fraud" not in page.content.decode()
    hidden, missing = (of_ben.get(PAGE, {"model": name}) for name in ("fraud", "frau"))
    assert (hidden.status_code, missing.status_code) == (404, 404)
    assert text(hidden) == text(missing)
    for other in (browser(eva), browser(zoe)):
        assert other.get(PAGE).status_code == 403
        assert other.get(PAGE, {"model": "churn"}).status_code == 403
    assert browser(eva).get(PAGE, {"model": "frau"}).status_code == 404
    assert of_ben.post(PAGE).status_code == 405


def test_without_a_model_it_leads_to_how_to_begin(signed_in):
    assert signed_in(SEE, READ).get(PAGE)["Location"] == "/"


def test_many_predictions_models_and_labels_ask_as_much_of_the_database_as_one(signed_in):
    client = signed_in(SEE, READ)
    answered(1)
    addresses = (PAGE, f"{PAGE}?model=churn&label=yes&flags=no&caller=key:abcdefgh&after=9999999999999999-1")
    few = [queries(client, address) for address in addresses]
    for number in range(5):
        answered(20, f"m{number}")
    records = answered(30)
    say([SaidLabel("stays", one.id) for one in records], actor="cli:ana")
    assert [queries(client, address) for address in addresses] == few


@pytest.mark.parametrize("script", SCRIPTS)
def test_D25_scripts_are_texts_on_the_page_and_in_its_form(script, signed_in):
    ready_of("stays", script)
    one, *_ = answered(1, outputs=[[script], [0.5, 0.5]], caller=f"key:{script}")
    say([SaidLabel(script, one.id, source=script[:64])], actor="cli:ana")
    RegisteredModel.objects.update(title=script)
    client = signed_in(SEE, READ)
    asked = {"decision": script, "caller": f"key:{script}", "since": script, "version": script, "request": script}
    for page in (client.get(PAGE), client.get(PAGE, asked)):
        assert Markup(page.content.decode()).live == []
    assert Markup(client.get(PAGE).content.decode()).shown.count(script) > 3
