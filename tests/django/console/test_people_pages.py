"""The console shows each person the models they may know of, and nothing of the others."""

import re

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.django.test_people import browser, grant, person
from tests.django.worlds import ready
from trivet.control.registry import actions
from trivet.control.registry.models import Event

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


@pytest.mark.parametrize("path", ["", "try/", "openapi/", "openapi.json", "promote/1/", "roll-back/"])
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
