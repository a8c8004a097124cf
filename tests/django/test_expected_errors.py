"""How wrong a regression probably is: expected of each row as it is shipped, told beside what turned out, and alarmed by."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from django.utils import timezone

from tests.django.command_line import trivet
from tests.django.people import person
from tests.django.watched import keep
from tests.django.worlds import record
from tests.rents import compiled_rents, rents, trained
from trivet.control.monitoring import loss_models
from trivet.control.monitoring.accepting import accept_as_normal
from trivet.control.monitoring.compacting import begin_of, compact
from trivet.control.monitoring.estimates import Band, Estimate
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.gauges import performances
from trivet.control.monitoring.models import Alert, AlertState, Arm, Cause, Grain, Profile, Severity
from trivet.control.monitoring.packing import total_of
from trivet.control.monitoring.performance_report import PerformanceReport, performance_report
from trivet.control.monitoring.references import watched
from trivet.control.monitoring.sentences import sentence_of
from trivet.control.monitoring.watching import watch
from trivet.control.predictions import shipping
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion, RegisteredModel
from trivet.core.errors import BundleError, Unavailable
from trivet.core.profile.layout import Answers
from trivet.core.profile.losses import Sums, loss_inputs, loss_sums
from trivet.core.profile.profile import encode_profile
from trivet.core.profile.reference import ACCEPTED, REFERENCE_NAME, Reference, decode_reference, encode_reference
from trivet.core.records import PredictionRecord
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.loss import LOSS_NAME
from trivet.model.runtimes.loss import LossModel

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def champion(*, is_old: bool = False) -> ModelVersion:
    """Register the model of rents and make it live; an old one was pushed before errors were learned."""
    bundle = compiled_rents().bundle
    if is_old:
        files = {name: data for name, data in bundle.files.items() if name != LOSS_NAME}
        made = decode_reference(files[REFERENCE_NAME])
        whole, *chunks = (encode_profile(replace(one, losses=())) for one in (made.whole, *made.chunks))
        made = msgspec.structs.replace(made, loss=None, whole_bytes=whole, chunks_bytes=tuple(chunks))
        bundle = make_bundle(bundle.manifest, {**files, REFERENCE_NAME: encode_reference(made)})
    version = actions.register_version(name="rent", bundle=bundle, actor="cli:ana")
    version = actions.mark_ready(model="rent", version=version.number, actor="process:probe")
    actions.promote(model="rent", version=version.number, actor="cli:ana")
    return version


def asked(version: ModelVersion, flats: pd.DataFrame, at: datetime = START, **changes: Any) -> PredictionRecord:
    """Return the record of a request for all of `flats`, as the data plane would append it."""
    columns = [flats[name].astype(object).where(flats[name].notna(), None).tolist() for name in flats]
    values = {"inputs": columns, "outputs": [trained().predict(flats).tolist()], "output_names": ["prediction"]}
    made_at = int(at.timestamp() * 1e9)
    return record(version, len(flats), made_at=made_at, **{**values, **changes})


def reference_of(version: ModelVersion) -> Reference:
    found = watched("rent", version.digest)
    assert found is not None
    return found.reference


def counted(version: ModelVersion, arm: str = Arm.CHAMPION) -> Sums:
    """Return the sums of what was expected of all that was counted."""
    rows = Profile.objects.filter(version=version, arm=arm, segment="")
    return total_of(rows.values_list("payload", flat=True), reference_of(version).empty).losses


def columns_of(flats: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: flats[name].to_numpy(object if name == "district" else float) for name in flats}


def directly(version: ModelVersion, flats: pd.DataFrame) -> Sums:
    """Return what is to be expected of `flats`, all at once."""
    model, reference = LossModel.load(compiled_rents().bundle.files[LOSS_NAME]), reference_of(version)
    inputs = loss_inputs(reference.features, columns_of(flats), trained().predict(flats))
    assert inputs is not None
    return loss_sums(*model.expect(inputs), reference.scores[0].unit)


def report_of(days: float = 1) -> PerformanceReport:
    return performance_report("rent", now=START + days * timedelta(days=1))


def test_what_is_expected_of_rows_is_summed_as_they_are_shipped_whatever_the_pieces():
    version = champion()
    flats, _ = rents(300, 3)
    for hour, piece in enumerate(np.array_split(np.arange(300), 7)):
        ship([asked(version, flats.iloc[piece], START + hour * 17 * HOUR)], beside=Folding(f"machine {hour % 2}"))
    sums = directly(version, flats)
    assert sums[0] == 300
    assert counted(version)[0] == 300
    assert counted(version) == pytest.approx(sums, rel=1e-9), "the runtime adds up trees in another order by itself"
    before = counted(version)
    for later in (3, 100):
        list(compact(START + timedelta(days=later)))
        assert counted(version) == before


def test_rows_and_what_is_expected_of_them_are_there_together_and_once(monkeypatch):
    """A keeper that is killed in between leaves neither; what is shipped again is summed once."""
    version = champion()
    sent = asked(version, rents(50, 3)[0])

    def killed(cursor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shipping, "move_cursor", killed)
        with pytest.raises(KeyboardInterrupt):
            ship([sent], cursor=("a", 7, 200), beside=Folding())
    assert (Prediction.objects.count(), counted(version)) == (0, ())
    for _ in range(2):
        ship([sent], cursor=("a", 7, 200), beside=Folding())
        assert counted(version)[0] == Prediction.objects.count() == 50


def test_shadows_are_expected_of_apart():
    version = champion()
    flats, _ = rents(40, 3)
    ship([asked(version, flats), asked(version, flats.head(9), kind="shadow", route="shadow")], beside=Folding())
    assert (counted(version)[0], counted(version, Arm.SHADOW)[0]) == (40, 9)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"inputs": None}, 0),
        ({"inputs": [["hidden"] * 30, ["docks"] * 30, [1.0] * 30]}, 0),
        ({"inputs": [[70.0] * 30, ["elsewhere"] * 30, [None] * 30]}, 30),
        ({"outputs": [[None, float("nan"), float("inf"), *[700.0] * 27]]}, 27),
    ],
    ids=["not kept", "hidden", "missing", "no number"],
)
def test_nothing_is_expected_of_rows_whose_inputs_are_not_known(changes, rows):
    """They are counted all the same."""
    version = champion()
    ship([asked(version, rents(30, 3)[0], **changes)], beside=Folding())
    assert sum(Profile.objects.filter(segment="").values_list("rows", flat=True)) == 30
    assert (counted(version) or (0,))[0] == rows


def test_an_input_that_became_sensitive_ends_the_estimate():
    """What is hidden comes as another value: what would be expected of that is nothing to go by."""
    version = champion()
    RegisteredModel.objects.filter(name="rent").update(sensitive=["district"])
    ship([asked(version, rents(300, 3)[0])], beside=Folding())
    assert counted(version) == ()
    found = report_of().estimated["mae"]
    assert str(found) == "not yet: 0 of 200 rows whose inputs are kept"


@pytest.mark.parametrize("trouble", ["storage", "graph", "answer"])
def test_a_loss_model_that_cannot_be_had_holds_up_nothing(trouble, monkeypatch, caplog):
    version = champion()

    def broken(*_args: Any) -> Any:
        raise Unavailable("the storage is away") if trouble == "storage" else BundleError("it is broken")

    if trouble == "storage":
        monkeypatch.setattr(loss_models, "fetch_bundle", broken)
        reference_of(version)
    else:
        monkeypatch.setattr(LossModel, "load" if trouble == "graph" else "expect", broken)
    folding = Folding()
    for hour in range(2):
        ship([asked(version, rents(30, 3)[0], START + hour * HOUR)], beside=folding)
    assert sum(Profile.objects.filter(segment="").values_list("rows", flat=True)) == 60
    assert counted(version) == ()
    assert ("nothing_expected" if trouble == "answer" else "loss_model_unreadable") in caplog.text


def test_it_is_told_beside_what_turned_out_with_a_band(capsys):
    version = champion()
    now = timezone.now()
    flats, costs = rents(1_000, 3)
    ship([asked(version, flats, now)], beside=Folding())
    report = performance_report("rent", now=now)
    errors = trained().predict(flats) - costs
    for name, real in (("mae", np.abs(errors).mean()), ("rmse", np.sqrt((errors**2).mean()))):
        found, band = report.estimated[name], report.bands[name]
        assert isinstance(found, Estimate)
        assert isinstance(band, Band)
        assert found.rows == 1_000
        assert found.sampling_error is not None
        assert abs(found.value - real) < 3 * found.sampling_error
        assert band.holds(found.value)
    assert report.cohorts[0].estimated == report.estimated
    gauges = {gauge.labels: gauge.value for some in performances(now) for gauge in some}
    assert gauges["rent", "1", "mae", "estimated"] == report.estimated["mae"].value
    assert trivet("report", "rent") == 0
    said = f"{report.estimated['mae'].value:.4g}"
    assert said in capsys.readouterr().out


def test_a_bundle_from_before_goes_on_and_says_why_nothing_is_estimated():
    version = champion(is_old=True)
    ship([asked(version, rents(300, 3)[0])], beside=Folding())
    hours(version, range(1, 30), docks=0.7)
    report = report_of()
    assert report.rows > 300
    assert str(report.estimated["mae"]) == "no estimate: it was pushed before errors were learned (push it again)"
    assert all(not cohort.estimated for cohort in report.cohorts)
    list(watch(START + 31 * HOUR))
    assert harm() is None


def test_days_that_were_accepted_as_normal_are_estimated_by_the_same_model():
    version = champion()
    now = begin_of(timezone.now(), Grain.HOUR)
    flats, _ = rents(1_500, 3, docks=0.6)
    ship([asked(version, flats, now - 5 * HOUR)], beside=Folding())
    alert = Alert.objects.create(
        model=version.model, version=version, cause=Cause.DRIFT, severity=Severity.INFO, opened_at=now
    )
    accept_as_normal(alert=alert.pk, actor=person(name="ana", is_superuser=True))
    reference = reference_of(version)
    assert reference.source == ACCEPTED
    assert reference.whole.losses == counted(version)
    ship([asked(version, flats.head(300), now - HOUR)], beside=Folding())
    assert isinstance(performance_report("rent", now=now).estimated["mae"], Estimate)


def hours(version: ModelVersion, some: range, *, docks: float = 0.1) -> None:
    """Keep what was counted of some hours of 500 rows."""
    reference = reference_of(version)
    for hour in some:
        flats, _ = rents(500, 1000 + hour, docks=docks)
        columns = columns_of(flats)
        answers = Answers([trained().predict(flats)], [""] * 500)
        counts = reference.fold(columns, answers)
        losses = directly(version, flats) if reference.loss is not None else ()
        keep(version, START + hour * HOUR, replace(counts, losses=losses))


def harm() -> Alert | None:
    return Alert.objects.filter(cause=Cause.PERFORMANCE).exclude(state=AlertState.RESOLVED).first()


def test_errors_that_are_expected_above_their_band_are_a_warning_and_below_it_none():
    version = champion()
    hours(version, range(24), docks=0.0)
    list(watch(START + 24 * HOUR + timedelta(minutes=5)))
    assert harm() is None, "errors are smaller than usual"

    hours(version, range(24, 48), docks=0.6)
    list(watch(START + 48 * HOUR + timedelta(minutes=5)))
    alert = harm()
    assert alert is not None
    assert (alert.severity, set(alert.evidence)) == (Severity.WARNING, {"above_band"})
    facts = alert.evidence["above_band"]
    assert (facts["metric"], facts["hours"]) == ("mae", 24)
    assert facts["low"] < facts["high"] < facts["value"]
    assert "Without labels, its MAE is estimated at " in sentence_of(alert)
    assert "and was high for 24 hours: on its reference it was " in sentence_of(alert)

    hours(version, range(48, 73))
    list(watch(START + 73 * HOUR + timedelta(minutes=5)))
    assert harm() is None, "it is over"
