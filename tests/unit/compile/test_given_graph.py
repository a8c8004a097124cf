"""Somebody's ONNX is served as it is: checked, described by its own inputs and outputs, its answers recorded."""

import io

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import skl2onnx
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier

from trivet.core.errors import CompileError, ParityFailed
from trivet.model.bundle.sample import decode_sample
from trivet.model.compile.given_graph import bundle_given_graph
from trivet.model.compile.opening import open_file
from trivet.model.compile.parcel import Parcel, decode_parcel, encode_parcel, tensors_of

TARGET = {"": 18, "ai.onnx.ml": 3}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    return pd.DataFrame({"age": rng.normal(40, 9, 50), "income": rng.normal(size=50)})


@pytest.fixture(scope="module")
def forest(frame):
    return RandomForestClassifier(5, random_state=0).fit(
        frame.to_numpy(np.float32), np.where(frame["age"] > 40, "y", "n")
    )


@pytest.fixture(scope="module")
def exported(forest, frame):
    row = frame.to_numpy(np.float32)[:1]
    return skl2onnx.to_onnx(forest, row, options={"zipmap": False}, target_opset=TARGET).SerializeToString()


def answers(data, feed):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def small(node, inputs, outputs, *, initializers=(), opset=18):
    graph = helper.make_graph([node], "g", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def numbers(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, list(shape))


def test_an_export_of_scikit_learn_becomes_a_classification_that_answers_as_onnx_runtime_does(exported, frame):
    opened = open_file(io.BytesIO(exported))
    assert opened.kind == "onnx"
    compiled = bundle_given_graph(opened.given_graph, sample=frame)
    signature = compiled.signature
    assert signature.task == "classification"
    assert signature.field_names == ("age", "income")
    assert signature.output("probabilities").classes == ("n", "y")
    assert signature.inputs[0].nullable  # trees read missing values
    _, recorded = decode_sample(signature, compiled.bundle.files["sample.jsonl"])
    own = answers(exported, {"X": frame.to_numpy(np.float32)})
    np.testing.assert_array_equal(recorded["probabilities"], own["probabilities"])
    assert recorded["label"].tolist() == own["label"].tolist()
    assert compiled.bundle.manifest.compile["may_run_inline"]
    assert compiled.parity.line() == "a graph taken as it is: nothing to compare it with"
    assert compiled.bundle.digest == bundle_given_graph(exported, sample=frame).bundle.digest


def test_without_a_sample_rows_are_made_up_and_the_version_says_so(exported):
    compiled = bundle_given_graph(exported)
    assert compiled.bundle.manifest.parity["synthetic"]
    assert compiled.bundle.manifest.sample_rows == 64


def test_columns_by_name_whole_numbers_and_texts_travel():
    node = helper.make_node("Mul", ["rooms", "price"], ["total"])
    data = small(
        node,
        [numbers(n, "N", 1, kind=TensorProto.INT32) for n in ("rooms", "price")],
        [numbers("total", "N", 1, kind=TensorProto.INT32)],
    )
    sample = pd.DataFrame({"price": [3, 4], "rooms": [1, 5], "other": ["a", "b"]})
    compiled = bundle_given_graph(data, sample=sample)
    assert [(i.name, i.datatype, i.low, i.high) for i in compiled.signature.inputs] == [
        ("rooms", "INT32", 1, 5),
        ("price", "INT32", 3, 4),
    ]
    assert compiled.signature.task == "tensors"
    assert decode_sample(compiled.signature, compiled.bundle.files["sample.jsonl"])[1]["total"].ravel().tolist() == [
        3,
        20,
    ]
    with pytest.raises(CompileError, match="lacks the column 'price'"):
        bundle_given_graph(data, sample=sample[["rooms"]])


def test_probabilities_as_maps_are_refused_with_the_remedy(forest, frame):
    data = skl2onnx.to_onnx(forest, frame.to_numpy(np.float32)[:1], target_opset=TARGET).SerializeToString()
    with pytest.raises(CompileError, match=r"'output_probability' is a sequence or a map.*'zipmap': False"):
        bundle_given_graph(data)


def test_an_image_network_gets_rows_of_the_size_it_takes():
    node = helper.make_node("GlobalAveragePool", ["image"], ["mean"])
    data = small(node, [numbers("image", "N", 3, "H", "W")], [numbers("mean", "N", 3, 1, 1)])
    compiled = bundle_given_graph(data)
    assert compiled.signature.inputs[0].shape == (-1, 3, -1, -1)
    assert compiled.signature.task == "tensors"


def test_functions_inside_a_model_are_inlined():
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    graph = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["y"], domain="own")], "g", [numbers("x", "N", 2)], [numbers("y", "N", 2)]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)
    compiled = bundle_given_graph(model.SerializeToString())
    assert compiled.bundle.manifest.compile["operators"] == ["Add"]


REFUSED = {
    "a fixed answer": (
        small(helper.make_node("ReduceMean", ["x"], ["y"], keepdims=1), [numbers("x", "N", 2)], [numbers("y", 1, 1)]),
        "not one answer for each row",
    ),
    "neighbours": (
        small(
            helper.make_node("CumSum", ["x", "axis"], ["y"]),
            [numbers("x", "N", 2)],
            [numbers("y", "N", 2)],
            initializers=[helper.make_tensor("axis", TensorProto.INT64, [], [0])],
        ),
        "depend on their neighbours",
    ),
    "no row dimension": (
        small(helper.make_node("Neg", ["x"], ["y"]), [numbers("x")], [numbers("y")]),
        "no row dimension: export it with a dynamic batch",
    ),
    "not a number": (
        small(helper.make_node("Log", ["x"], ["y"]), [numbers("x", "N", 2)], [numbers("y", "N", 2)]),
        "NaN or infinity",
    ),
    "operators from after ours": (
        small(helper.make_node("Neg", ["x"], ["y"]), [numbers("x", "N", 2)], [numbers("y", "N", 2)], opset=22),
        "at most 21 is served here. Export it for that: target_opset=21",
    ),
    "a foreign domain": (
        helper.make_model(
            helper.make_graph(
                [helper.make_node("Own", ["x"], ["y"], domain="evil")],
                "g",
                [numbers("x", "N", 2)],
                [numbers("y", "N", 2)],
            ),
            opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("evil", 1)],
            ir_version=8,
        ).SerializeToString(),
        "domain 'evil'|No Op registered|cannot load it",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_graph_that_is_no_model_of_rows_is_refused_with_the_reason(name):
    data, reason = REFUSED[name]
    with pytest.raises(CompileError, match=reason):
        bundle_given_graph(data)


def test_a_constant_answer_is_refused(exported, frame):
    node = helper.make_node("Mul", ["x", "zero"], ["y"])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    data = small(node, [numbers("x", "N", 2)], [numbers("y", "N", 2)], initializers=[zero])
    with pytest.raises(CompileError, match="constant output"):
        bundle_given_graph(data, sample=frame)


def test_A15_A35_what_is_not_one_graph_from_end_to_end_is_refused(exported):
    for data in (exported * 2, exported + b"PK\x03\x04" * 9, exported[:-5], exported + b"\xfa\x3f\x02hi"):
        with pytest.raises(
            CompileError, match=r"goes on after its end|cut short|damaged|no valid graph|not a valid graph"
        ):
            bundle_given_graph(data)
    model = onnx.load_from_string(exported)
    weights = model.graph.initializer.add()
    weights.CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0]))
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(CompileError, match=r"not a valid graph|fold external data in"):
        bundle_given_graph(model.SerializeToString())


def test_a_parcel_brings_rows_and_answers_and_the_graph_must_give_them(exported, frame):
    rows = frame.to_numpy(np.float32)
    own = answers(exported, {"X": rows})
    source = {"kind": "torch", "class": "Net"}
    parcel = Parcel(graph=exported, inputs=tensors_of({"X": rows}), answers=tensors_of(own), source=source)
    opened = open_file(io.BytesIO(encode_parcel(parcel)))
    compiled = bundle_given_graph(opened.given_graph, parcel=opened.parcel)
    assert compiled.parity.line() == "parity on 50 rows: max |difference| 0, 0 decisions differ"
    assert compiled.bundle.manifest.source["kind"] == "torch"
    off = {**own, "probabilities": own["probabilities"] + np.float32(0.01)}
    with pytest.raises(ParityFailed, match=r"probabilities of the graph is off by 0\.01"):
        bundle_given_graph(
            exported, parcel=Parcel(graph=exported, inputs=tensors_of({"X": rows}), answers=tensors_of(off))
        )
    with pytest.raises(CompileError, match="this parcel cannot be read"):
        decode_parcel(encode_parcel(parcel) + b"more")
