"""What a FeatureSet leaves behind: rows to train on with their manifest, and a hash that says when they are of another class."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from django.db.models import Case, Exists, F, OuterRef, Q, Subquery, When
from sklearn.linear_model import LogisticRegression

from tests.django.command_line import trivet, verb
from tests.django.declared import declaring, feature_set
from tests.django.people import person
from tests.shop.models import Customer, Order, Plan, Ticket
from trivet import FeatureSet, checks, f
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import InvalidRequest, quoted
from trivet.features import findings
from trivet.features.exporting import manifest_of, read_manifest
from trivet.features.feature_set import feature_sets
from trivet.features.fingerprint import columns_of, differences

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Exported(FeatureSet):
    """As a project would write it."""

    country = f.Column("country")
    tenure = f.HoursSince("joined_at")
    orders = f.Count("orders", where=Q(placed_at__gte=f.as_of - 90 * DAY))
    spent = f.Sum("orders__total")
    free_mail = f.Method(needs=["email"])

    class Meta:
        model = Customer

    def get_free_mail(self, row: Customer) -> bool:
        return row.email.endswith("@gmail.com")


PLACE = f"{__name__}.Exported"


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def shop() -> None:
    for place, (renewed, seats) in enumerate([(NOW, 3), (NOW - 40 * DAY, 4), (None, 5)]):
        customer = Customer.objects.create(
            left_at=renewed,
            seats=seats,
            country="=1" if place else '",',
            joined_at=NOW - timedelta(seconds=1_234_567),
            discount=place or None,
        )
        for days in (30, 1, -1):
            Order.objects.create(customer=customer, total="10.10", placed_at=NOW - days * DAY)


# --- the file ---------------------------------------------------------------------------------------------------------------


def test_rows_are_exported_as_of_their_own_moment_and_read_back_as_the_very_same(capsys, tmp_path: Path):
    shop()
    file = tmp_path / "rows.csv"
    code, told = verb(capsys, "export", "features", PLACE, "--as-of", "left_at", "--label", "seats", "--out", file)
    assert (code, told["rows"], told["label"], told["as_of"], told["hash"]) == (0, 2, "seats", "left_at", Exported.hash)
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["orders"] for row in rows] == ["2", "0"]  # the order of the day after is in none
    assert [row["seats"] for row in rows] == ["3", "4"]
    assert [row["country"] for row in rows] == ['",', "=1"]
    assert [row["spent"] for row in rows] == ["20.2", ""]
    assert [row["free_mail"] for row in rows] == ["False", "False"]
    for row, customer in zip(rows, Customer.objects.filter(left_at__isnull=False).order_by("pk"), strict=True):
        served = Exported.for_instance(customer, customer.left_at)
        assert float(row["tenure"]) == served["tenure"]
    assert (file.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (0o600, [file, manifest_of(file)])


def test_the_manifest_says_by_what_the_rows_were_made(capsys, tmp_path: Path):
    shop()
    file = tmp_path / "rows.csv"
    assert trivet("export", "features", PLACE, "--as-of", "2026-03-31", "--label", "discount", "--out", file) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"2 rows of Exported {Exported.hash[:12]} in ")
    assert err == "W016: columns have no past, and are as they stand now: country.\n"
    manifest = read_manifest(file)
    assert manifest is not None
    assert (manifest.features, manifest.hash, manifest.label, manifest.rows) == (PLACE, Exported.hash, "discount", 2)
    assert datetime.fromisoformat(manifest.as_of) == datetime(2026, 3, 31, tzinfo=UTC)
    assert list(manifest.columns) == list(Exported.declared)
    changed = json.loads(manifest_of(file).read_text()) | {"columns": {}}
    for broken in (json.dumps(changed), "{}", "x"):
        manifest_of(file).write_text(broken)
        with pytest.raises(InvalidRequest, match=r"rows\.csv\.manifest\.json"):
            read_manifest(file)
    manifest_of(file).unlink()
    assert read_manifest(file) is None


def test_what_has_no_past_is_told(capsys, tmp_path: Path):
    feature_set(Customer, name="Timeless", tickets=f.Count("tickets"))
    assert trivet("export", "features", "shop.ml.Timeless", "--out", tmp_path / "x.csv") == 0
    assert "W016: shop.ml.Timeless.tickets: nothing says when a row of 'tickets' came to be" in capsys.readouterr().err


def test_an_export_that_cannot_be_leaves_no_file(capsys, tmp_path: Path):
    shop()
    person(name="eva")
    file = tmp_path / "rows.csv"
    for words, code, problem in (
        ([PLACE.replace("Exported", "Exprted")], 4, "there is no FeatureSet"),
        (["this.s"], 4, "there is no FeatureSet 'this.s'"),
        ([PLACE, "--as-of", "left"], 2, "Customer has no field 'left'"),
        ([PLACE, "--as-of", "12-2026"], 2, "--as-of '12-2026'"),
        ([PLACE, "--label", "sets"], 2, "Did you mean 'seats'"),
        ([PLACE, "--label", "country"], 2, "'country' is a feature"),
        ([PLACE, "--as", "eva"], 3, "takes 'shop.view_customer'"),
    ):
        assert trivet("export", "features", *words, "--out", file) == code, words
        assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert "this" not in sys.modules  # a name in a manifest imports nothing
    assert trivet("export", "features", PLACE, "--out", tmp_path / "no" / "rows.csv") == 2


# --- the hash ---------------------------------------------------------------------------------------------------------------


def hash_with(feature: Any) -> str:
    return columns_of(feature_set(Customer, x=feature))["x"]


def within(customers: Any) -> Any:
    """Return a feature with a query within a query."""
    hours = Ticket.objects.filter(customer=OuterRef("pk"), customer__in=customers).values("hours")
    return f.Expression(Subquery(hours[:1]))


def count(**said: Any) -> Any:
    return f.Count("orders", **{"where": Q(placed_at__gte=f.as_of - 90 * DAY), **said})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f.Column("seats"), f.Column("discount")),
        (f.Column("seats"), f.Column("seats", missing=0)),
        (f.Column("seats"), f.Column("seats", high=3)),
        (f.Column("seats", high=3), f.Column("seats", high=3, outside="clip")),
        (f.Category("country"), f.Column("country")),
        (f.Category("country", choices=["a"]), f.Category("country", choices=["a", "b"])),
        (f.DaysSince("joined_at"), f.HoursSince("joined_at")),
        (f.Part("joined_at", "hour"), f.Part("joined_at", "hour", time_zone="Europe/Berlin")),
        (f.Sum("orders__total"), f.Avg("orders__total")),
        (f.Sum("orders__total"), f.Sum("orders__total", default=0)),
        (f.Sum("orders__total"), f.Sum("orders__total", at="placed_at")),
        (f.Sum("orders__total", at=None), f.Sum("orders__total")),
        (count(), count(where=Q(placed_at__gte=f.as_of - 91 * DAY))),
        (count(), count(where=Q(placed_at__gt=f.as_of - 90 * DAY))),
        (count(), count(where=~Q(placed_at__gte=f.as_of - 90 * DAY))),
        (count(where=Q(items=1)), count(where=~Q(items=1))),
        (count(where=Q(items=1) | Q(items=2)), count(where=Q(items=1) & Q(items=2))),
        (f.Expression(F("seats") * 2), f.Expression(F("seats") * 3)),
        (f.Expression(F("seats") * 2), f.Expression(F("seats") + 2)),
        (
            f.Expression(Case(When(seats__gt=1, then=1), default=0)),
            f.Expression(Case(When(seats__gt=2, then=1), default=0)),
        ),
        (
            f.Expression(Subquery(Ticket.objects.filter(customer=OuterRef("pk"), hours__gt=1).values("hours")[:1])),
            f.Expression(Subquery(Ticket.objects.filter(customer=OuterRef("pk"), hours__gt=2).values("hours")[:1])),
        ),
        (within(Customer.objects.filter(seats__gt=1)), within(Customer.objects.filter(seats__gt=2))),
        (within(Customer.objects.filter(seats__gt=1)), within(Customer.objects.filter(discount__gt=1))),
        (
            within(Customer.objects.filter(Exists(Plan.objects.filter(slug="a")))),
            within(Customer.objects.filter(Exists(Plan.objects.filter(slug="b")))),
        ),
    ],
)
def test_what_changes_a_value_changes_the_hash(one: Any, other: Any):
    assert hash_with(one) == hash_with(one)
    assert hash_with(one) != hash_with(other)


def test_what_people_read_and_the_order_do_not_change_it():
    plain, told = (
        f.Column("seats"),
        f.Column("seats", title="Seats", unit="seats", reason="x", sensitive=True, mutable=True),
    )
    assert hash_with(plain) == hash_with(told)
    one = feature_set(Customer, "seats", "country")
    assert one.hash == feature_set(Customer, "country", "seats", name="Other").hash
    assert one.hash != feature_set(Customer, "seats").hash


class Commented(Exported):
    def get_free_mail(self, row: Customer) -> bool:
        """Return whether it costs nothing."""
        # a comment
        return row.email.endswith(
            "@gmail.com",
        )


class Changed(Exported):
    tenure = None
    seats = f.Column("seats")

    def get_free_mail(self, row: Customer) -> bool:
        return row.email.endswith("@gmail.de")


def test_of_a_method_the_code_counts_and_not_how_it_is_laid_out():
    assert Commented.hash == Exported.hash
    assert differences(columns_of(Exported), columns_of(Changed)) == [
        "'free_mail' has changed",
        "'seats' is new",
        "'tenure' is gone",
    ]


class Nested(FeatureSet):
    hours = within(Customer.objects.filter(Exists(Plan.objects.filter(slug="a")), seats__gt=1))

    class Meta:
        model = Customer


@pytest.mark.parametrize("feature_set", [Exported, Nested])
def test_the_hash_is_the_same_in_another_process(feature_set: Any):
    name = feature_set.__name__
    code = f"import django; django.setup(); from {__name__} import {name}; print({name}.hash)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == feature_set.hash


# --- a push -----------------------------------------------------------------------------------------------------------------


def trained(folder: Path) -> Path:
    """Export rows of many customers, train on them, and return the file of the model; the rows lie beside it."""
    Customer.objects.bulk_create(
        Customer(seats=place % 7, joined_at=NOW - place * DAY, left_at=NOW, is_invoiced=place % 2 == 0, country="DE")
        for place in range(300)
    )
    assert trivet("export", "features", PUSHED, "--label", "is_invoiced", "--out", folder / "rows.csv") == 0
    rows = pd.read_csv(folder / "rows.csv")
    label = rows.pop("is_invoiced")
    joblib.dump(LogisticRegression().fit(rows, label), folder / "churn.joblib")
    return folder / "churn.joblib"


class Pushed(FeatureSet):
    seats = f.Column("seats")
    tenure = f.DaysSince("joined_at", missing=0)

    class Meta:
        model = Customer


PUSHED = f"{__name__}.Pushed"


@pytest.mark.django_db(transaction=True)
def test_a_push_carries_the_hash_and_one_of_another_class_is_refused_by_feature(capsys, tmp_path: Path):
    file = trained(tmp_path)
    words = ["push", file, "--name", "churn", "--sample", tmp_path / "rows.csv", "--labels", "is_invoiced", "--vouch"]
    code, told = verb(capsys, *map(str, words))
    assert (code, told["features"]) == (0, {"class": PUSHED, "hash": Pushed.hash, "columns": columns_of(Pushed)})
    (version,) = ModelVersion.objects.all()
    assert version.manifest["features"]["hash"] == Pushed.hash
    assert {spec.name for spec in version.read_signature().inputs} == set(Pushed.declared)
    assert checks.check_feature_hashes(databases=["default"]) == []

    said = {"tenure": f.HoursSince("joined_at", missing=0), "country": f.Column("country")}
    type("Pushed", (Pushed,), {"__module__": __name__, **said})  # in its place
    capsys.readouterr()
    assert trivet(*words) == 3
    problem = capsys.readouterr().err
    assert (
        f"rows.csv was exported by another {quoted(PUSHED)} than the code has now: 'tenure' has changed, 'country' is new."
        in problem
    )
    assert ModelVersion.objects.count() == 1
    (warning,) = checks.check_feature_hashes(databases=["default"])
    assert (warning.id, warning.msg) == (
        "trivet.W024",
        f"churn 1 was trained on another {quoted(PUSHED)} than the code has now: 'tenure' has changed, 'country' is new.",
    )
    feature_sets.clear()
    (warning,) = checks.check_feature_hashes(databases=["default"])
    assert warning.msg.startswith(f"churn 1 was trained on {quoted(PUSHED)}: there is no FeatureSet ")
    assert checks.check_feature_hashes() == []
    assert findings.moved({"class": 3, "columns": None}) == findings.moved({"x": 1}) == ""  # whatever a stranger says
