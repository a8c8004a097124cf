"""A push with a FeatureSet and no sample: rows of its table prove the model, and the version says so."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from sklearn.linear_model import LogisticRegression

import trivet as api
from tests.django.command_line import trivet, verb
from tests.django.declared import declaring, feature_set, predictor
from tests.django.people import person
from tests.shop.models import Customer
from trivet import FeatureSet, f
from trivet.control.registry.models import ModelVersion, RegisteredModel
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import InvalidRequest
from trivet.features.sampling import SAMPLE_ROWS, drawn
from trivet.model.bundle.sample import decode_sample

pytestmark = pytest.mark.django_db


class Asked(FeatureSet):
    """As a project would write it."""

    seats = f.Column("seats")
    tenure = f.DaysSince("joined_at", missing="reject")
    spare = f.Column("discount")

    class Meta:
        model = Customer


PLACE = f"{__name__}.Asked"


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def shop(count: int) -> None:
    now = timezone.now()
    Customer.objects.bulk_create(
        Customer(seats=place, joined_at=now - timedelta(days=place % 400) if place % 5 else None)
        for place in range(count)
    )


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    rows = pd.DataFrame({"seats": [1, 2, 30, 40] * 20, "tenure": [1.0, 300, 20, 5] * 20})
    return LogisticRegression(max_iter=1000).fit(rows, [place % 4 < 2 for place in range(80)])


@pytest.fixture
def file(model, tmp_path: Path) -> Path:
    joblib.dump(model, tmp_path / "churn.joblib")
    return tmp_path / "churn.joblib"


def rows_in(features: Any, **said: Any) -> list[dict[str, str]]:
    with drawn(features, **said) as sample, sample.file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_rows_are_spread_over_the_table_by_as_many_queries_for_any_of_them():
    shop(100)
    features = feature_set(
        Customer, "seats", x=f.Method(needs=["tickets"]), get_x=lambda self, row: len(row.tickets.all())
    )
    counts = []
    for more in (0, 1900):
        shop(more)
        with CaptureQueriesContext(connection) as queries:
            rows = rows_in(features, count=50)
        counts.append((len(queries), len(rows)))
    assert counts == [(4, 50), (4, 50)]
    keys = [int(row["x"]) for row in rows_in(feature_set(Customer, x=f.Column("pk")), count=50)]
    all_keys = list(Customer.objects.order_by("pk").values_list("pk", flat=True))
    assert [all_keys.index(key) // 40 for key in keys] == list(range(50))
    assert len({all_keys.index(key) % 40 for key in keys}) > 10  # at no even distances
    assert len(rows_in(feature_set(Customer, "seats"), count=5000)) == 2000


def test_rows_that_nobody_could_ask_about_are_left_out_and_where_all_are_that_is_told():
    shop(100)
    assert len(rows_in(Asked)) == 80
    assert rows_in(Asked)[0]["seats"] == rows_in(Asked)[0]["seats"] == "1"
    Customer.objects.update(joined_at=None)
    with pytest.raises(InvalidRequest, match=r"^Asked, Customer \d+: 'tenure' is missing\."), drawn(Asked):
        pass


def test_a_push_proves_the_model_on_rows_of_the_table_and_the_version_says_so(capsys, file: Path):
    shop(1000)
    words = ["push", file, "--name", "churn", "--features", PLACE, "--vouch"]
    assert trivet(*words) == 0
    said = capsys.readouterr().out
    (version,) = ModelVersion.objects.all()
    sample = version.manifest["features"]["sample"]
    assert f"sample: {sample['rows']} rows of shop.Customer, spread over the table, as they stand now" in said
    assert (sample["table"], 140 <= sample["rows"] <= 180) == ("shop.Customer", True)
    assert version.manifest["features"]["hash"] == Asked.hash
    assert version.manifest["parity"]["synthetic"] is False
    bundle = fetch_bundle(version.digest)
    rows, _ = decode_sample(bundle.signature, bundle.files["sample.jsonl"])
    assert len(rows["seats"]) == sample["rows"] < SAMPLE_ROWS
    assert [spec.high for spec in bundle.signature.inputs if spec.name == "seats"] == [pytest.approx(999, abs=10)]


def test_where_a_table_has_no_such_rows_they_are_made_up_and_that_is_told(capsys, file: Path):
    words = ["push", file, "--name", "churn", "--vouch", "--features"]
    assert trivet(*words, PLACE) == 0
    said = capsys.readouterr().out
    assert "sample: shop.Customer has no rows yet, so they are made up: give a --sample" in said
    assert "synthetic rows" in said
    shop(100)
    feature_set(Customer, "seats", name="Paying", tenure=f.Given(float))
    assert trivet(*words, "shop.ml.Paying") == 0
    assert "sample: no table has 'tenure', so the rows are made up: give a --sample" in capsys.readouterr().out
    assert "sample" not in ModelVersion.objects.latest("number").manifest["features"]


def test_what_a_class_calls_sensitive_is_hidden_from_the_first_answer_on(capsys, file: Path):
    shop(1000)
    feature_set(Customer, "seats", name="Shy", tenure=f.DaysSince("joined_at", missing=0, sensitive=True))
    assert trivet("push", file, "--name", "churn", "--features", "shop.ml.Shy", "--vouch") == 0
    assert RegisteredModel.objects.get().sensitive == ["tenure"]
    bundle = fetch_bundle(ModelVersion.objects.get().digest)
    rows, _ = decode_sample(bundle.signature, bundle.files["sample.jsonl"])
    pairs = {
        (int(seats), int(tenure)) for seats, tenure in zip(rows["seats"].ravel(), rows["tenure"].ravel(), strict=True)
    }
    assert len([1 for seats, tenure in pairs if tenure == (seats % 400 if seats % 5 else 0)]) < len(pairs) / 4


def test_who_pushes_as_somebody_takes_rows_away_only_with_that_permission(capsys, file: Path):
    shop(100)
    person("push", name="eva")
    assert trivet("push", file, "--name", "churn", "--features", PLACE, "--vouch", "--as", "eva") == 3
    assert "to take rows of Customer away takes 'shop.view_customer'" in capsys.readouterr().err


def test_A14_a_version_with_one_column_more_is_registered_and_not_promoted(capsys, file: Path, tmp_path: Path):
    shop(200)
    predictor("Churn", features=Asked)
    assert trivet("push", file, "--name", "churn", "--features", PLACE, "--vouch") == 0
    rows = pd.DataFrame(
        {"seats": [1, 2, 30, 40] * 20, "tenure": [1.0, 300, 20, 5] * 20, "tickets_30d": [0, 1, 5, 2] * 20}
    )
    joblib.dump(
        LogisticRegression(max_iter=1000).fit(rows, [place % 4 < 2 for place in range(80)]), tmp_path / "2.joblib"
    )
    rows.to_csv(tmp_path / "rows.csv", index=False)
    capsys.readouterr()
    words = ["push", tmp_path / "2.joblib", "--name", "churn", "--vouch", "--sample", tmp_path / "rows.csv"]
    code, told = verb(capsys, *map(str, words))
    assert (code, told["alias"], told["lacks"]) == (
        0,
        "challenger",
        "churn 2 expects 'tickets_30d'; Asked has no such feature.",
    )
    assert trivet("promote", "churn@2") == 3
    assert "churn 2 expects 'tickets_30d'; Asked has no such feature." in capsys.readouterr().err
    assert trivet(*words[:-2], "--name", "other", "--sample", tmp_path / "rows.csv") == 0
    predictor("Other", features=Asked, Meta=type("Meta", (), {"name": "third"}))
    assert trivet("push", tmp_path / "2.joblib", "--name", "third", "--vouch", "--sample", tmp_path / "rows.csv") == 0
    assert "E020: third 1 expects 'tickets_30d'; Asked has no such feature." in capsys.readouterr().out
    assert not ModelVersion.objects.get(model__name="third").routes.exists()


def test_a_notebook_pushes_with_a_class_and_no_sample(model):
    shop(300)
    pushed = api.push(model, "churn", features=Asked)
    assert pushed.version.manifest["features"]["sample"]["table"] == "shop.Customer"
    frame = pd.DataFrame(Asked.frame(Customer.objects.exclude(joined_at=None)))[["seats", "tenure"]]
    again = api.push(model, "churn", features=PLACE, sample=frame)
    assert again.version.manifest["features"]["class"] == PLACE
    assert "sample" not in again.version.manifest["features"]
    feature_set(Customer, "seats", name="Shy", tenure=f.DaysSince("joined_at", sensitive=True))
    with pytest.raises(InvalidRequest, match="'tenure' is sensitive, and the rows of the sample would be kept"):
        api.push(model, "churn", features="shop.ml.Shy", sample=frame)


def test_bounds_and_policies_of_the_class_are_frozen_into_the_signature(capsys, file: Path):
    shop(300)
    bounded = f.Column("seats", low=0, high=5000, outside="reject", unit="seats", title="Seats paid for")
    feature_set(Customer, name="Bounded", seats=bounded, tenure=f.DaysSince("joined_at", missing=0))
    assert trivet("push", file, "--name", "churn", "--features", "shop.ml.Bounded", "--vouch") == 0
    version = ModelVersion.objects.get()
    seats, tenure = version.read_signature().inputs
    assert (seats.low, seats.high, seats.outside, seats.unit, seats.title) == (
        0,
        5000,
        "reject",
        "seats",
        "Seats paid for",
    )
    assert (tenure.outside, tenure.unit) == ("flag", "days")
    assert fetch_bundle(version.digest).signature == version.read_signature()
