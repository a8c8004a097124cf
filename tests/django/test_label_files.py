"""Labels in a file that is applied as a whole: what its lines say, what each came to, and that nothing is half done."""

from __future__ import annotations

import io
from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from tests.django.people import person
from tests.django.watched import watched_version
from tests.django.worlds import ready, record
from trivet.control.monitoring.models import LabelProfile
from trivet.control.predictions.labelling import apply_waiting
from trivet.control.predictions.models import Label, LabelState
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import Event
from trivet.core.errors import InvalidRequest, NotFound, PermissionDenied, TooLarge
from trivet.core.records import PredictionRecord
from trivet.serving import label_files
from trivet.serving.label_files import LabelledFile, label_file, lines_of

pytestmark = pytest.mark.django_db
UNKNOWN = "019a0000-0000-7000-8000-000000000000"


def answered(version=None, **changes: object) -> PredictionRecord:
    made = int((timezone.now() - timedelta(hours=2)).timestamp() * 1e9)
    one = record(version or ready()[0], **{"made_at": made, **changes})
    ship([one])
    return one


def applied(*lines: str, **told: object) -> LabelledFile:
    file = io.BytesIO("\n".join(lines).encode())
    return label_file(file, **{"model": "churn", "actor": "user:ana", **told})


def test_48_each_line_is_told_what_it_came_to():
    one = answered(entity_key="shop.customer:17")
    header = "prediction_id,entity_key,label,observed_at,source,weight"
    done = applied(
        header,
        f"{one.id}:0,,churned,,,",
        "",
        ",shop.customer:17,churned,,,",
        f"{one.id},,stays,,support,2.5",
        f"{UNKNOWN},,stays,,,",
        ",shop.customer:18,true,,,",
        f"{UNKNOWN},shop.customer:18,true,,,",
        "nobody,,1,,,",
        source="console:ana",
    )
    assert done.counts == {"applied": 1, "waiting": 2, "repeated": 1, "revised": 1, "refused": 2}
    assert [line.number for line in done.refused] == [8, 9]
    assert "'nobody' is no id of a prediction" in done.refused[1].reason
    assert done.refused[1].cells["label"] == "1"
    kept = Label.objects.filter(state=LabelState.APPLIED).order_by("revision")
    assert [(row.value, row.source, row.weight, row.caller, row.receipt) for row in kept] == [
        ("churned", "console:ana", 1.0, "user:ana", done.receipt),
        ("stays", "support", 2.5, "user:ana", done.receipt),
    ]
    assert Label.objects.filter(state=LabelState.WAITING, receipt=done.receipt).count() == 2
    assert not Label.objects.filter(state=LabelState.REFUSED).exists(), "who waits is told, and keeps the line"
    assert applied(header, f"{one.id}:0,,stays,,,").counts["repeated"] == 1


def test_48_a_line_that_came_before_its_prediction_is_applied_when_that_comes():
    (version,) = ready()
    late = record(version, made_at=int(timezone.now().timestamp() * 1e9))
    assert applied("prediction_id,label", f"{late.id},stays").counts["waiting"] == 1
    ship([late])
    apply_waiting([late])
    assert Label.objects.get().state == LabelState.APPLIED
    assert Label.objects.get().prediction_id == UUID(late.id)


def test_48_a_line_about_another_models_prediction_is_refused_with_its_number():
    foreign = answered(ready(model="fraud")[0])
    ready()
    done = applied("prediction_id,label", f"{foreign.id},stays")
    assert [(line.number, line.reason) for line in done.refused] == [(2, "the prediction is another model's.")]


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (b"", InvalidRequest, "the first line names the columns"),
        (b"prediction_id\nx\n", InvalidRequest, "label, and prediction_id or entity_key, are needed"),
        (b"label\nx\n", InvalidRequest, "are needed"),
        (b"entity_key;label\n", InvalidRequest, "column 'entity_key;label' is none of"),
        (b"entity_key,label,label\n", InvalidRequest, "column 'label' is there twice"),
        (b"\xff\xfee\x00n\x00", InvalidRequest, "not in UTF-8"),
        (b"entity_key,label\na,b\n" + b"\xff", InvalidRequest, "not in UTF-8"),
        (b'entity_key,label\na,b\nc,"d\n', InvalidRequest, "line 3 is no CSV"),
        (b"entity_key,label\na,b\n" + b"," * 10_001, InvalidRequest, "line 3 has over 10,000 characters"),
        (b"entity_key,label\n" + b"a,b\n" * 4, TooLarge, "over 3 lines"),
    ],
)
def test_48_what_is_no_file_of_labels_leaves_nothing_of_it(monkeypatch, content: bytes, error: type, told: str):
    ready()
    monkeypatch.setattr(label_files, "MOST_LINES", 3)
    with pytest.raises(error, match=told):
        label_file(io.BytesIO(content), model="churn", actor="user:ana")
    assert not Label.objects.exists()


def test_48_a_file_that_fails_at_its_last_line_takes_back_what_was_counted():
    version = watched_version()
    one = answered(version)
    with pytest.raises(InvalidRequest):
        applied("prediction_id,label", *[f"{one.id},{value}" for value in ("stays", "churned") * 300], 'x,"')
    assert not Label.objects.exists()
    assert not LabelProfile.objects.exists()
    assert applied("prediction_id,label", f"{one.id},stays").counts["applied"] == 1
    assert LabelProfile.objects.get().labels == 1


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "1e999", "much", "1e7"])
def test_48_a_weight_is_a_number_above_none(weight: str):
    (line,) = lines_of(io.BytesIO(f"entity_key,label,weight\na,b,{weight}\n".encode()))
    assert isinstance(line.said, InvalidRequest)
    assert "weight" in line.said.message


def test_48_a_line_of_refused_ones_is_read_again_with_its_number_and_reason():
    (line,) = lines_of(io.BytesIO(b"\xef\xbb\xbfline,reason,entity_key,label\r\n7,too late,a,true\r\n"))
    assert (line.number, line.said.entity_key, line.said.value) == (2, "a", True)
    (long,) = lines_of(io.BytesIO(b"entity_key,label\na,b,c\n"))
    assert "it has 3 cells, and there are 2 columns" in long.said.message


def test_D44_a_file_is_applied_for_who_may_label_that_model():
    one = answered()
    lines = ("prediction_id,label", f"{one.id},stays")
    with pytest.raises(NotFound):
        applied(*lines, actor=person(name="ben"))
    with pytest.raises(PermissionDenied):
        applied(*lines, actor=person("view_registeredmodel", name="eva"))
    assert Event.objects.first().after["action"] == "label"
    with pytest.raises(NotFound):
        applied(*lines, model="churm")
    assert not Label.objects.exists()
    assert applied(*lines, actor=person("label", "view_registeredmodel", name="ana")).counts["applied"] == 1
