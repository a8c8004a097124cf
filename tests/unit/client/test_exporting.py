"""A torch module or a Keras model is exported where it was trained, answers there as it does, and needs neither as a bundle."""

import io
import warnings

import numpy as np
import pytest

from trivet.client.exporting import exported
from trivet.core.errors import CompileError
from trivet.model.bundle.sample import decode_sample
from trivet.model.compile.given_graph import bundle_given_graph
from trivet.model.compile.opening import open_file
from trivet.model.compile.parcel import encode_parcel


def test_another_object_is_not_exported():
    assert exported(object(), np.zeros((2, 2))) is None


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch", reason="torch is not installed here: test_doors makes an environment with it")
    pytest.importorskip("onnxscript", reason="torch exports with onnxscript, which is not installed here")
    torch.manual_seed(0)
    return torch


@pytest.fixture(scope="module")
def keras(torch):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KERAS_BACKEND", "torch")
        keras = pytest.importorskip("keras", reason="keras is not installed here")
    keras.utils.set_random_seed(0)
    return keras


@pytest.fixture(scope="module")
def network(torch):
    return torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2), torch.nn.Softmax(dim=1)
    )


@pytest.fixture
def rows():
    return np.random.default_rng(3).normal(size=(20, 3)).astype(np.float32)


def compiled_from(model, rows):
    """Return what a server makes of the parcel that `model` is exported as."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter has to say of itself
        parcel = exported(model, rows)
    opened = open_file(io.BytesIO(encode_parcel(parcel)))
    return bundle_given_graph(opened.given_graph, parcel=opened.parcel)


def test_a_torch_module_becomes_a_graph_that_answers_as_it_does(torch, network, rows):
    network.train()
    compiled = compiled_from(network, rows)
    assert network.training  # left as it was
    assert compiled.signature.inputs[0].shape == (-1, 3)
    assert compiled.bundle.manifest.source["kind"] == "torch"
    assert compiled.bundle.manifest.compile["may_run_inline"]
    inputs, outputs = decode_sample(compiled.signature, compiled.bundle.files["sample.jsonl"])
    network.eval()
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs["X"])).numpy()
    np.testing.assert_allclose(outputs["output"], expected, rtol=1e-5, atol=1e-6)


def test_without_rows_a_torch_module_is_refused_with_the_remedy(network):
    with pytest.raises(CompileError, match="give a sample of its rows"):
        exported(network, None)


def test_a_torch_module_in_double_is_given_doubles_and_outputs_by_name_keep_their_names(torch, rows):
    class Twofold(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.price, self.chances = torch.nn.Linear(3, 1), torch.nn.Linear(3, 2)

        def forward(self, given):
            return {"price": self.price(given), "chances": self.chances(given)}

    compiled = compiled_from(Twofold().double(), rows)
    assert compiled.signature.inputs[0].datatype == "FP64"
    assert [(output.name, output.shape) for output in compiled.signature.outputs] == [
        ("price", (-1, 1)),
        ("chances", (-1, 2)),
    ]


def test_what_torch_cannot_export_is_said_in_one_line(torch, rows):
    class Branching(torch.nn.Module):
        def forward(self, given):
            return given * 2 if given.sum() > 0 else given

    with pytest.raises(CompileError, match=r"torch cannot export this Branching to ONNX: [^\n\x1b]+\Z"):
        compiled_from(Branching(), rows)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras' own
def test_a_keras_model_becomes_a_graph_that_answers_as_it_does(keras, rows):
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    compiled = compiled_from(model, rows)
    assert compiled.bundle.manifest.source["kind"] == "keras"
    assert [(i.name, i.shape) for i in compiled.signature.inputs] == [("X", (-1, 3))]
    inputs, outputs = decode_sample(compiled.signature, compiled.bundle.files["sample.jsonl"])
    np.testing.assert_allclose(outputs["output"], model.predict(inputs["X"], verbose=0), rtol=1e-5, atol=1e-6)


def test_the_outputs_of_a_keras_model_keep_their_names(keras, rows):
    given = keras.Input((3,))
    outputs = {"price": keras.layers.Dense(1)(given), "chances": keras.layers.Dense(2)(given)}
    compiled = compiled_from(keras.Model(given, outputs), rows)
    assert {output.name: output.shape for output in compiled.signature.outputs} == {
        "price": (-1, 1),
        "chances": (-1, 2),
    }
