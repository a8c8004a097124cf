"""Alerts in the console: who sees them, who answers them, and what is kept of it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.django.console.test_pages import queries, text
from tests.django.people import browser, grant, person
from tests.django.watched import count, watched_version
from tests.django.worlds import ready
from trivet.control.monitoring.alerts import raise_alert, resolve_alerts
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.models import Alert, AlertState, Cause, Grain, ReferenceProfile, Severity
from trivet.control.registry.models import Event

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
SEE, MOVE = "view_registeredmodel", "promote"


def alert(model="churn", cause=Cause.DRIFT):
    (version,) = ready(model=model)
    return raise_alert(version, cause, Severity.WARNING, features=["age"], evidence={"mean": 3000, "budget": 2160})


def test_an_alert_is_read_in_one_sentence_and_leads_to_what_changed(signed_in):
    alert()
    page = signed_in(SEE).get("/alerts/")
    assert "What churn 1 is asked has changed: age. The evidence is 3,000, of a budget of 2,160 windows" in text(page)
    assert "/models/churn/drift/?version=1" in page.content.decode()
    assert "Acknowledge" not in text(page).replace("Who acknowledges", "")


def test_without_an_alert_the_page_says_so(signed_in):
    assert "Nothing is wrong that anybody knows of" in text(signed_in(SEE).get("/alerts/"))


def test_who_may_promote_acknowledges_with_a_reason_and_it_is_in_the_history(signed_in):
    found = alert()
    client = signed_in(SEE, MOVE)
    assert "Acknowledge" in text(client.get("/alerts/"))
    answer = client.post(f"/alerts/{found.pk}/", {"decision": "acknowledge", "reason": "a campaign"})
    assert answer["Location"] == "/alerts/"
    page = text(client.get("/alerts/"))
    assert "You look after the alert of churn." in page
    assert "ben looks after it." in page
    event = Event.objects.first()
    assert (event.action, event.actor, event.reason) == ("acknowledge_alert", "user:ben", "a campaign")
    assert "looks after an alert" in text(client.get("/models/churn/"))


def test_an_alert_is_snoozed_for_some_hours_and_for_no_nonsense(signed_in):
    found = alert()
    client = signed_in(SEE, MOVE)
    for hours in ("", "0", "-4", "721", "1e3", "٤"):
        page = client.post(f"/alerts/{found.pk}/", {"decision": "snooze", "hours": hours, "reason": "<b>kept</b>"})
        assert page.status_code == 200
        assert "Snooze for 1 to 720 hours" in text(page) or "snooze for 1 to 720 hours" in text(page)
        assert "&lt;b&gt;kept&lt;/b&gt;" in page.content.decode(), "what was typed is still there"
    assert "not &#x27;junk&#x27;" in client.post(f"/alerts/{found.pk}/", {"decision": "junk"}).content.decode()
    client.post(f"/alerts/{found.pk}/", {"decision": "snooze", "hours": "4"})
    found.refresh_from_db()
    assert found.state == AlertState.SNOOZED
    assert timedelta(hours=3.9) < found.snoozed_until - timezone.now() <= timedelta(hours=4)
    assert "Nobody is told until" in text(client.get(f"/alerts/{found.pk}/"))


def test_an_alert_that_is_over_is_listed_and_answered_no_more(signed_in):
    found = alert()
    resolve_alerts(found.version, [Cause.DRIFT])
    client = signed_in(SEE, MOVE)
    page = text(client.get("/alerts/"))
    assert "Nothing is wrong that anybody knows of" in page
    assert "What churn 1 is asked has changed: age." in page
    assert f"alert {found.pk} is over since" in text(client.post(f"/alerts/{found.pk}/", {"decision": "acknowledge"}))


def test_who_may_only_look_answers_nothing_and_the_attempt_is_on_record(signed_in):
    found = alert()
    answer = signed_in(SEE).post(f"/alerts/{found.pk}/", {"decision": "acknowledge"})
    assert answer.status_code == 403
    assert "You may see this alert, but not answer it." in text(answer)
    assert Alert.objects.get().state == AlertState.OPEN
    assert Event.objects.first().action == "refuse"


def test_alerts_of_other_models_are_no_ones_business(client):
    seen, hidden = alert("churn"), alert("fraud")
    ben = person()
    grant("user:ben", "churn", "view", "promote")
    of_ben = browser(ben)
    page = text(of_ben.get("/alerts/"))
    assert "churn 1" in page
    assert "fraud" not in page
    assert of_ben.get(f"/alerts/{seen.pk}/").status_code == 200
    for method in (of_ben.get, of_ben.post):
        assert method(f"/alerts/{hidden.pk}/").status_code == 404
    assert client.get("/alerts/")["Location"] == "/login/?next=/alerts/"


def test_how_many_are_open_stands_on_the_overview_and_on_the_model_page(signed_in):
    found = alert()
    client = signed_in(SEE, MOVE)
    page = text(client.get("/"))
    assert "Open alerts 1 of churn" in page
    assert "1 alert " in page
    assert "What churn 1 is asked has changed" in text(client.get("/models/churn/"))
    client.post(f"/alerts/{found.pk}/", {"decision": "acknowledge"})
    assert "Open alerts 0 none" in text(client.get("/"))


def test_many_alerts_ask_as_much_of_the_database_as_one(signed_in):
    client = signed_in(SEE, MOVE)
    alert("m0")
    addresses = ("/alerts/", "/", "/models/m0/")
    few = [queries(client, address) for address in addresses]
    for number in range(1, 8):
        alert(f"m{number}")
    assert [queries(client, address) for address in addresses] == few


def asked(version):
    for hour in range(1, 4):
        count(version, begin_of(timezone.now(), Grain.HOUR) - hour * timedelta(hours=1), 500, seed=hour, older=9.0)


def test_a_new_normal_is_accepted_once_somebody_has_confirmed_it(signed_in):
    version = watched_version()
    asked(version)
    found = raise_alert(
        version, Cause.DRIFT, Severity.WARNING, features=["age"], evidence={"mean": 3000, "budget": 2160}
    )
    address = f"/alerts/{found.pk}/accept/"
    client = signed_in(SEE, MOVE)
    assert f'href="{address}"' in client.get("/alerts/").content.decode()
    page = text(client.get(address))
    assert "Is this what is normal for churn 1 now?" in page
    assert "What churn 1 is asked has changed: age." in page
    assert "It is compared with 2,000 rows now" in page
    assert "How right it is is still held against what it was pushed with." in page
    assert ReferenceProfile.objects.count() == 1, "to look changes nothing"

    for days in ("", "0", "91", "-1", "1e1", "٤"):
        refused = client.post(address, {"days": days, "reason": "<b>kept</b>"})
        assert "1 to 90 days" in text(refused)
        assert "&lt;b&gt;kept&lt;/b&gt;" in refused.content.decode()
    answer = client.post(address, {"days": "1", "reason": "a campaign that stays"})
    assert answer["Location"] == "/alerts/"
    assert "What churn was asked is what is normal now." in text(client.get("/alerts/"))
    assert "took the last 1 day of version 1 for what is normal" in text(client.get("/models/churn/"))
    assert "with 1,500 rows now" in text(client.get(address))
    assert f"alert {found.pk} is over since" in text(client.post(address, {"days": "1"}))


def test_an_estimate_that_does_not_fit_is_never_normal(signed_in):
    found = alert(cause=Cause.TRUST)
    client = signed_in(SEE, MOVE)
    assert "Accept as new normal" not in text(client.get("/alerts/"))
    assert "no days make that normal" in text(client.post(f"/alerts/{found.pk}/accept/", {"days": "7"}))


def test_who_may_only_look_accepts_nothing(signed_in):
    found = alert()
    client = signed_in(SEE)
    assert "Accept as new normal" not in text(client.get("/alerts/"))
    for method in (client.get, client.post):
        assert method(f"/alerts/{found.pk}/accept/", {"days": "7"}).status_code == 403
    assert signed_in(username="eve").get(f"/alerts/{found.pk}/accept/").status_code == 404
    assert client.get("/alerts/999/accept/").status_code == 404
    assert Event.objects.first().action == "refuse"
