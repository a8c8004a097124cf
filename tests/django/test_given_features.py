"""Features that whoever asks supplies, and places of features that a person has still to write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.django.command_line import trivet
from tests.django.declared import declaring, feature_set
from tests.shop.models import Customer
from trivet import FeatureSet, checks, f
from trivet.core.errors import InvalidRequest, InvalidRows

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def paying() -> type[FeatureSet]:
    return feature_set(
        Customer,
        "seats",
        basket=f.Given(float, low=0, outside="reject", unit="EUR"),
        items=f.Given(int, missing=1),
        coupon=f.Given(str, missing="pass"),
        is_gift=f.Given(bool),
    )


GIVEN = {"basket": 12.5, "items": 3, "coupon": "SPRING", "is_gift": False}


def test_what_is_supplied_is_taken_as_data_is_and_stands_beside_what_the_database_has():
    customer = Customer.objects.create(seats=4)
    features = paying()
    assert checks.check_feature_paths() == []
    assert features.for_instance(customer, given=GIVEN) == {"seats": 4, **GIVEN}
    found = features.for_instance(customer, given={"basket": "7", "is_gift": "on"})
    assert found == {"seats": 4, "basket": 7.0, "items": 1, "coupon": None, "is_gift": True}
    assert features.from_data(found) == found
    for_each = features.for_queryset(
        [customer, Customer.objects.create()], given=lambda key: GIVEN | {"items": int(key == customer.pk)}
    )
    assert [row["items"] for row in for_each] == [1, 0]
    assert features.frame(given=GIVEN)["basket"].tolist() == [12.5, 12.5]
    alone = feature_set(Customer, basket=f.Given(float))
    assert list(alone.rows(given={"basket": 1})) == [{"basket": 1.0}] * 2


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "'basket' is supplied by whoever asks: ChurnFeatures.for_instance(row, given={'basket': ...})"),
        (
            {"basket": 1},
            "'is_gift' is supplied by whoever asks: ChurnFeatures.for_instance(row, given={'is_gift': ...})",
        ),
        ({**GIVEN, "basket": None}, "'basket' is missing."),
        ({**GIVEN, "basket": "much"}, "'basket' is 'much', not a number."),
        ({**GIVEN, "items": 2.5}, "'items' is '2.5', not a whole number."),
        ({**GIVEN, "basket": -1}, "'basket' is '-1.0', outside at least 0."),
        ({**GIVEN, "baskt": 1}, "given: unknown input 'baskt'. Did you mean 'basket'? Expected: basket, items, coupon"),
        ({**GIVEN, "seats": 9}, "given: 'seats' is no f.Given: its value is the database's."),
        (12.5, "given is '12.5': a mapping of names to values, or a function that returns one of a row's key."),
        (lambda key: None, "given is 'None': a mapping of names to values"),
    ],
)
def test_what_is_supplied_and_does_not_fit_is_refused_by_name(given: Any, problem: str):
    customer = Customer.objects.create()
    with pytest.raises(InvalidRequest) as raised:
        paying().for_instance(customer, given=given)
    where, _, said = raised.value.message.partition(": ")
    assert where in ("ChurnFeatures", f"ChurnFeatures, Customer {customer.pk}")
    assert said.startswith(problem)


def test_nothing_is_supplied_to_a_class_that_takes_nothing():
    with pytest.raises(InvalidRequest, match=r"^ChurnFeatures: given: 'seats' is no f\.Given"):
        feature_set(Customer, "seats").frame(given={"seats": 1})
    with pytest.raises(InvalidRequest, match=r"^ChurnFeatures: given: 'basket', and ChurnFeatures has no f\.Given\."):
        feature_set(Customer, "seats").frame(given={"basket": 1})


def test_the_form_the_schema_and_data_from_somebody_else_have_it_too():
    features = paying()
    assert features.json_schema()["required"] == ["seats", "basket", "is_gift"]
    jsonschema.validate({"seats": 1, "basket": 3, "is_gift": True}, features.json_schema())
    form = features.form_class()({"seats": "1", "basket": "12.5", "is_gift": "on"})
    assert form.is_valid(), form.errors
    assert form.cleaned_data == {"seats": 1, "basket": 12.5, "items": 1, "coupon": None, "is_gift": True}
    with pytest.raises(InvalidRows, match="'basket' is missing"):
        features.from_data({"seats": 1, "is_gift": True})


def test_E012_a_type_that_no_feature_has():
    for wrong in ("FP64", None, list):
        feature_set(Customer, x=f.Given(wrong))
        (found,) = checks.check_feature_paths()
        assert found.msg == f"shop.ml.ChurnFeatures.x: datatype is '{wrong}': bool, int, float or str."


def test_what_no_table_has_is_not_exported(capsys, tmp_path: Path):
    feature_set(Customer, "seats", name="Paying", basket=f.Given(float, missing="pass"))
    assert trivet("export", "features", "shop.ml.Paying", "--out", tmp_path / "x.csv") == 2
    said = capsys.readouterr().err
    assert (
        "Paying: 'basket' is supplied by whoever asks, and no table has it. Write the rows yourself: Paying.rows(g"
        in said
    )
    assert list(tmp_path.iterdir()) == []


def test_E011_a_feature_that_is_to_be_written_is_listed_by_name_and_nothing_is_read(capsys, tmp_path: Path):
    features = feature_set(
        Customer, "seats", orders=f.TODO("float; training mean 6.1"), tenure=f.TODO(), wrong=f.Column("sets")
    )
    found = [problem.msg for problem in checks.check_unfilled_features()]
    assert found == [
        "shop.ml.ChurnFeatures.orders: is an f.TODO (float; training mean 6.1): put a feature of Customer in its place, or"
        " f.Given(...) for what no table has.",
        "shop.ml.ChurnFeatures.tenure: is an f.TODO: put a feature of Customer in its place, or f.Given(...) for what no table"
        " has.",
    ]
    assert [problem.msg for problem in checks.check_feature_paths()] == [
        "shop.ml.ChurnFeatures.wrong: Customer has no field 'sets'. Did you mean 'seats'?"
    ]
    customer = Customer.objects.create()
    for asked in (
        lambda: features.for_instance(customer),
        features.frame,
        lambda: features.from_data({}),
        features.json_schema,
        lambda: features.hash,
    ):
        with pytest.raises(ImproperlyConfigured, match=r"^shop\.ml\.ChurnFeatures\.orders: is an f\.TODO"):
            asked()
    assert trivet("export", "features", "shop.ml.ChurnFeatures", "--out", tmp_path / "x.csv") != 0
    assert "ChurnFeatures.orders: is an f.TODO" in capsys.readouterr().err
    feature_set(Customer, "seats")
    assert checks.check_unfilled_features() == []
