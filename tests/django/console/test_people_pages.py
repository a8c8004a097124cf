"""The console shows each person the models they may know of, and nothing of the others."""

import re

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.django.people import browser, grant, person
from tests.django.worlds import ready
from trivet.control.registry import actions
from trivet.control.registry.models import Event, Proposal, RegisteredModel, Route

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]


def page_of(response):
    """Return a page without the token that is new each time."""
    return re.sub(rb'name="csrfmiddlewaretoken" value="[^"]*"', b"", response.content)


@pytest.fixture
def two_models():
    ready(2, model="churn")
    ready(model="fraud")


def test_the_console_lists_only_what_one_may_know_of(two_models):
    ben = person()
    grant("user:ben", "churn", "view")
    client = browser(ben)
    page = client.get("/").content.decode()
    assert "/models/churn/" in page
    assert "fraud" not in page
    assert client.get("/models/churn/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("", "drift/", "performance/", "try/", "openapi/", "openapi.json", "promote/1/", "roll-back/"),
        *("labels/", "labels/refused.csv"),
    ],
)
def test_a_hidden_model_has_the_page_of_one_that_does_not_exist(two_models, path):
    ben = person()
    grant("user:ben", "churn", "view")
    client = browser(ben)
    for method in (client.get, client.post):
        hidden, missing = method(f"/models/fraud/{path}"), method(f"/models/frau/{path}")
        assert (hidden.status_code, missing.status_code) in ((404, 404), (405, 405))
        assert page_of(hidden) == page_of(missing)


def test_a_forged_promotion_is_forbidden_and_on_record(two_models):
    actions.promote(model="churn", version=1, actor="cli:ana")
    ben = person()
    grant("user:ben", "churn", "view")
    client = browser(ben)
    assert client.get("/models/churn/promote/2/").status_code == 403
    assert Event.objects.first().action == "grant", "to look is no attempt"
    generation = Event.objects.first().generation
    answer = client.post("/models/churn/promote/2/", {"generation": generation, "reason": "mine"})
    assert answer.status_code == 403
    told = Event.objects.first()
    assert (told.action, told.actor, told.model, told.version) == ("refuse", "user:ben", "churn", 2)


def test_the_console_asks_the_database_as_often_for_many_models_as_for_few(two_models):
    ben, counts = person(), []
    group = Group.objects.create(name="analysts")
    ben.groups.add(group)
    grant("user:ben", "churn", "view")
    for more in (0, 8):
        for number in range(more):
            ready(model=f"more{number}")
            grant(("user:ben", "group:analysts")[number % 2], f"more{number}", "view", "predict")
        client = browser(ben)
        for path in ("/", "/models/churn/"):
            client.get(path)
            with CaptureQueriesContext(
                connection,
            ) as asked:
                client.get(path)
            counts.append(len(asked))
    assert counts[:2] == counts[2:]


@pytest.fixture
def waits(two_models, settings):
    """Ana proposed that version 2 of churn be promoted; return her browser, and the address of the proposal."""
    actions.promote(model="churn", version=1, actor="cli:root")
    settings.TRIVET_APPROVALS = 2
    client = browser(person("view_registeredmodel", "promote", "approve", name="ana"))
    assert "waits for a second person" in client.get("/models/churn/promote/2/").content.decode()
    generation = RegisteredModel.objects.get(name="churn").generation
    answer = client.post("/models/churn/promote/2/", {"generation": generation, "reason": "<b>better</b>"})
    number = Proposal.objects.get().pk
    assert answer.headers["Location"] == f"/models/churn/proposals/{number}/"
    return client, answer.headers["Location"]


def live():
    return dict(Route.objects.filter(model__name="churn").values_list("version__number", "weight"))


def test_D48_in_the_console_the_second_person_approves_and_the_history_names_both(waits):
    anas, address = waits
    page = anas.get(address).content.decode()
    assert "somebody else has to approve it" in page
    assert 'value="approve"' not in page
    assert anas.post(address, {"decision": "approve"}).status_code == 200, "forged: told what is wrong"
    assert live() == {1: 100}
    bens = browser(person("view_registeredmodel", "approve", name="ben"))
    assert address in bens.get("/models/churn/").content.decode()
    page = bens.get(address).content.decode()
    assert "&lt;b&gt;better&lt;/b&gt;" in page
    assert 'value="approve"' in page
    assert bens.post(address, {"decision": "approve"}).headers["Location"] == "/models/churn/"
    assert live() == {2: 100}
    page = bens.get("/models/churn/").content.decode()
    assert "promoted version 2; approved by ben" in page
    assert "A second person decides" not in page
    assert "It is approved, by ben" in bens.get(address).content.decode()
    assert bens.post(address, {"decision": "approve"}).status_code == 200
    assert live() == {2: 100}


def test_D48_in_the_console_a_proposal_is_seen_by_who_may_see_and_decided_by_who_may_decide(waits):
    anas, address = waits
    looks, knows_nothing = browser(person("view_registeredmodel", name="zoe")), browser(person(name="eve"))
    page = looks.get(address).content.decode()
    assert '<form method="post">' not in page
    assert looks.post(address, {"decision": "approve"}).status_code == 403
    assert looks.post(address, {"decision": "decline"}).status_code == 403
    assert Event.objects.first().after["action"] == "decline"
    missing = address.replace("churn", "chur")
    assert [knows_nothing.get(one).status_code for one in (address, missing)] == [404, 404]
    assert knows_nothing.post(address, {"decision": "approve"}).status_code == 404
    assert looks.get(address.replace("churn", "fraud")).status_code == 404, "it is of another model"
    assert live() == {1: 100}
    assert "decide approve or decline" in anas.post(address, {"reason": "?"}).content.decode(), "nothing was decided"
    assert anas.post(address, {"decision": "decline"}).status_code == 302
    assert "It is withdrawn, by ana" in looks.get(address).content.decode()


def test_the_way_back_asks_nobody(waits, settings):
    anas, address = waits
    browser(person("view_registeredmodel", "approve", name="ben")).post(address, {"decision": "approve"})
    assert "second person" not in anas.get("/models/churn/roll-back/").content.decode()
    generation = RegisteredModel.objects.get(name="churn").generation
    assert anas.post("/models/churn/roll-back/", {"generation": generation}).headers["Location"] == "/models/churn/"
    assert live() == {1: 100}
