"""The registry in Django's admin: to look at."""

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.django.worlds import MADE_AT, ready, record
from trivet.admin import tables
from trivet.console.words import ROUTES
from trivet.control.predictions.labelling import apply_labels
from trivet.control.predictions.models import Label, Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, Event, ModelVersion
from trivet.core.ids import new_prediction_id
from trivet.core.records import SHADOW, LabelRecord, SaidLabel
from trivet.dataplane.frontends.doors import DOORS, FEEDBACK
from trivet.dataplane.frontends.grpc.call import DOOR as GRPC
from trivet.serving.predict import DOOR as PYTHON

pytestmark = pytest.mark.django_db
TABLES = ["registeredmodel", "modelversion", "alias", "route", "event", "apikey", "prediction", "label"]


@pytest.fixture
def world():
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.issue_key(name="deploy", grants={"churn": ["predict"]}, actor="user:ana")
    answer = record(version)
    ship([answer])
    apply_labels([LabelRecord(new_prediction_id(), MADE_AT, "churn", answer.caller, [SaidLabel("churned", answer.id)])])


@pytest.fixture
def staff(django_user_model, client):
    def sign_in(*permissions):
        user = django_user_model.objects.create_user("ben", password="x", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return sign_in


@pytest.mark.parametrize("table", TABLES)
def test_every_table_can_be_looked_at_and_none_edited(admin_client, world, table):
    rows = admin_client.get(f"/admin/trivet/{table}/")
    assert rows.status_code == 200
    assert "1 " in rows.content.decode()
    assert admin_client.get(f"/admin/trivet/{table}/add/").status_code == 403
    page = admin_client.get(f"/admin/trivet/{table}/?q=churn")
    assert page.status_code == 200


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_a_page_without_a_save_button(admin_client, world, table):
    from django.apps import apps

    row = apps.get_model("trivet", table).objects.first()
    page = admin_client.get(f"/admin/trivet/{table}/{row.pk}/change/")
    assert page.status_code == 200
    assert "_save" not in page.content.decode()
    assert admin_client.post(f"/admin/trivet/{table}/{row.pk}/delete/", {"post": "yes"}).status_code == 403


def revoke(client):
    data = {"action": "revoke", "_selected_action": [ApiKey.objects.get().pk]}
    return client.post("/admin/trivet/apikey/", data)


def test_a_key_is_revoked_by_who_may(staff, world):
    revoke(staff("view_apikey", "manage_keys"))
    assert ApiKey.objects.get().revoked_at is not None
    assert Event.objects.first().actor == "user:ben"


def test_a_key_is_not_revoked_by_who_may_only_look(staff, world):
    revoke(staff("view_apikey"))
    assert ApiKey.objects.get().revoked_at is None


def test_inputs_are_shown_to_who_may_see_inputs(staff, world):
    page = f"/admin/trivet/prediction/{Prediction.objects.get().pk}/change/"
    client = staff("view_predictions")
    assert "pro" not in client.get(page).context["adminform"].form.initial.get("inputs", "")
    shown = client.get(page).content.decode()
    assert "Decision:" in shown
    for label in ("Inputs:", "Inputs sha256:", "Parameters:", "Salt:"):
        assert label not in shown
    assert Prediction.objects.get().salt not in shown, "with it, inputs could be guessed"


@pytest.mark.parametrize(
    "lookup",
    [
        "inputs__0__0__gt=40",
        "inputs__contains=1",
        "inputs=1",
        "parameters__route_key=a",
        "salt__startswith=a",
        "inputs_sha256__gt=a",
    ],
)
def test_inputs_cannot_be_guessed_by_filtering(staff, world, lookup):
    client = staff("view_predictions")
    assert client.get(f"/admin/trivet/prediction/?{lookup}").status_code == 400
    assert client.get("/admin/trivet/prediction/?kind__exact=x").status_code in (200, 302)


def test_the_log_is_filtered_by_every_value_that_its_columns_have():
    assert {*tables.Door.values} == {*DOORS.values(), GRPC, PYTHON} - {FEEDBACK}
    assert {*tables.Reason.values} == {*ROUTES, SHADOW}


@pytest.mark.parametrize("address", ["model=churn", "kind=predict", "door=rest", "route=only", "cached__exact=0"])
def test_a_filter_keeps_the_rows_that_have_its_value(admin_client, world, address):
    other = {"model": "price", "kind": "shadow", "door": "grpc", "route": "split", "cached__exact": "1"}
    name, _, _ = address.partition("=")
    assert "1 prediction" in admin_client.get(f"/admin/trivet/prediction/?{address}").content.decode()
    assert "0 predictions" in admin_client.get(f"/admin/trivet/prediction/?{name}={other[name]}").content.decode()


def test_a_long_log_is_neither_counted_nor_paged_to_its_end(admin_client, world, monkeypatch):
    ship([record(ModelVersion.objects.get()) for _ in range(4)])
    monkeypatch.setattr(tables, "NEWEST", 3)
    with CaptureQueriesContext(connection) as asked:
        page = admin_client.get("/admin/trivet/prediction/").content.decode()
    assert "3 predictions" in page
    assert "the newest 3 at most" in page
    counts = [query["sql"] for query in asked if "COUNT(" in query["sql"] and "trivet_prediction" in query["sql"]]
    assert counts
    assert all("LIMIT 3" in sql for sql in counts)
    assert not [query["sql"] for query in asked if "DISTINCT" in query["sql"] and "trivet_prediction" in query["sql"]]


def test_filters_and_words_look_at_the_newest_rows_and_an_id_or_an_entity_is_found_wherever_it_is(
    admin_client, world, monkeypatch
):
    monkeypatch.setattr(tables, "LOOKED_AT", 2)
    old = Prediction.objects.get()
    ship([record(ModelVersion.objects.get(), entity_key=f"shop.customer:{number}") for number in range(4)])

    def found(table: str, query: str) -> str:
        return admin_client.get(f"/admin/trivet/{table}/?{query}").content.decode()

    assert "2 predictions" in found("prediction", "")
    assert "2 predictions" in found("prediction", "model=churn")
    for named in (old.prediction_id, old.public_id, "shop.customer:0"):
        assert "1 prediction" in found("prediction", f"q={named}")
    assert "2 predictions" in found("prediction", "q=shop.customer")
    label = Label.objects.get()
    Label.objects.bulk_create(
        Label(model="churn", value=1, observed_at=label.observed_at, state="waiting") for _ in range(3)
    )
    assert "2 labels" in found("label", "model=churn")
    for named in (label.prediction_id, label.receipt):
        assert "1 label" in found("label", f"q={named}")


def test_the_log_is_closed_to_who_may_not_see_it(staff, world):
    client = staff("view_apikey")
    assert client.get("/admin/trivet/prediction/").status_code == 403


def test_the_hash_of_a_key_is_not_shown(admin_client, world):
    key = ApiKey.objects.get()
    actions.rotate_key(key=key.pk, actor="user:ana")
    page = admin_client.get(f"/admin/trivet/apikey/{key.pk}/change/").content.decode()
    assert "Previous until:" in page
    assert "hash" not in page.lower()


@pytest.mark.parametrize("field", ["hash", "previous_hash"])
def test_the_hash_of_a_key_cannot_be_found_by_filtering(admin_client, world, field):
    assert admin_client.get(f"/admin/trivet/apikey/?{field}__gt=a").status_code == 400
