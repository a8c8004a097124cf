import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from trivet.core.datatypes import MISSING_TEXT
from trivet.core.errors import BundleError
from trivet.core.signature import Input, Output, Signature
from trivet.model.bundle.sample import decode_sample, encode_sample

SIGNATURE = Signature(
    inputs=(
        Input(name="distance", datatype="FP64", shape=(-1, 1), nullable=True),
        Input(name="carrier", datatype="BYTES", shape=(-1, 1), nullable=True),
        Input(name="hour", datatype="INT64", shape=(-1, 1)),
        Input(name="X", datatype="FP64", shape=(-1, 3)),
    ),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,), classes=("late", "on time")),
        Output(name="probabilities", datatype="FP64", shape=(-1, 2), classes=("late", "on time")),
    ),
)
OUTPUTS = b'"outputs": {"label": "late", "probabilities": [1, 0]}}'
ROW = st.tuples(
    st.floats(allow_infinity=False),
    st.one_of(st.just(MISSING_TEXT), st.text(st.characters(exclude_categories=["Cs"]))),
    st.integers(-(2**63), 2**63 - 1),
    st.tuples(*[st.floats(allow_infinity=False)] * 3),
    st.sampled_from(["late", "on time"]),
    st.floats(0, 1),
)


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=5))
def test_rows_come_back_as_they_were_written(rows):
    numbers, words, hours, matrix, labels, shares = zip(*rows, strict=True)
    inputs = {
        "distance": np.array(numbers).reshape(-1, 1),
        "carrier": np.array([*words, None], dtype=object)[:-1].reshape(-1, 1),
        "hour": np.array(hours, np.int64).reshape(-1, 1),
        "X": np.array(matrix, np.float64),
    }
    outputs = {
        "label": np.array([*labels, None], dtype=object)[:-1],
        "probabilities": np.array([[p, 1 - p] for p in shares]),
    }
    again_in, again_out = decode_sample(SIGNATURE, encode_sample(SIGNATURE, inputs, outputs))
    for name, expected in (inputs | outputs).items():
        found = (again_in | again_out)[name]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "line",
    [
        b"nothing",
        b'{"inputs": {}, "outputs": {}}',
        b"[" * 10_000,
        b'{"inputs": {"distance": "far", "carrier": "AA", "hour": 1, "X": [1, 2, 3]}, ' + OUTPUTS,
        b'{"inputs": {"distance": 1, "carrier": "AA", "hour": 1e99, "X": [1, 2, 3]}, ' + OUTPUTS,
        b'{"inputs": {"distance": 1, "carrier": "AA", "hour": 1.7, "X": [1, 2, 3]}, ' + OUTPUTS,
        b'{"inputs": {"distance": 1, "carrier": "AA", "hour": 1, "X": [1, 2]}, ' + OUTPUTS,
    ],
)
def test_a_line_that_does_not_fit_the_signature_is_refused(line):
    with pytest.raises(BundleError, match=r"sample\.jsonl"):
        decode_sample(SIGNATURE, line)


def test_a_text_a_row_comes_back_as_a_text_and_not_as_its_letters():
    outputs = (Output(name="label", datatype="BYTES", shape=(-1,)),)
    signature = Signature(inputs=(Input(name="text", datatype="BYTES", shape=(-1,)),), outputs=outputs)
    texts, labels = np.array(["late again", "on time", ""], object), np.array(["a", "b", "c"], object)
    data = encode_sample(signature, {"text": texts}, {"label": labels})
    inputs, _ = decode_sample(signature, data)
    assert inputs["text"].shape == (3,)
    assert inputs["text"].tolist() == texts.tolist()
