"""The registry in Django's admin: to look at."""

import pytest
from django.contrib.auth.models import Permission

from tests.django.worlds import ready, record
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, Event

pytestmark = pytest.mark.django_db
TABLES = ["registeredmodel", "modelversion", "alias", "route", "event", "apikey", "prediction"]


@pytest.fixture
def world():
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.issue_key(name="deploy", grants={"churn": ["predict"]}, actor="user:ana")
    ship([record(version)])


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
