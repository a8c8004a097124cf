"""Rows through a bundle in a fresh process: what comes back is what the model says, and a process that ends is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.django.worlds import bundle, trained_bundle
from trivet.core.errors import BundleError
from trivet.model.bundle.sample import decode_sample
from trivet.model.replay import FreshProcess


def rows(count: int) -> dict[str, np.ndarray]:
    inputs, _ = decode_sample(trained_bundle().signature, trained_bundle().files["sample.jsonl"])
    return {name: values[:count] for name, values in inputs.items()}


def test_batches_are_answered_in_order_with_numbers_texts_and_missing_values_as_they_are(tmp_path: Path):
    made = trained_bundle()
    _, expected = decode_sample(made.signature, made.files["sample.jsonl"])
    with FreshProcess(made, environments=tmp_path) as process:
        for count in (120, 1, 7):
            ran = process.run(made.feed(rows(count)))
            assert ran.places == list(range(count))
            assert ran.outputs["label"] == expected["label"][:count].tolist()
            found = np.reshape(ran.outputs["probabilities"], (count, 2))
            np.testing.assert_allclose(found, expected["probabilities"][:count], atol=1e-6)
        cost = process.us_per_row()
        assert cost is not None
        assert cost > 0


def test_rows_that_the_model_fails_on_are_left_out(tmp_path: Path):
    made = trained_bundle()
    with FreshProcess(made, environments=tmp_path) as process:
        assert process.run({"nothing": np.zeros((3, 1))}).places == []
        assert process.run(made.feed(rows(2))).places == [0, 1]


def test_a_bundle_that_cannot_be_loaded_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(BundleError, match="ONNX Runtime cannot load it"), FreshProcess(bundle(), environments=tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ends_meanwhile_is_told(tmp_path: Path):
    made = trained_bundle()
    with FreshProcess(made, environments=tmp_path) as process:
        process._process.kill()
        with pytest.raises(BundleError, match=r"its process ended with status -9"):
            process.run(made.feed(rows(2)))
