"""Profiles: what is counted is what was there, in any order and any pieces; what is taken away leaves what was before."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from trivet.core.errors import BundleError
from trivet.core.profile.bins import (
    BooleanBins,
    CategoryBins,
    NumericBins,
    TextBins,
    category_bins,
    numeric_bins,
)
from trivet.core.profile.labels import (
    class_of,
    confusion,
    decode_labels,
    empty_labels,
    encode_labels,
    fold_labels,
    truths_by_score,
)
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import columns_of, make_reference, score_columns
from trivet.core.profile.profile import Profile, decode_profile, encode_profile, merge
from trivet.core.profile.reference import Reference, decode_reference, encode_reference
from trivet.core.signature import Input, Output, Signature

FOLD_MICROSECONDS = 3.0  # a row of 50 features (living-models.md, L19)
FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
LATE = Signature(
    inputs=(
        Input(name="wind", datatype="FP64", shape=(-1, 1), nullable=True),
        Input(name="seats", datatype="INT64", shape=(-1, 1)),
        Input(name="carrier", datatype="BYTES", shape=(-1, 1), nullable=True),
        Input(name="night", datatype="BOOL", shape=(-1, 1)),
    ),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,), classes=("no", "yes")),
        Output(name="probabilities", datatype="FP32", shape=(-1, 2), classes=("no", "yes")),
    ),
    task="classification",
    threshold=0.5,
)


def flights(rows: int, seed: int = 0) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return inputs and outputs of `rows` flights, flat by tensor."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(1, 3, rows).astype(np.float32).astype(float)
    wind = rng.gamma(2, 5, rows)
    return (
        {
            "wind": [None if value > 25 else float(value) for value in wind],
            "seats": rng.integers(50, 300, rows).tolist(),
            "carrier": [f"C{number}" for number in rng.zipf(1.7, rows) % 90],
            "night": (rng.random(rows) < 0.2).tolist(),
        },
        {
            "label": ["yes" if value >= 0.5 else "no" for value in chance],
            "probabilities": np.stack([1 - chance, chance], axis=1).ravel().tolist(),
        },
    )


def reference(rows: int = 2000) -> Reference:
    """Return the reference of some flights."""
    return make_reference(LATE, *flights(rows), rows)


def profiled(of: Reference, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], rows: slice) -> Profile:
    """Return the profile of some of the rows."""
    length = rows.stop - rows.start
    inputs = {name: values[rows] for name, values in inputs.items()}
    chances = slice(2 * rows.start, 2 * rows.stop)
    outputs = {"label": outputs["label"][rows], "probabilities": outputs["probabilities"][chances]}
    answers = Answers(score_columns(LATE, of.scores, outputs, length), outputs["label"])
    return of.fold(
        columns_of(LATE, inputs, length), answers, latency_us=np.full(length, 850.0), counters=(length, 0, 0)
    )


@given(reference_values=st.lists(FLOATS, max_size=200), values=st.lists(FLOATS, max_size=100))
def test_a_number_is_counted_in_the_bin_between_whose_edges_it_lies(
    reference_values: list[float], values: list[float]
) -> None:
    """Whatever the reference held; what is beyond it counts in the end bin and beside it."""
    bins = numeric_bins("x", np.array(reference_values))
    counts = bins.read(bins.count(np.array(values, dtype=float)))

    finite = [value for value in values if math.isfinite(value)]
    edges = [-math.inf, *bins.edges, math.inf]
    expected = [sum(low < v <= high for v in finite) for low, high in pairwise(edges)]
    assert counts.bins.tolist() == expected
    assert counts.missing == sum(math.isnan(value) for value in values)
    assert counts.non_finite == sum(math.isinf(value) for value in values)
    assert counts.under == sum(value < bins.low for value in finite)
    assert counts.over == sum(value > bins.high for value in finite)
    assert counts.rows == len(values)


def test_few_values_have_a_bin_each() -> None:
    """As dummies and ratings do."""
    bins = numeric_bins("stars", np.array([1, 2, 2, 3, 5] * 40))

    assert bins.count(np.array([1, 2, 3, 5, 5]))[:4].tolist() == [1, 1, 1, 2]


def test_many_values_have_quantile_bins() -> None:
    """Each holds about as many of the reference."""
    values = np.random.default_rng(1).lognormal(size=6400)
    bins = numeric_bins("price", values)

    assert len(bins.edges) == 63
    assert set(bins.count(values)[:64].tolist()) <= {99, 100, 101}


def test_a_category_is_common_or_seen_or_new_or_missing() -> None:
    """And the new ones are named."""
    bins = category_bins("carrier", ["AA"] * 5 + ["UA"] * 3 + ["B6", None], common=2)

    counts = bins.read(bins.count(["UA", "AA", "B6", "ZZ", None, "ZZ"]))
    assert counts.bins.tolist() == [1, 1, 1, 2]
    assert (counts.missing, counts.unseen) == (1, 2)
    assert bins.unseen_of(["UA", "ZZ", "ZZ", None]) == {"ZZ": 2}


def test_a_text_counts_by_its_length() -> None:
    """By powers of two, with the missing and those beyond ASCII beside."""
    bins = TextBins("comment")
    counts = bins.count(["", "a", "abc", "ä" * 9, None])

    assert counts[:5].tolist() == [1, 1, 1, 0, 1]
    assert counts[-2:].tolist() == [1, 1]
    assert bins.read(counts).rows == 5


def test_each_feature_has_the_bins_of_its_kind() -> None:
    """By its datatype."""
    kinds = [type(bins) for bins in reference().features]

    assert kinds == [NumericBins, NumericBins, CategoryBins, BooleanBins]


@given(cuts=st.lists(st.integers(1, 299), max_size=12), seed=st.randoms(use_true_random=False))
def test_pieces_in_any_order_are_the_whole(cuts: list[int], seed: Any) -> None:
    """Merging is adding whole numbers: exact however the rows were cut, and in whatever order the pieces come."""
    of = REFERENCE
    inputs, outputs = flights(300, seed=5)
    ends = sorted({0, 300, *cuts})
    pieces = [profiled(of, inputs, outputs, slice(*pair)) for pair in pairwise(ends)]
    seed.shuffle(pieces)

    whole = profiled(of, inputs, outputs, slice(0, 300))
    assert merge(pieces, of.empty) == whole
    assert merge(reversed(pieces), of.empty) == whole
    assert whole - merge(pieces[1:], of.empty) == pieces[0]


def test_a_profile_comes_back_as_it_was() -> None:
    """From its bytes, which are few."""
    of = reference()
    profile = profiled(of, *flights(60, seed=2), slice(0, 60))

    encoded = encode_profile(profile)
    assert decode_profile(encoded) == profile
    assert decode_profile(encoded).unseen == profile.unseen
    assert len(encoded) < 1500


@pytest.mark.parametrize("data", [b"", b"\x93\x01\x02\x03", encode_profile(reference(30).whole)[:-3]])
def test_bytes_that_are_no_profile_are_refused(data: bytes) -> None:
    """With one error of the tree, whatever they are."""
    with pytest.raises(BundleError, match="profile"):
        decode_profile(data)
    with pytest.raises(BundleError, match="reference"):
        decode_reference(data)


def test_a_reference_comes_back_as_it_was() -> None:
    """With its bins, its rows and their pieces in the order of time."""
    of = reference()
    read = decode_reference(encode_reference(of))

    assert read.features == of.features
    assert read.whole == of.whole
    assert read.whole.rows == 2000
    assert len(read.chunks) == 20
    assert merge(read.chunks, read.empty) == read.whole


def test_the_sum_of_scores_is_exact_to_a_billionth() -> None:
    """In fixed point: so it does not depend on the order of the rows."""
    of = reference()
    chances = np.array(flights(2000)[1]["probabilities"]).reshape(-1, 2)[:, 1]

    _, sums = of.layout.score(of.whole, 0)
    assert sums.sum() * of.scores[0].unit == pytest.approx(chances.sum(), abs=2000 * 2.0**-31)


def test_latency_is_at_most_one_percent_wrong() -> None:
    """At any quantile."""
    of = reference()
    latencies = np.random.default_rng(3).lognormal(7, 1, 5000)
    empty = Answers([np.zeros(5000)], ["no"] * 5000)
    profile = of.fold({}, empty, latency_us=latencies)

    for quantile in (0.5, 0.9, 0.99, 0.999):
        exact = float(np.quantile(latencies, quantile, method="inverted_cdf"))
        assert of.layout.latency_us(profile, quantile) == pytest.approx(exact, rel=0.0101)


def test_what_is_not_given_is_not_counted() -> None:
    """As an input that was marked sensitive: of hidden values nothing is to be said."""
    of = reference()
    inputs, outputs = flights(10)
    inputs["wind"] = ["hidden:0123456789abcdef"] * 10

    profile = profiled(of, inputs, outputs, slice(0, 10))
    assert of.layout.feature(profile, of.features[0]).rows == 0
    assert of.layout.feature(profile, of.features[1]).rows == 10


REFERENCE = reference()
TRUTHS = st.lists(st.sampled_from([True, False, "yes", "no", 1, 0, "other"]), min_size=1, max_size=40)


def answers(rows: int) -> Answers:
    """Return what was answered to some flights."""
    _, outputs = flights(rows, seed=8)
    return Answers(score_columns(LATE, REFERENCE.scores, outputs, rows), outputs["label"])


@given(TRUTHS, TRUTHS)
def test_a_correction_leaves_no_trace_of_what_it_corrects(first: Sequence[Any], second: Sequence[Any]) -> None:
    """The old label is taken away, the new one added: as if only the new one had ever come."""
    rows = min(len(first), len(second))
    said, wrong, right = answers(rows), first[:rows], second[:rows]
    before = fold_labels(REFERENCE, answers(7), [True] * 7)

    corrected = before + fold_labels(REFERENCE, said, wrong) - fold_labels(REFERENCE, said, wrong)
    assert corrected == before
    corrected = corrected + fold_labels(REFERENCE, said, right)
    assert corrected == before + fold_labels(REFERENCE, said, right)
    assert decode_labels(encode_labels(corrected)) == corrected


def test_a_label_is_counted_where_its_score_is() -> None:
    """Once in the table of its score, once in that of decision against truth."""
    said = answers(100)
    truths = [decision == "yes" for decision in said.decisions]
    table = fold_labels(REFERENCE, said, truths)

    by_score = truths_by_score(REFERENCE, table, 0)
    assert by_score.sum() == 100
    assert by_score[:, 0, 1].sum() == by_score[:, 1, 0].sum() == 0  # always right
    matrix = confusion(REFERENCE, table)
    assert matrix is not None
    assert np.trace(matrix[:2, :2]) == 100
    assert empty_labels(REFERENCE) + table == table


@pytest.mark.parametrize(
    ("truth", "classes", "expected"),
    [
        (True, ("0", "1"), "1"),
        (1, ("False", "True"), "True"),
        (0, ("no", "yes"), "no"),
        ("true", ("no", "yes"), "yes"),
        ("yes", ("no", "yes"), "yes"),
        ("1", ("1", "2"), "1"),
        (2, ("0", "1", "2"), "2"),
        ("maybe", ("no", "yes"), "maybe"),
        (True, ("low", "mid", "high"), "true"),
    ],
)
def test_a_label_comes_as_its_senders_language_writes_it(truth: Any, classes: tuple[str, ...], expected: str) -> None:
    """Yes and one and true are the same where there are two classes; what means none of them stays what it is."""
    assert class_of(truth, classes) == expected


def test_the_errors_of_a_regression_are_whole_numbers() -> None:
    """So that their sums are exact, and a correction is."""
    signature = Signature(
        inputs=(Input(name="x", datatype="FP64", shape=(-1, 2)),),
        outputs=(Output(name="prediction", datatype="FP32", shape=(-1,)),),
        task="regression",
    )
    numbers = np.random.default_rng(4).normal(1000, 300, 400)
    of = make_reference(signature, {"x": [0.0, 1.0] * 400}, {"prediction": numbers.tolist()}, 400)
    said = Answers([numbers], [""] * 400)
    truths = (numbers + np.random.default_rng(5).normal(3, 10, 400)).tolist()
    table = fold_labels(of, said, truths)

    labels, errors, absolute, squares, *_ = table.errors[0]
    unit = of.scores[0].unit
    expected = numbers - np.array(truths)
    assert labels == 400
    assert errors * unit / labels == pytest.approx(expected.mean(), abs=1e-4)
    assert absolute * unit / labels == pytest.approx(np.abs(expected).mean(), abs=1e-4)
    assert squares * unit**2 / labels == pytest.approx((expected**2).mean(), rel=1e-5)
    assert table - table == empty_labels(of)
    assert decode_labels(encode_labels(table)) == table


def test_fifty_features_cost_at_most_three_microseconds_a_row() -> None:
    """L19. The best of some batches, in time of this process: other work on the machine is not its cost."""
    rows, features = 1000, 50
    rng = np.random.default_rng(6)
    signature = Signature(
        inputs=tuple(Input(name=f"f{place}", datatype="FP64", shape=(-1, 1)) for place in range(features)),
        outputs=LATE.outputs,
        task="classification",
    )
    inputs = {f"f{place}": rng.normal(size=rows).tolist() for place in range(features)}
    outputs = flights(rows)[1]
    of = make_reference(signature, inputs, outputs, rows)
    columns = columns_of(signature, inputs, rows)
    said = Answers(score_columns(signature, of.scores, outputs, rows), outputs["label"])

    best = math.inf
    for _ in range(30):
        started = time.process_time_ns()
        of.fold(columns, said)
        best = min(best, time.process_time_ns() - started)
    assert best / 1000 / rows <= FOLD_MICROSECONDS
