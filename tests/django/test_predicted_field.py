"""PredictedField: three plain columns to migrations and forms, and what `manage.py check` says of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from django.contrib import admin
from django.db import models
from django.db.migrations.operations import CreateModel
from django.db.migrations.state import ModelState
from django.db.migrations.writer import OperationWriter
from django.forms import modelform_factory
from django.test import Client
from django.test.utils import isolate_apps

import trivet
from tests.django.declared import declaring, feature_set, predictor
from tests.django.people import person
from tests.django.worlds import CHURN, FREE, registered
from tests.shop.models import Customer, Subscriber
from trivet import checks, f
from trivet.checks.columns import check_predicted_fields, check_predicted_outputs
from trivet.control.registry import actions
from trivet.control.scoring.models import ScoringError, ScoringRun
from trivet.features.predictor import predictors


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def test_it_stands_in_the_table_as_three_columns_and_in_no_form():
    fields = {field.name: field for field in Subscriber._meta.fields}
    assert list(fields) == ["id", "seats", "plan", "staying", "staying_version", "staying_at", "guess"]
    assert all(fields[name].null and not fields[name].editable for name in ("staying", "staying_version", "staying_at"))
    assert list(modelform_factory(Subscriber, fields="__all__").base_fields) == ["seats", "plan", "guess"]
    assert not {"staying", "staying_version"} & set(admin.ModelAdmin(Subscriber, admin.site).get_fields(None))


def test_migrations_have_three_plain_columns():
    """That `makemigrations` is quiet afterwards is asked where tables are scored in a project (acceptance)."""
    state = ModelState.from_model(Subscriber)
    made = CreateModel("Subscriber", [one for one in state.fields.items() if one[0].startswith("staying")])
    text, imports = OperationWriter(made).serialize()
    assert imports == {"from django.db import models"}
    for column in ("staying", "staying_version", "staying_at"):
        assert f'("{column}", models.' in text.replace("'", '"')


@isolate_apps("tests.shop")
def test_one_that_is_inherited_has_its_columns_once():
    class Scored(models.Model):
        id = models.BigAutoField(primary_key=True)
        risk = trivet.PredictedField("renewal", db_index=True)

        class Meta:
            abstract = True
            app_label = "shop"

    class Lead(Scored):  # noqa: DJ008  (nobody sees one)
        class Meta(Scored.Meta):
            abstract = False

    assert [field.name for field in Lead._meta.fields] == ["id", "risk", "risk_version", "risk_at"]
    assert Lead._meta.get_field("risk").db_index
    assert Lead.check() == []


def test_a_refresh_that_is_not_known_is_an_error():
    with pytest.raises(ValueError, match=r"PredictedField\('churn'\): refresh is 'manuel'. Did you mean 'manual'"):
        trivet.PredictedField("churn", refresh="manuel")


def test_E017_says_what_a_column_lacks():
    assert check_predicted_fields() == []
    predictors[:] = [one for one in predictors if one.__name__ != "Renewal"]
    assert told() == "shop.Subscriber.staying: no ml.py has a Predictor of 'renewal'"
    predictor("Renewals")
    assert "Did you mean 'renewals'?" in check_predicted_fields()[0].msg
    predictor("Renewal")
    assert told() == "shop.Subscriber.staying: shop.ml.Renewal has no features"
    predictor("Renewal", features=feature_set(Customer, "seats"))
    assert (
        check_predicted_fields()[0].msg == "shop.Subscriber.staying: ChurnFeatures is of Customer, not of Subscriber."
    )
    several = predictor("Renewal", features=feature_set(Subscriber, "seats"), output=f.Choice(["low", "high"]))
    assert check_predicted_fields()[0].msg == (
        "shop.Subscriber.staying: shop.ml.Renewal answers one of several classes, and a column takes one number: f.Probability."
    )
    several.output = f.Number("months")
    assert check_predicted_fields() == []
    assert check_predicted_fields in checks.ALL_CHECKS


@pytest.mark.django_db
def test_W017_says_that_the_champion_gives_no_number():
    asked = tuple(
        msgspec.structs.replace(one, name=name) for one, name in zip(CHURN.inputs, ("seats", "plan"), strict=True)
    )
    for number, signature in enumerate((CHURN, FREE), 1):
        registered(f"renewal {number}", model="renewal", signature=msgspec.structs.replace(signature, inputs=asked))
        actions.mark_ready(model="renewal", version=number, actor="process:probe")
    actions.promote(model="renewal", version=1, actor="cli:ana")
    assert check_predicted_outputs(databases=["default"]) == []
    actions.promote(model="renewal", version=2, actor="cli:ana")
    (found,) = check_predicted_outputs(databases=["default"])
    assert (found.id, found.msg) == (
        "trivet.W017",
        "shop.Subscriber.staying is of renewal 2, which gives no number for a row.",
    )
    assert check_predicted_outputs(databases=[]) == []


@pytest.mark.django_db
def test_the_admin_lists_runs_and_shows_values_to_those_alone_who_may_see_inputs(client: Client):
    run = ScoringRun.objects.create(
        model="renewal",
        version=1,
        table="shop.subscriber",
        field="staying",
        batch_size=9,
        total=5,
        done=3,
        actor="user:ana",
    )
    ScoringError.objects.create(run=run, key="17", message="'gold' is no plan")
    client.force_login(person("view_scoringrun", is_staff=True))
    assert "shop.subscriber.staying" in client.get("/admin/trivet/scoringrun/").content.decode()
    assert client.get(f"/admin/trivet/scoringrun/{run.pk}/change/").status_code == 200
    assert client.get("/admin/trivet/scoringerror/").status_code == 403
    client.force_login(person("view_inputs", name="bob", is_staff=True))
    assert "is no plan" in client.get("/admin/trivet/scoringerror/").content.decode()


def told() -> str:
    (found,) = check_predicted_fields()
    assert found.id == "trivet.E017"
    return found.msg.partition(",")[0]
