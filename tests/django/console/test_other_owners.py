"""Pages and the admin: what is somebody else's is not there, and a form's field that nobody declared changes nothing."""

import re

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.messages import get_messages
from django.urls import get_resolver

from tests.django.test_people import browser, grant, person
from tests.django.worlds import live_model, ready, record
from tests.unit.dataplane.test_declared_fields import declared, undeclared
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion, Proposal, Route
from trivet.core.errors import ApprovalNeeded
from trivet.serving import process
from trivet.serving.keeper import Keeper, spool_root

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
TABLES = ("registeredmodel", "modelversion", "alias", "route", "event", "goldencaserow", "proposal", "prediction")
NAME_OF_MODEL = {"registeredmodel": "name", "event": "model", "prediction": "model"}
NO_ROW = 999_999
EXTRA = {
    "owner": "mallory",
    "digest": "0" * 64,
    "is_staff": "on",
    "is_superuser": "on",
    "is_active": "on",
    "actor": "user:root",
    "user": "root",
    "model": "fraud",
    "name": "fraud",
    "number": "3",
    "version": "3",
    "to": "3",
    "routes": '{"3": 100}',
    "status": "ready",
    "anonymous": "on",
    "approved_by": "user:root",
    "proposer": "user:root",
    "state": "approved",
    "user_permissions": "1",
    "groups": "1",
}


@pytest.fixture
def world(settings):
    ready(3, model="churn")
    ready(3, model="fraud")
    for name in ("churn", "fraud"):
        actions.promote(model=name, version=1, actor="cli:ana")
        actions.promote(model=name, version=2, actor="cli:ana")
    ship([record(version) for version in ModelVersion.objects.filter(number=2)])
    settings.TRIVET_APPROVALS = 2
    for name in ("churn", "fraud"):
        with pytest.raises(ApprovalNeeded):
            actions.set_routes(model=name, routes={2: 90, 3: 10}, actor="cli:ana")
    settings.TRIVET_APPROVALS = 1


@pytest.fixture
def with_cases(world):
    for name in ("churn", "fraud"):
        inputs = {"age": 1.0, "plan": "pro"}
        actions.add_golden_case(model=name, inputs=inputs, expect={"class": "stays"}, actor="cli:ana")


def seen(client, address, number, method="get"):
    """Return what an address answers, without what is new each time, and with its number as N."""
    response = getattr(client, method)(address)
    told = [str(message) for message in get_messages(response.wsgi_request)]
    content = re.sub(rb'(csrfmiddlewaretoken" value|nonce)="[^"]*"', b"", response.content).decode()
    parts = (response.status_code, response.headers.get("Location", ""), *told, content)
    return [re.sub(rf"(?<=[/“]){number}(?=[/”])", "N", str(part)) for part in parts]


@pytest.mark.parametrize("table", TABLES)
def test_D03_in_the_admin_a_row_of_others_is_a_row_that_is_not_there(with_cases, table):
    ben = person(is_staff=True)
    grant("user:ben", "fraud", "view", "view_predictions")
    rows = apps.get_model("trivet", table).objects.filter(**{NAME_OF_MODEL.get(table, "model__name"): "churn"})
    number = rows.first().pk
    for page in ("", "change/", "history/", "delete/"):
        others, unknown = (seen(browser(ben), f"/admin/trivet/{table}/{one}/{page}", one) for one in (number, NO_ROW))
        assert others == unknown, page
        assert others[0] in ("302", "403", "404"), page


def model_pages() -> list[str]:
    """Return the address of each page about a model, with M for its name and V for a number."""
    patterns = [str(one.pattern) for one in get_resolver("trivet.console.urls").url_patterns]
    return ["/" + p.replace("<str:name>", "M").replace("<int:number>", "V") for p in patterns if p[:7] == "models/"]


@pytest.mark.parametrize("page", model_pages())
def test_D03_every_page_of_a_model_of_others_is_that_of_no_model(world, page):
    ben = person()
    grant("user:ben", "fraud", "view", "promote", "approve", "predict")
    client = browser(ben)
    number = Proposal.objects.get(model__name="churn").pk if "proposals" in page else 2
    for method in ("get", "post"):
        others = seen(client, page.replace("M", "churn").replace("V", str(number)), number, method)
        unknown = seen(client, page.replace("M", "churm").replace("V", str(number)), number, method)
        assert others == unknown
        assert others[0] in ("404", "405")


def test_D03_a_proposal_of_others_is_not_found_under_ones_own_model(world):
    client = browser(person("view_registeredmodel", "approve"))
    number = Proposal.objects.get(model__name="churn").pk
    for method in ("get", "post"):
        others, unknown = (seen(client, f"/models/fraud/proposals/{n}/", n, method) for n in (number, NO_ROW))
        assert others == unknown
        assert others[0] == "404"


def live(model):
    return dict(Route.objects.filter(model__name=model).values_list("version__number", "weight"))


def generation(model):
    return {"generation": Event.objects.filter(model=model).first().generation, "reason": "mine"}


def test_D04_a_move_is_that_of_the_address_and_of_who_is_signed_in_whatever_else_the_form_says(world, settings):
    ben = person("view_registeredmodel", "promote", "approve")
    client = browser(ben)
    others = live("fraud")
    assert client.post("/models/churn/roll-back/", {**EXTRA, **generation("churn")}).status_code == 302
    assert live("churn") == {1: 100}
    assert (Event.objects.first().action, Event.objects.first().actor) == ("roll_back", "user:ben")
    assert client.post("/models/churn/promote/2/", {**EXTRA, **generation("churn")}).status_code == 302
    assert live("churn") == {2: 100}
    assert (Event.objects.first().action, Event.objects.first().actor) == ("promote", "user:ben")
    assert "approved_by" not in Event.objects.first().after
    settings.TRIVET_APPROVALS = 2
    address = client.post("/models/churn/promote/3/", {**EXTRA, **generation("churn")}).headers["Location"]
    assert client.post(address, {**EXTRA, "decision": "approve"}).status_code == 200, "ben is not the second person"
    row = Proposal.objects.first()
    assert (row.proposer, row.state, live("churn"), live("fraud")) == ("user:ben", "open", {2: 100}, others)
    unchanged = get_user_model().objects.get(pk=ben.pk)
    assert (unchanged.is_staff, unchanged.is_superuser) == (False, False)


@pytest.mark.parametrize(
    "address", ["/login/", "/admin/password_change/", "/admin/auth/user/ME/change/", "/admin/auth/user/add/"]
)
def test_D04_nobody_makes_themselves_more_by_a_form(world, client, address):
    ben = person(is_staff=True)
    asks = client if address == "/login/" else browser(ben)
    passwords = {
        "old_password": "a long pass phrase",
        "new_password1": "quite another one",
        "new_password2": "quite another one",
    }
    signing_in = {"username": "ben", "password": "a long pass phrase"}
    answer = asks.post(address.replace("ME", str(ben.pk)), {**EXTRA, **signing_in, **passwords})
    assert answer.status_code == (403 if "/auth/" in address else 302)
    after = get_user_model().objects.get(pk=ben.pk)
    assert (after.is_superuser, after.user_permissions.count(), after.groups.count()) == (False, 0, 0)
    assert get_user_model().objects.count() == 1


@pytest.mark.parametrize("table", [*TABLES, "apikey", "grant", "shadow", "registrystate"])
def test_D04_no_row_of_the_registry_is_written_by_a_form(with_cases, admin_client, table):
    grant("user:admin", "churn", "view")
    actions.issue_key(name="deploy", grants={"churn": ["predict"]}, actor="cli:ana")
    model = apps.get_model("trivet", table)
    before = list(model.objects.order_by("pk").values())
    number = before[0]["id" if "id" in before[0] else model._meta.pk.attname] if before else 1
    for page in ("add/", f"{number}/change/", f"{number}/delete/", f"{number}/"):
        answer = admin_client.post(f"/admin/trivet/{table}/{page}", {**EXTRA, "post": "yes", "_save": "Save"})
        assert answer.status_code in (302, 403, 404), page
    assert list(model.objects.order_by("pk").values()) == before


@pytest.mark.django_db(transaction=True)
def test_D04_trying_a_model_is_recorded_for_who_is_signed_in(settings, client):
    settings.TRIVET_KEEPER = "external"
    live_model("churn")
    client = browser(person("view_registeredmodel", "predict"))
    try:
        answer = client.post(
            "/models/churn/try/", {**EXTRA, "caller": "user:root", "x-age": "41", "x-city": "Oslo", "x-owner": "root"}
        )
        assert answer.status_code == 200
    finally:
        if process._process is not None:
            process._process.stop()
            process._process = None
    assert Keeper(spool_root()).step() == 1
    assert [(one.caller, one.model, one.version) for one in Prediction.objects.all()] == [("user:ben", "churn", 1)]


def test_D05_the_description_of_a_model_holds_what_is_declared_here_too(world):
    client = browser(person("view_registeredmodel"))
    answer = client.get("/models/churn/openapi.json").json()
    assert undeclared(answer, declared()["v2/models/{m}/openapi.json"]) == []
