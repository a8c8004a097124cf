"""A torch module is exported where it was trained, answers there as the module does, and becomes a bundle without torch."""

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
def network():
    torch = pytest.importorskip("torch", reason="torch is not installed here: a fifth of a gigabyte")
    pytest.importorskip("onnxscript", reason="torch exports with onnxscript, which is not installed here")
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2), torch.nn.Softmax(dim=1)
    )


def test_a_torch_module_becomes_a_graph_that_answers_as_it_does(network):
    import torch

    rows = np.random.default_rng(3).normal(size=(20, 3)).astype(np.float32)
    network.train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter has to say of itself
        parcel = exported(network, rows)
    assert network.training  # left as it was
    opened = open_file(io.BytesIO(encode_parcel(parcel)))
    compiled = bundle_given_graph(opened.given_graph, parcel=opened.parcel)
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
