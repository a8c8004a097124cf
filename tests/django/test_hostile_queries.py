"""What stands in an address is never SQL, a look-up of somebody else's, or a load."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.django.worlds import ready
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion

TABLES = ("registeredmodel", "modelversion", "alias", "route", "goldencaserow", "event", "apikey", "prediction")
SQL = (
    "' OR 1=1 --",
    '" OR ""="',
    "1; DROP TABLE trivet_event; --",
    "') UNION SELECT hash FROM trivet_apikey --",
    "%' OR '%'='",
    "\\'; SELECT pg_sleep(9); --",
)
LOOKUPS = (
    "_connector=OR",
    "_negated=True",
    "model__versions__manifest__contains=x",
    "pk__in=1,2,3",
    "pk__in=" + ",".join(["1"] * 2000),
    "name__regex=(a%2B)%2B$",
    "name__iregex=(",
    "hash__startswith=a",
    "password__startswith=a",
    "created_by__user__password=a",
    "a__b=1",
    "__=1",
    "status__exact__exact=1",
    "generation__gt=1%00",
    "id__exact=' OR 1=1",
    "created_at__year=99999999999999999999",
    "at__day=x",
    "inputs__0__gt=1",
    "grants__contains={",
    "o=999999999999.-1.x",
    "p=" + "9" * 40,
    "p=-1&all=1",
    "q=" + "a%20" * 3000,
)


@pytest.fixture
def world(db, settings):
    settings.ROOT_URLCONF = "trivet.server.urls"
    ready(2)
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.issue_key(name="deploy", grants={"churn": ["predict"]}, actor="user:ana")


def shown(page) -> int:
    return len(re.findall(rb'class="action-checkbox"|<tr><th class="field-', page.content))


@pytest.mark.parametrize("sql", SQL)
def test_D39_sql_in_a_search_is_a_text_that_nothing_has(world, admin_client, sql):
    admin_client.raise_request_exception = False
    before = Event.objects.count()
    for table in TABLES:
        page = admin_client.get(f"/admin/trivet/{table}/", {"q": sql})
        assert page.status_code == 200, table
        assert shown(page) == 0 or table in ("alias", "route"), table  # those two cannot be searched
        for name in ("model__id__exact", "status__exact", "action__exact", "version"):
            assert admin_client.get(f"/admin/trivet/{table}/", {name: sql}).status_code in (200, 302, 400)
    for address in ("/models/churn/", "/models/churn/try/", "/models/churn/openapi/"):
        assert admin_client.get(address, {"version": sql}).status_code == 404
        assert admin_client.get(address, {"row": sql}).status_code == 200
        assert admin_client.get(f"/models/{sql.replace('/', '')}/").status_code == 404
    assert Event.objects.count() == before


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_D40_D41_a_look_up_that_no_filter_offers_is_refused_and_costs_nothing(world, admin_client, lookup):
    admin_client.raise_request_exception = False
    for table in TABLES:
        with CaptureQueriesContext(connection) as queries:
            page = admin_client.get(f"/admin/trivet/{table}/?{lookup}")
        assert page.status_code in (200, 302, 400), (table, lookup)
        assert len(queries) < 20, (table, lookup)


@pytest.mark.parametrize("number", ["9" * 40, "-1", "0", "1e9", "1" * 5000, "\u0663", "1\x00", "NaN", "1_0", " 1"])
def test_D41_a_huge_or_odd_number_is_no_version_and_no_row(world, admin_client, number):
    admin_client.raise_request_exception = False
    for address in ("/models/churn/", "/models/churn/try/", "/models/churn/openapi/", "/models/churn/openapi.json"):
        assert admin_client.get(address, {"version": number}).status_code == 404
        assert admin_client.get(address, {"row": number}).status_code == 200
    assert admin_client.post("/models/churn/promote/2/", {"generation": number}).status_code == 200  # asks again
    assert ModelVersion.objects.get(routes__weight=100).number == 1
