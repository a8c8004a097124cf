"""A reference that a stranger may have made: one that was counted passes, anything else is refused with one error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st

from trivet.core.calibration import Calibration
from trivet.core.errors import BundleError
from trivet.core.profile import checking
from trivet.core.profile.bins import BooleanBins, category_bins, numeric_bins
from trivet.core.profile.checking import MOST_BYTES, MOST_CHUNKS, check_reference
from trivet.core.profile.labels import LabelTable, encode_labels
from trivet.core.profile.losses import Loss
from trivet.core.profile.making import make_reference, with_losses
from trivet.core.profile.profile import Profile, encode_profile
from trivet.core.profile.reference import Reference, encode_reference
from trivet.core.signature import Input, Output, Signature

ROWS = 1_000
INPUTS = (
    Input(name="age", datatype="FP64", shape=(-1, 1), nullable=True),
    Input(name="plan", datatype="BYTES", shape=(-1, 1)),
    Input(name="is_new", datatype="BOOL", shape=(-1, 1)),
    Input(name="X", datatype="FP32", shape=(-1, 2)),
)
CHURN = Signature(
    inputs=INPUTS,
    outputs=(
        Output(name="label", datatype="INT64", shape=(-1,), classes=("False", "True")),
        Output(name="probabilities", datatype="FP64", shape=(-1, 2), classes=("False", "True")),
    ),
    task="classification",
)
USAGE = Signature(inputs=INPUTS, outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),), task="regression")


def made(signature: Signature = CHURN, **options: Any) -> Reference:
    """Return the reference of a thousand customers."""
    rng = np.random.default_rng(0)
    chance = rng.random(ROWS)
    inputs = {
        "age": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(50, 9, ROWS)),
        "plan": np.array(["basic", "pro"] * (ROWS // 2), object),
        "is_new": rng.random(ROWS) < 0.5,
        "X": rng.normal(size=2 * ROWS).astype(np.float32),
    }
    outputs = {
        "label": (chance > 0.5).astype(np.int64),
        "probabilities": np.stack([1 - chance, chance], axis=1).ravel(),
    }
    if signature is USAGE:
        outputs = {"prediction": chance * 100}
    truths = [None if number < 0.2 else bool(number > 0.5) for number in rng.random(ROWS)]
    return make_reference(
        signature, inputs, outputs, ROWS, **{"labels": truths if signature is CHURN else None} | options
    )


REFERENCE = made()


@pytest.mark.parametrize(
    ("signature", "options"),
    [
        (CHURN, {}),
        (CHURN, {"labels": None}),
        (CHURN, {"labels": ["maybe", math.nan] * (ROWS // 2)}),
        (USAGE, {}),
        (USAGE, {"labels": list(range(ROWS))}),
    ],
    ids=["labels", "none", "no classes", "numbers", "numbers and labels"],
)
def test_what_was_counted_passes_and_comes_back_as_it_was(signature: Signature, options: dict[str, Any]) -> None:
    """With twenty pieces in the order of time, and the labels of each where there are any."""
    reference = made(signature, **options)
    read = check_reference(encode_reference(reference), signature)

    assert read == reference
    assert len(read.chunks) == 20
    assert (len(read.chunk_labels), read.labels is not None) in ((20, True), (0, False))


def test_only_known_labels_are_in_the_tables() -> None:
    """And those of the pieces are those of the whole."""
    labels = REFERENCE.labels

    assert labels is not None
    assert 700 < labels.labels < 900
    assert sum(REFERENCE.chunk_labels[1:], start=REFERENCE.chunk_labels[0]) == labels
    assert made(labels=[None, math.nan] * (ROWS // 2)).labels is None


def test_a_class_that_was_a_boolean_is_met_by_the_number_that_is_answered() -> None:
    """The score is of the class True, the decision says 1, the label true: all one thing."""
    counts, _ = REFERENCE.layout.score(REFERENCE.whole, 0)
    decisions = REFERENCE.layout.decisions(REFERENCE.whole)

    assert decisions is not None
    ones = int(decisions.bins[REFERENCE.decisions.common.index("1")]) if REFERENCE.decisions else 0
    assert counts[1:-1:2].sum() == ones > 0


def test_it_says_how_much_it_was_made_of() -> None:
    """As the verbs print it."""
    assert made(labels=None).line() == "1,000 rows, 5 features, labels no"
    assert made(labels=["no"] * ROWS).line() == "1,000 rows, 5 features, labels yes"
    assert made(labels=["no"] * 600 + [None] * 400).line() == "1,000 rows, 5 features, labels of 600 rows"


def test_what_is_hidden_is_not_counted() -> None:
    """Neither a column nor one of a matrix; and who counts it after all is refused."""
    without = made(uncounted=("plan", "x1"))

    assert [bins.name for bins in without.features] == ["age", "is_new", "x0"]
    assert check_reference(encode_reference(without), CHURN, uncounted=("plan", "x1")) == without
    for counted, hidden in ((REFERENCE, ("plan", "x1")), (without, ())):
        with pytest.raises(BundleError, match="other features"):
            check_reference(encode_reference(counted), CHURN, uncounted=hidden)


def changed(**changes: Any) -> bytes:
    """Return the bytes of the reference with other fields."""
    return encode_reference(msgspec.structs.replace(REFERENCE, **changes))


def with_feature(place: int, **changes: Any) -> bytes:
    """Return the bytes of the reference with other bins of a feature."""
    features = list(REFERENCE.features)
    features[place] = msgspec.structs.replace(features[place], **changes)
    return changed(features=tuple(features))


def with_cells(change: Callable[[np.ndarray], None], rows: int = ROWS) -> bytes:
    """Return the bytes of the reference with other counts."""
    cells = REFERENCE.whole.cells.copy()
    change(cells)
    return changed(whole_bytes=encode_profile(replace(REFERENCE.whole, rows=rows, cells=cells)))


def moved(cells: np.ndarray) -> None:
    """Count one more of the first bin, which has then more rows than the others."""
    cells[0] += 1


def negative(cells: np.ndarray) -> None:
    """Count less than nothing in one bin, and as much more in another."""
    cells[:2] += (-1_000_000, 1_000_000)


def with_moments(change: Callable[[np.ndarray], None]) -> bytes:
    """Return the bytes of the reference with other moments: rows, three sums, six products."""
    moments = REFERENCE.whole.moments.copy()
    change(moments)
    return changed(whole_bytes=encode_profile(replace(REFERENCE.whole, moments=moments)))


def fewer(moments: np.ndarray) -> None:
    """Sum fewer rows."""
    moments[0] -= 1


def shifted(moments: np.ndarray) -> None:
    """Have a sum that is larger than its squares allow."""
    moments[1] = 10 * 4096 * ROWS


def below(moments: np.ndarray) -> None:
    """Have a sum of squares below nothing."""
    moments[4] = -1


def beyond(moments: np.ndarray) -> None:
    """Have squares as of values that are farther off than any is counted."""
    moments[4] *= 1_000


def crossed(moments: np.ndarray) -> None:
    """Have a product that is larger than its squares allow."""
    moments[5] = 3 * moments[4]


NARROW = encode_profile(Profile(5, np.ones(3, np.int64), np.zeros(1, np.int64)))
WIDE = encode_profile(Profile(5, np.zeros(4_000_000, np.int64), np.zeros(1, np.int64)))
AGE = REFERENCE.features[0]
SOME = Calibration((0.0, 1.0), (0.0, 1.0))
FALLING = msgspec.msgpack.encode({"x": (0.0, 1.0), "y": (1.0, 0.0)})


def test_scores_that_say_something_else_than_probabilities_are_calibrated() -> None:
    """Where held-out rows come nearer to their labels by it: these labels know nothing of the scores."""
    assert REFERENCE.calibration is not None
    assert REFERENCE.calibration.apply(np.array([0.1, 0.9])) == pytest.approx([0.625, 0.625], abs=0.15)
    assert made(labels=None).calibration is None
    assert made(labels=["maybe"] * ROWS).calibration is None


FORGED = {
    "a calibration without labels": encode_reference(msgspec.structs.replace(made(labels=None), calibrations=(SOME,))),
    "calibrations of more scores": changed(calibrations=(SOME, SOME)),
    "a calibration that falls": changed(calibrations=(SOME,)).replace(msgspec.msgpack.encode(SOME), FALLING),
    "an importance of fewer features": changed(importance=(1.0,)),
    "an importance that is no share": changed(importance=(2.0, -1.0, 0.0, 0.0, 0.0)),
    "an importance that is no number": changed(importance=(math.nan, 0.0, 0.0, 0.0, 0.0)),
    "an importance of more than all": changed(importance=(0.5, 0.5, 0.5, 0.0, 0.0)),
    "too large": b"\0" * (MOST_BYTES + 1),
    "features in another order": changed(features=tuple(reversed(REFERENCE.features))),
    "a feature of another name": with_feature(0, name="years"),
    "words in bins of numbers": changed(
        features=(AGE, numeric_bins("plan", np.arange(len(REFERENCE.features[1].common) - 1)), *REFERENCE.features[2:])
    ),
    "numbers in bins of words": changed(features=(category_bins("age", []), *REFERENCE.features[1:])),
    "a word in place of yes and no": changed(
        features=(*REFERENCE.features[:2], category_bins("is_new", []), *REFERENCE.features[3:])
    ),
    "yes and no in place of words": changed(features=(AGE, BooleanBins("plan"), *REFERENCE.features[2:])),
    "edges that fall": with_feature(0, edges=tuple(reversed(AGE.edges))),
    "an edge that is no number": with_feature(0, edges=(*AGE.edges[:-1], math.nan)),
    "no smallest value": with_feature(0, low=-math.inf),
    "a smallest above the largest": with_feature(0, low=1e9),
    "other classes": changed(classes=("no", "yes")),
    "classes of a regression": changed(classes=()),
    "a score of no class": changed(scores=(msgspec.structs.replace(REFERENCE.scores[0], name="maybe"),)),
    "a score that is of no class": changed(scores=(msgspec.structs.replace(REFERENCE.scores[0], is_of_class=False),)),
    "a unit of nothing": changed(scores=(msgspec.structs.replace(REFERENCE.scores[0], unit=0.0),)),
    "no rows": changed(whole_bytes=encode_profile(REFERENCE.empty)),
    "rows that are not counted": changed(whole_bytes=encode_profile(replace(REFERENCE.whole, rows=7))),
    "more of one feature": with_cells(moved),
    "less than nothing": with_cells(negative),
    "a whole of another width": changed(whole_bytes=NARROW),
    "a piece of another width": changed(chunks_bytes=(*REFERENCE.chunks_bytes[:-1], NARROW)),
    "a wide piece": changed(chunks_bytes=(*REFERENCE.chunks_bytes[:-1], WIDE)),
    "a piece that is none": changed(chunks_bytes=(*REFERENCE.chunks_bytes[:-1], b"\x80")),
    "too many pieces": changed(chunks_bytes=REFERENCE.chunks_bytes[:1] * (MOST_CHUNKS + 1)),
    "labels of other pieces": changed(chunk_labels_bytes=REFERENCE.chunk_labels_bytes[1:]),
    "labels of pieces alone": changed(labels_bytes=b""),
    "labels of another width": changed(labels_bytes=encode_labels(LabelTable(5, np.zeros(3, np.int64), ()))),
    "labels that are none": changed(labels_bytes=b"\x80"),
    "more labels than rows": changed(
        labels_bytes=encode_labels(LabelTable(ROWS + 1, REFERENCE.labels.cells, ())) if REFERENCE.labels else b""
    ),
    "another format": changed(format=3),
    "an earlier format with moments": changed(format=1),
    "no moments": changed(whole_bytes=encode_profile(replace(REFERENCE.whole, moments=np.zeros(0, np.int64)))),
    "moments of another width": changed(
        whole_bytes=encode_profile(replace(REFERENCE.whole, moments=np.ones(9, np.int64)))
    ),
    "moments of fewer rows": with_moments(fewer),
    "a sum that no rows have": with_moments(shifted),
    "squares below nothing": with_moments(below),
    "squares of what is too far off": with_moments(beyond),
    "products that no rows have": with_moments(crossed),
    "words that are no text": encode_reference(REFERENCE).replace(b"plan", b"pl\xa4n", 1),
}


EXPECTED = with_losses(
    made(USAGE, labels=list(range(ROWS))),
    Loss(ROWS, 0.3, 2.5),
    np.linspace(1.0, 9.0, ROWS),
    np.linspace(2.0, 90.0, ROWS),
)


def with_sums(*, piece: bool = False, **changed: int) -> Reference:
    """Return it with other sums of its rows: n, Σa, Σs, Σa², Σs²."""
    names = ("rows", "absolute", "squared", "of_absolute", "of_squared")
    profile = EXPECTED.chunks[0] if piece else EXPECTED.whole
    sums = dict(zip(names, profile.losses, strict=True)) | changed
    data = encode_profile(replace(profile, losses=tuple(sums.values())))
    if piece:
        return msgspec.structs.replace(EXPECTED, chunks_bytes=(data, *EXPECTED.chunks_bytes[1:]))
    return msgspec.structs.replace(EXPECTED, whole_bytes=data)


FORGED_LOSS = {
    "of more rows": with_sums(rows=ROWS + 1),
    "of a piece of more rows": with_sums(rows=ROWS, piece=True),
    "below nothing": with_sums(absolute=-1),
    "errors larger than their squares": with_sums(absolute=2**60),
    "squares smaller than errors": with_sums(squared=7),
    "squares of nothing": with_sums(of_squared=7),
    "beyond all numbers": with_sums(of_squared=10**2000),
    "of a piece alone": msgspec.structs.replace(
        EXPECTED, chunks_bytes=(encode_profile(replace(EXPECTED.chunks[0], losses=())), *EXPECTED.chunks_bytes[1:])
    ),
    "without a model": msgspec.structs.replace(EXPECTED, loss=None),
    "a model of nothing": msgspec.structs.replace(made(USAGE, labels=list(range(ROWS))), loss=EXPECTED.loss),
    "a model and none": msgspec.structs.replace(EXPECTED, no_loss="few"),
    "no reason": msgspec.structs.replace(made(USAGE), no_loss="because"),
    "of more labels": msgspec.structs.replace(EXPECTED, loss=Loss(ROWS + 1, 0.3, 2.5)),
    "of few labels": msgspec.structs.replace(EXPECTED, loss=Loss(7, 0.3, 2.5)),
    "all and more told": msgspec.structs.replace(EXPECTED, loss=Loss(ROWS, 1.1, 2.5)),
    "no kurtosis": msgspec.structs.replace(EXPECTED, loss=Loss(ROWS, 0.3, math.inf)),
    "a kurtosis that no numbers have": msgspec.structs.replace(EXPECTED, loss=Loss(ROWS, 0.3, 0.5)),
}


@pytest.fixture
def enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a thousand labels be enough to learn from."""
    monkeypatch.setattr(checking, "LEAST_LABELS", 1_000)


@pytest.mark.usefixtures("enough")
def test_what_is_expected_of_errors_passes_and_comes_back_as_it_was() -> None:
    """The pieces add up to the whole."""
    read = check_reference(encode_reference(EXPECTED), USAGE)

    assert read == EXPECTED
    assert tuple(map(sum, zip(*(chunk.losses for chunk in read.chunks), strict=True))) == read.whole.losses


@pytest.mark.usefixtures("enough")
@pytest.mark.parametrize("forged", FORGED_LOSS.values(), ids=FORGED_LOSS)
def test_forged_expectations_are_refused(forged: Reference) -> None:
    """What no rows amount to is in no estimate."""
    with pytest.raises(BundleError, match="reference profile"):
        check_reference(encode_reference(forged), USAGE)


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_a_forged_reference_is_refused(data: bytes) -> None:
    """Before anything is counted by it."""
    with pytest.raises(BundleError, match=r"reference|profile|label"):
        check_reference(data, CHURN)


ENCODED = encode_reference(REFERENCE)


@given(place=st.integers(0, len(ENCODED) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_whatever_is_changed_in_it_there_is_one_error_or_none(*, place: int, byte: int, cut: bool) -> None:
    """Never another exception: the parent of the compiling process reads it, and the keeper."""
    data = ENCODED[:place] if cut else ENCODED[:place] + bytes([byte]) + ENCODED[place + 1 :]
    try:
        check_reference(data, CHURN)
    except BundleError:
        return
    assert not cut
