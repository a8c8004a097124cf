"""From output tensors to values and decisions."""

import math

import pytest
from hypothesis import given, strategies as st

from trivet.core.decisions import decide, gives_score, in_words, named_outputs, split
from trivet.core.signature import Output, Signature


def signature(task, *outputs, threshold=None):
    return Signature(inputs=(), outputs=outputs, task=task, threshold=threshold)


LABEL = Output(name="label", datatype="BYTES", shape=(-1,))
TWO = Output(name="probabilities", datatype="FP32", shape=(-1, 2), classes=("stays", "churned"))
THREE = Output(name="probabilities", datatype="FP32", shape=(-1, 3), classes=("a", "b", "c"))


def test_classes_have_a_number_each_and_a_label():
    decisions = decide(
        signature("classification", LABEL, TWO),
        {"label": ["churned", "stays"], "probabilities": [0.2, 0.8, 0.7, 0.3]},
        2,
    )
    assert decisions == [
        ({"stays": 0.2, "churned": 0.8}, 0.8, "churned"),
        ({"stays": 0.7, "churned": 0.3}, 0.3, "stays"),
    ]


def test_where_one_class_is_what_is_asked_about_its_number_is_the_value():
    (decision,) = decide(signature("classification", TWO, threshold=0.5), {"probabilities": [0.2, 0.8]}, 1)
    assert decision == (0.8, 0.8, "churned")


def test_more_classes_have_a_number_each():
    decisions = decide(signature("classification", THREE), {"probabilities": [0.2, 0.7, 0.1]}, 1)
    assert decisions == [({"a": 0.2, "b": 0.7, "c": 0.1}, 0.7, "b")]


def test_without_a_label_the_threshold_decides_and_a_tie_goes_to_the_first():
    outputs = {"probabilities": [0.7, 0.3, 0.8, 0.2]}
    assert [d.decision for d in decide(signature("classification", TWO, threshold=0.3), outputs, 2)] == [
        "churned",
        "stays",
    ]
    assert decide(signature("classification", TWO), {"probabilities": [0.5, 0.5]}, 1)[0].decision == "stays"


def test_the_share_of_the_second_class_alone_is_enough():
    one = Output(name="probabilities", datatype="FP32", shape=(-1, 1))
    assert decide(signature("classification", one), {"probabilities": [0.8, 0.2]}, 2) == [
        (0.8, 0.8, "1"),
        (0.2, 0.2, "0"),
    ]
    margin = Output(name="scores", datatype="FP32", shape=(-1,), classes=("no", "yes"))
    assert decide(signature("classification", margin), {"scores": [-0.1, 0.1]}, 2) == [
        (-0.1, -0.1, "no"),
        (0.1, 0.1, "yes"),
    ]


def test_a_label_alone_is_a_decision_without_a_value():
    label = Output(name="label", datatype="INT64", shape=(-1,))
    assert decide(signature("classification", label), {"label": [3]}, 1) == [(None, None, "3")]


def test_a_regression_is_its_number():
    target = Output(name="prediction", datatype="FP64", shape=(-1, 1), unit="EUR")
    assert decide(signature("regression", target), {"prediction": [1.5, math.nan]}, 2) == [
        (1.5, 1.5, ""),
        (None, None, ""),
    ]


def test_several_targets_have_a_number_each():
    targets = [Output(name=f"prediction_{t}", datatype="FP64", shape=(-1,)) for t in "ab"]
    outputs = {"prediction_a": [1.0, 2.0], "prediction_b": [3.0, 4.0]}
    decisions = decide(signature("regression", *targets), outputs, 2)
    assert [d.value for d in decisions] == [
        {"prediction_a": 1.0, "prediction_b": 3.0},
        {"prediction_a": 2.0, "prediction_b": 4.0},
    ]


def test_outliers_have_label_and_score_and_clusters_their_label():
    outputs = (Output(name="label", datatype="INT64", shape=(-1,)), Output(name="scores", datatype="FP32", shape=(-1,)))
    assert decide(signature("outlier", *outputs), {"label": [-1], "scores": [-0.4]}, 1) == [(-0.4, -0.4, "-1")]
    assert decide(signature("cluster", outputs[0]), {"label": [4]}, 1) == [(4, 4, "4")]


def test_several_decisions_have_a_label_each():
    outputs = (
        Output(name="label_0", datatype="BYTES", shape=(-1,), classes=("late", "on time")),
        Output(name="probabilities_0", datatype="FP64", shape=(-1, 2), classes=("late", "on time")),
        Output(name="label_1", datatype="INT64", shape=(-1,), classes=("0", "1")),
    )
    both = signature("classification", *outputs)
    answers = {"label_0": ["late", "on time"], "probabilities_0": [0.9, 0.1, 0.2, 0.8], "label_1": [1, 0]}
    assert decide(both, answers, 2) == [
        ({"label_0": "late", "label_1": 1}, None, "late, 1"),
        ({"label_0": "on time", "label_1": 0}, None, "on time, 0"),
    ]
    assert decide(both, {"label_1": [1]}, 1) == [({"label_1": 1}, None, "1")]
    assert decide(both, {"probabilities_0": [0.9, 0.1]}, 1) == [(None, None, "")]
    named = named_outputs(both, answers, 2)
    assert named[1] == {"label_0": "on time", "probabilities_0": {"late": 0.2, "on time": 0.8}, "label_1": 0}


def test_distances_of_clusters_are_named_by_cluster():
    outputs = (
        Output(name="label", datatype="INT64", shape=(-1,), classes=("0", "1")),
        Output(name="distances", datatype="FP64", shape=(-1, 2), classes=("0", "1")),
    )
    answers = {"label": [1], "distances": [3.5, 0.5]}
    assert decide(signature("cluster", *outputs), answers, 1) == [(1, 1, "1")]
    assert named_outputs(signature("cluster", *outputs), answers, 1) == [
        {"label": 1, "distances": {"0": 3.5, "1": 0.5}}
    ]


def test_tensors_have_no_decision():
    image = Output(name="mask", datatype="FP32", shape=(-1, 2, 2))
    assert decide(signature("tensors", image), {"mask": list(range(8))}, 2) == [(None, None, "")] * 2


def test_outputs_that_were_not_asked_for_leave_gaps():
    assert decide(signature("classification", LABEL, TWO), {}, 2) == [(None, None, "")] * 2


def test_outputs_by_name_have_their_classes():
    outputs = {"label": ["churned", "stays"], "probabilities": [0.2, 0.8, math.nan, 0.3], "mask": [1, 2, 3, 4]}
    mask = Output(name="mask", datatype="INT64", shape=(-1, 2))
    assert named_outputs(signature("classification", LABEL, TWO, mask), outputs, 2) == [
        {"label": "churned", "probabilities": {"stays": 0.2, "churned": 0.8}, "mask": [1, 2]},
        {"label": "stays", "probabilities": {"stays": None, "churned": 0.3}, "mask": [3, 4]},
    ]


@given(st.integers(0, 20), st.integers(0, 5))
def test_rows_put_together_are_the_tensor(rows, width):
    flat = list(range(rows * width))
    parts = split(flat, rows)
    assert len(parts) == rows
    assert [element for part in parts for element in part] == flat


def test_what_cannot_be_cut_belongs_to_the_first_row():
    assert split([1, 2, 3], 2) == [[1, 2, 3], ()]


@pytest.mark.parametrize(
    ("label", "words"), [(True, "true"), (2.0, "2"), (2.5, "2.5"), ("x", "x"), (None, ""), (-1, "-1")]
)
def test_labels_in_words(label, words):
    assert in_words(label) == words


ONE = Output(name="prediction", datatype="FP32", shape=(-1, 1))
OTHER = Output(name="other", datatype="FP32", shape=(-1,))


@pytest.mark.parametrize(
    ("task", "outputs", "flat"),
    [
        ("classification", (LABEL, TWO), {"label": ["stays"], "probabilities": [0.2, 0.8]}),
        ("classification", (THREE,), {"probabilities": [0.2, 0.7, 0.1]}),
        ("classification", (LABEL,), {"label": ["stays"]}),
        (
            "classification",
            (Output(name="label_0", datatype="BYTES", shape=(-1,)), TWO),
            {"label_0": ["stays"], "probabilities": [0.2, 0.8]},
        ),
        ("regression", (ONE,), {"prediction": [3.5]}),
        ("regression", (ONE, OTHER), {"prediction": [3.5], "other": [1.0]}),
        ("outlier", (LABEL, Output(name="scores", datatype="FP32", shape=(-1,))), {"label": ["in"], "scores": [0.1]}),
        ("outlier", (LABEL,), {"label": ["in"]}),
        ("cluster", (Output(name="label", datatype="INT64", shape=(-1,)),), {"label": [2]}),
        ("tensors", (Output(name="text", datatype="BYTES", shape=(-1,)),), {"text": ["x"]}),
        ("tensors", (Output(name="boxes", datatype="FP32", shape=(-1, 4)),), {"boxes": [1.0, 2.0, 3.0, 4.0]}),
    ],
)
def test_a_signature_gives_a_score_where_its_rows_have_one(task, outputs, flat):
    of = signature(task, *outputs)
    assert gives_score(of) == (decide(of, flat, 1)[0].score is not None)
