"""A manifest's packs fit its signature, or the bundle is none."""

from __future__ import annotations

import numpy as np
import pytest

from trivet.core.errors import BundleError
from trivet.core.signature import Input, Signature
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.manifest import Manifest
from trivet.model.bundle.packing import Pack, graph_inputs

SIGNATURE = Signature(
    inputs=(
        Input(name="a", datatype="FP64", shape=(-1, 1)),
        Input(name="b", datatype="FP64", shape=(-1, 1)),
        Input(name="n", datatype="INT64", shape=(-1, 1)),
        Input(name="word", datatype="BYTES", shape=(-1, 1)),
        Input(name="M", datatype="FP64", shape=(-1, 3)),
    ),
    outputs=(),
)


def test_packed_columns_are_one_input_and_the_others_stay():
    inputs = graph_inputs(SIGNATURE, (Pack("a..b", ("a", "b")),))
    assert inputs == {
        "a..b": ("FP64", (-1, 2)),
        "n": ("INT64", (-1, 1)),
        "word": ("BYTES", (-1, 1)),
        "M": ("FP64", (-1, 3)),
    }


@pytest.mark.parametrize(
    "packs",
    [
        (Pack("p", ("a", "n")),),
        (Pack("p", ("a", "nothing")),),
        (Pack("p", ("a", "M")),),
        (Pack("p", ("word",)),),
        (Pack("p", ("a", "a")),),
        (Pack("p", ("a",)), Pack("q", ("a",))),
        (Pack("n", ("a", "b")),),
        (Pack("p", ()),),
    ],
)
def test_packs_that_do_not_fit_are_refused_with_the_manifest(packs: tuple[Pack, ...]):
    manifest = Manifest(format=1, runtime="onnx", signature=SIGNATURE, files=(), packs=packs)
    with pytest.raises(BundleError, match="pack"):
        make_bundle(manifest, {"model.onnx": b"x"})


def test_a_bundle_feeds_its_graph_with_rows_kept_apart():
    manifest = Manifest(format=1, runtime="onnx", signature=SIGNATURE, files=(), packs=(Pack("a..b", ("a", "b")),))
    bundle = make_bundle(manifest, {"model.onnx": b"x"})
    columns = {name: np.array([[1.0], [2.0]]) * scale for name, scale in (("a", 1), ("b", 10), ("n", 100))}
    feed = bundle.feed(columns)
    assert feed.keys() == {"a..b", "n"}
    np.testing.assert_array_equal(feed["a..b"], [[1, 10], [2, 20]])
