"""The gate is broken on purpose: each wrong graph below differs from a right one in one place, and none may pass."""

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from trivet.core.errors import ParityFailed
from trivet.model.compile import proving
from trivet.model.compile.compiler import compile_model

ROWS = 300
RNG = np.random.default_rng(19)
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(40, 12, ROWS),
        "income": np.where(RNG.random(ROWS) < 0.2, np.nan, RNG.normal(5, 2, ROWS)),
        "city": np.where(RNG.random(ROWS) < 0.1, None, RNG.choice(["Lyon", "Nice", "Paris"], ROWS)),
    }
)
LATE = np.where((FRAME["age"] > 40) ^ FRAME["income"].isna() ^ (FRAME["city"] == "Nice"), "late", "on time")
NUMBERS = FRAME[["age", "income"]]
WHOLE = FRAME[["age"]]


def forest():
    return RandomForestClassifier(3, max_depth=4, random_state=0, n_jobs=1).fit(NUMBERS, LATE), NUMBERS


def boosting():
    return HistGradientBoostingClassifier(max_iter=2, random_state=0).fit(NUMBERS, LATE), NUMBERS


def people():
    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(StandardScaler(), SimpleImputer(add_indicator=True)), ["age", "income"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    return make_pipeline(prepare, LogisticRegression()).fit(FRAME, LATE), FRAME


def threshold():
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.7).fit(WHOLE, LATE)
    return model, WHOLE


def two_targets():
    y = np.column_stack([WHOLE["age"] * 2, WHOLE["age"] ** 2])
    return LinearRegression().fit(WHOLE, y), WHOLE


def nodes(graph, operator):
    return [node for node in graph.node if node.op_type == operator]


def attribute(node, name):
    return next(a for a in node.attribute if a.name == name)


def constant(graph, name):
    return next(c for c in graph.initializer if c.name == name)


def change(tensor, function):
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(function(numpy_helper.to_array(tensor).copy()))))
    tensor.name = name


def move_first_threshold(graph, *, towards):
    def moved(thresholds):
        for _ in range(2):  # one step may lead from a double to the float32 beside it: no float32 row could tell
            thresholds[0] = np.nextafter(np.float32(thresholds[0]), np.float32(towards))
        return thresholds

    change(attribute(nodes(graph, "TreeEnsembleRegressor")[0], "nodes_values_as_tensor").t, moved)


def move_first_threshold_up(graph):
    move_first_threshold(graph, towards=np.inf)


def move_first_threshold_down(graph):
    move_first_threshold(graph, towards=-np.inf)


def send_missing_values_the_other_way(graph):
    ways = attribute(nodes(graph, "TreeEnsembleRegressor")[0], "nodes_missing_value_tracks_true")
    flipped = [1 - way for way in ways.ints]
    del ways.ints[:]
    ways.ints.extend(flipped)


def compare_strictly(graph):
    modes = attribute(nodes(graph, "TreeEnsembleRegressor")[0], "nodes_modes")
    strict = [b"BRANCH_LT" if mode == b"BRANCH_LEQ" else mode for mode in modes.strings]
    del modes.strings[:]
    modes.strings.extend(strict)


def change_one_leaf(graph):
    def changed(weights):
        weights[int(np.argmax(np.abs(weights)))] *= 1.001
        return weights

    change(attribute(nodes(graph, "TreeEnsembleRegressor")[0], "target_weights_as_tensor").t, changed)


def forget_the_indicator(graph):
    def forgotten(weights):
        weights[2] = 0.0  # age, income, income is missing, ...
        return weights

    change(constant(graph, nodes(graph, "MatMul")[0].input[1]), forgotten)


def swap_the_classes(graph):
    (gather,) = [node for node in graph.node if node.op_type == "Gather" and _is_words(graph, node.input[0])]
    tensor = constant(graph, gather.input[0])
    tensor.string_data[:] = list(tensor.string_data)[::-1]


def _is_words(graph, name):
    return any(c.name == name and c.data_type == onnx.TensorProto.STRING for c in graph.initializer)


def choose_the_least_likely(graph):
    for node in nodes(graph, "ArgMax"):
        node.op_type = "ArgMin"


def swap_the_probabilities(graph):
    (last,) = [node for node in nodes(graph, "Identity") if node.output[0] == "probabilities"]
    give = next(node for node in graph.node if node.output[0] == last.input[0])
    give.input[:] = list(give.input)[::-1]


def light_the_first_column_for_an_unseen_word(graph):
    attribute(nodes(graph, "LabelEncoder")[0], "default_int64").i = 0


def take_a_missing_word_for_the_empty_one(graph):
    keys = attribute(nodes(graph, "LabelEncoder")[0], "keys_strings")
    keys.strings[:] = [b"" if key == "\ue000".encode() else key for key in keys.strings]


def calculate_in_float32(graph):
    product = nodes(graph, "MatMul")[0]
    place = list(graph.node).index(product)
    narrow = helper.make_node("Cast", [product.input[0]], ["narrow"], to=onnx.TensorProto.FLOAT16)
    wide = helper.make_node("Cast", ["narrow"], ["wide"], to=onnx.TensorProto.DOUBLE)
    product.input[0] = "wide"
    graph.node.insert(place, narrow)
    graph.node.insert(place + 1, wide)


def look_at_the_neighbours(graph):
    product = nodes(graph, "MatMul")[0]
    place = list(graph.node).index(product)
    axes = numpy_helper.from_array(np.array([0]), "axes")
    graph.initializer.append(axes)
    mean = helper.make_node("ReduceMean", [product.input[0], "axes"], ["mean"], keepdims=1)
    zero = helper.make_node("Mul", ["mean", "tiny"], ["shift"])
    graph.initializer.append(numpy_helper.from_array(np.array([[1e-8]]), "tiny"))
    shifted = helper.make_node("Add", [product.input[0], "shift"], ["shifted"])
    product.input[0] = "shifted"
    for offset, node in enumerate((mean, zero, shifted)):
        graph.node.insert(place + offset, node)


def forget_the_threshold(graph):
    (compare,) = nodes(graph, "GreaterOrEqual")
    change(constant(graph, compare.input[1]), lambda value: value * 0 + 0.5)


def give_the_targets_each_others_answer(graph):
    first, second = [node for node in nodes(graph, "Identity") if node.output[0].startswith("prediction")]
    first.input[0], second.input[0] = second.input[0], first.input[0]


@pytest.mark.parametrize(
    ("make", "mutant"),
    [
        (forest, move_first_threshold_up),
        (forest, move_first_threshold_down),
        (forest, send_missing_values_the_other_way),
        (forest, compare_strictly),
        (forest, change_one_leaf),
        (forest, swap_the_classes),
        (forest, swap_the_probabilities),
        (forest, choose_the_least_likely),
        (boosting, move_first_threshold_up),
        (boosting, send_missing_values_the_other_way),
        (boosting, compare_strictly),
        (boosting, change_one_leaf),
        (people, forget_the_indicator),
        (people, swap_the_classes),
        (people, light_the_first_column_for_an_unseen_word),
        (people, take_a_missing_word_for_the_empty_one),
        (people, calculate_in_float32),
        (people, look_at_the_neighbours),
        (threshold, forget_the_threshold),
        (threshold, swap_the_classes),
        (two_targets, give_the_targets_each_others_answer),
    ],
    ids=lambda value: value.__name__,
)
def test_no_mutant_passes(make, mutant, monkeypatch):
    model, sample = make()
    real = proving._model_bytes

    def spoiled(*given):
        made = onnx.load_from_string(real(*given))
        before = made.SerializeToString(deterministic=True)
        mutant(made.graph)
        assert made.SerializeToString(deterministic=True) != before, "the mutant is no mutant"
        return made.SerializeToString(deterministic=True)

    monkeypatch.setattr(proving, "_model_bytes", spoiled)
    with pytest.raises(ParityFailed) as failed:
        compile_model(model, sample=sample)
    assert failed.value.worst or "neighbours" in failed.value.message


@pytest.mark.parametrize("make", [forest, boosting, people, threshold, two_targets], ids=lambda make: make.__name__)
def test_the_right_graph_passes_with_rows_of_every_kind(make):
    model, sample = make()
    report = compile_model(model, sample=sample).parity
    assert report.refused_rows == 0
    assert report.largest <= 1e-6
    assert {"sample", "numeric"} <= set(report.by_kind)
    if make in (forest, boosting):
        assert report.by_kind["threshold"] > 50
