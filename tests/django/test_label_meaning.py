"""A label that a version can never be right or wrong about is refused, by whatever door it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.utils import timezone

import trivet
from tests.django.command_line import verb
from tests.django.test_labels import of, results, said
from tests.django.worlds import CHURN, ready, ready_free, ready_of, record, registered
from trivet.control.predictions.labelling import APPLIED, MEANINGLESS, REFUSED, REVISED, WAITING, apply_waiting, say
from trivet.control.predictions.meaning import problem_of
from trivet.control.predictions.models import Label
from trivet.control.predictions.shipping import ship
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import Refused
from trivet.core.profile.labels import class_of
from trivet.core.records import PredictionRecord
from trivet.core.signature import Output, Signature

pytestmark = pytest.mark.django_db
TOLD = "'chrned' is none of the classes: stays, churned."


def answered(version: ModelVersion | None = None, **changes: Any) -> PredictionRecord:
    made = int(timezone.now().timestamp() * 1e9) - 10**9
    one = record(version or ready()[0], **{"made_at": made, "entity_key": "shop.customer:17", **changes})
    ship([one])
    return one


def classifying(*classes: str) -> Signature:
    label, chances = CHURN.outputs
    return msgspec.structs.replace(CHURN, outputs=(label, msgspec.structs.replace(chances, classes=classes)))


def estimating(*shape: int) -> Signature:
    return msgspec.structs.replace(
        CHURN, outputs=(Output(name="prediction", datatype="FP64", shape=(-1, *shape)),), task="regression"
    )


@pytest.mark.parametrize("value", ["churned", "Stays", "STAYS"])
def test_what_means_one_of_two_classes(value: Any):
    assert problem_of(CHURN, value) == ""


YES, NO = [1, 1.0, "1", "True", "true", True], [0, 0.0, "0", "False", "false", False]


@pytest.mark.parametrize("value", [*YES, *NO])
@pytest.mark.parametrize("classes", [("churned", "stayed"), ("stays", "churned"), ("f", "m"), ("n", "s")])
def test_a_bare_yes_or_no_is_neither_of_two_classes_whose_names_do_not_say_which(value: Any, classes: tuple[str, str]):
    told = problem_of(classifying(*classes), value)
    assert told.endswith(f" may be either of two classes: say {' or '.join(classes)}.")


def test_of_classes_that_are_numbers_the_number_is_one_and_a_yes_is_neither():
    good_and_bad = classifying("1", "2")
    assert problem_of(good_and_bad, 1) == problem_of(good_and_bad, "2") == ""
    for value in (True, False, "true", 0):
        assert "may be either of two classes" in problem_of(good_and_bad, value)


@pytest.mark.parametrize(
    ("classes", "yes"),
    [
        *((("0", "1"), "1"), (("1", "0"), "1"), (("-1", "1"), "1"), (("0", "2"), "2")),
        *((("False", "True"), "True"), (("no", "yes"), "yes"), (("yes", "no"), "yes"), (("Yes", "no"), "Yes")),
        *(
            (("No", "late"), "late"),
            (("other", "Yes"), "Yes"),
            (("positive", "unknown"), "positive"),
            (("Y", "n"), "Y"),
        ),
    ],
)
def test_a_bare_yes_or_no_is_the_one_of_two_classes_that_is_called_so(classes: tuple[str, str], yes: str):
    signature, no = classifying(*classes), next(name for name in classes if name != yes)
    assert {problem_of(signature, value) for value in (*YES, *NO)} == {""}
    assert {class_of(value, classes) for value in YES} == {yes}
    assert {class_of(value, classes) for value in NO} == {no}


@pytest.mark.parametrize("value", ["chrned", "", 2, 0.5, -1, "yes", ["churned"], []])
def test_what_means_none_of_them(value: Any):
    assert problem_of(CHURN, value).endswith(" is none of the classes: stays, churned.")


def test_many_classes_are_not_all_named_and_true_is_none_of_three():
    signature = ready_of(*"abcdefgh").read_signature()
    assert problem_of(signature, True) == "'True' is none of the classes: a, b, c, d, e, f, …."
    assert problem_of(signature, "h") == ""


@pytest.mark.parametrize("value", ["ten", "12.5", True, ["a"], [1.5]])
def test_of_a_number_a_number_turns_out(value: Any):
    for signature in (estimating(), estimating(1)):
        assert problem_of(signature, value).endswith(" is no number.")
        assert problem_of(signature, 10**300) == problem_of(signature, -2.5) == ""
    assert problem_of(estimating(2), [1.5, 2]) == ""


def test_over_http_it_is_refused_with_the_reason_and_a_good_label_stands():
    one = answered()
    assert results(said(of(one, "churned"), of(one, "chrned"), of(one, "stays"))) == {
        APPLIED: 1,
        REFUSED: 1,
        REVISED: 1,
    }
    refused = Label.objects.get(state=REFUSED)
    assert (refused.value, refused.reason) == ("chrned", MEANINGLESS)
    assert list(Label.objects.filter(state=APPLIED).values_list("value", flat=True)) == ["churned", "stays"]


def test_one_that_waits_is_judged_once_its_prediction_is_there():
    late = record(ready()[0], made_at=int(timezone.now().timestamp() * 1e9))
    assert results(said(of(late, "chrned"))) == {WAITING: 1}
    ship([late])
    assert apply_waiting([late]) == {("churn", REFUSED): 1}
    assert Label.objects.get().reason == MEANINGLESS


def test_in_python_it_is_raised():
    one = answered()
    with pytest.raises(Refused, match=TOLD):
        trivet.label(one.id, "chrned")
    with pytest.raises(Refused, match="'true' may be either of two classes: say stays or churned"):
        trivet.label(one.id, True)
    with pytest.raises(Refused, match="is no number"):
        trivet.label(answered(registered(model="delay", signature=estimating()), outputs=[[2.5]]).id, "late")
    assert not Label.objects.exists()


def test_a_line_of_a_file_is_named(capsys, tmp_path: Path):
    one, path = answered(), tmp_path / "labels.csv"
    path.write_text(f"prediction_id,label\n{one.id},chrned\n{one.id},churned\n", encoding="utf-8")
    code, told = verb(capsys, "label", "--file", str(path))
    assert (code, told["applied"]) == (1, 1)
    (line,) = told["refused"]
    assert line["line"] == 2
    assert line["error"].endswith(TOLD)


def test_of_a_constant_and_of_what_has_no_classes_anything_may_turn_out():
    (version,) = ready()
    made = int(timezone.now().timestamp() * 1e9) - 10**9
    constant = msgspec.structs.replace(record(version, made_at=made), version=0, digest="")
    ship([constant])
    (told,) = say([of(constant, ["whatever", 1])], actor="cli:ana", model="churn")
    assert told.revision == 1
    (told,) = say([of(answered(ready_free("other")), "whatever")], actor="cli:ana", model="other")
    assert told.revision == 1


def test_a_signature_that_cannot_be_read_stops_no_label(monkeypatch):
    one = answered()
    monkeypatch.setattr(ModelVersion, "read_signature", lambda _: msgspec.convert({"of": "a later release"}, Signature))
    assert results(said(of(one, "chrned"))) == {APPLIED: 1}
