"""Which rows the parity gate asks: section by section, those that hurt."""

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, KBinsDiscretizer, OneHotEncoder, SplineTransformer, StandardScaler

from trivet.model.compile import rows as rows_module
from trivet.model.compile.edges import note_edges
from trivet.model.compile.fields import Field, Layout, layout_of
from trivet.model.compile.graph import Graph, Split
from trivet.model.compile.recipe import transform
from trivet.model.compile.rows import MOST_ROWS, MOST_THRESHOLDS, gate_rows

SAMPLE = pd.DataFrame({"a": np.linspace(3.0, 5.0, 50), "n": np.arange(50), "w": ["Lyon", "Nice"] * 25})
LAYOUT = Layout(
    (
        Field("a", "FP64", nullable=True),
        Field("n", "INT64"),
        Field("w", "BYTES", nullable=True, gap=None, categories=("Lyon", "Nice")),
    ),
    is_matrix=False,
)


def split(name, *cuts, scale=1.0, offset=0.0, rounds_input=False):
    return Split(name, scale, offset, np.array(cuts), rounds_input)


def values(rows, name, kind):
    return rows.frame[name][rows.kinds == kind]


def test_the_sample_comes_first_and_keeps_its_order():
    rows = gate_rows(LAYOUT, SAMPLE, [])
    assert rows.sample_rows == 50
    assert (rows.kinds[:50] == "sample").all()
    assert rows.frame.head(50)["a"].tolist() == SAMPLE["a"].tolist()
    assert gate_rows(LAYOUT, pd.concat([SAMPLE] * 30), []).sample_rows == 1_000


def test_a_number_is_tried_at_its_ends_its_quantiles_zero_and_far_beyond():
    rows = gate_rows(LAYOUT, SAMPLE, [])
    tried = values(rows, "a", "numeric")
    assert {3.0, 5.0, 0.0, 1e30, -1e30, 2.0**24 + 1, *np.quantile(SAMPLE["a"], np.linspace(0.1, 0.9, 9))} <= set(tried)
    assert set(np.signbit(tried[tried == 0.0])) == {True, False}
    assert {-1, 0, 49, 50, 2**24 + 1} <= set(values(rows, "n", "numeric"))
    assert values(rows, "a", "missing").isna().sum() == 2  # alone, and with everything else missing
    last = rows.frame.iloc[-1]
    assert np.isnan(last["a"])
    assert last["w"] is None


def test_a_word_is_tried_as_every_known_value_and_as_what_nobody_expected():
    rows = gate_rows(LAYOUT, SAMPLE, [])
    assert set(values(rows, "w", "categorical")) == {"Lyon", "Nice"}
    unseen = set(values(rows, "w", "unseen"))
    assert {"", " ", "lYON", "Lyon ", "x" * 1000, "an unseen value"} < unseen
    assert any(not word.isascii() for word in unseen)
    assert {"the of and a", "again again again"} < unseen
    strict = LAYOUT.with_fields([LAYOUT.fields[0], LAYOUT.fields[1], Field("w", "BYTES", rejects_unknown=True)])
    assert values(gate_rows(strict, SAMPLE, []), "w", "unseen").empty


def test_a_threshold_is_tried_with_its_neighbours_on_both_sides_mapped_back_through_the_scaler():
    rows = gate_rows(LAYOUT, SAMPLE, [split("a", 0.1, scale=2.0, offset=-1.0)])
    on = np.float32(0.1)
    beside = [0.1, *np.nextafter(0.1, [-np.inf, np.inf]), on, *np.nextafter(on, np.float32([-np.inf, np.inf]))]
    assert set(values(rows, "a", "threshold")) == {(float(value) + 1.0) / 2.0 for value in beside}
    whole = gate_rows(LAYOUT, SAMPLE, [split("n", 2.5)])
    assert set(values(whole, "n", "threshold")) == {2, 3}


def test_no_change_is_made_twice():
    once = gate_rows(LAYOUT, SAMPLE, [split("a", 4.0)])
    twice = gate_rows(LAYOUT, SAMPLE, [split("a", 4.0), split("a", 4.0)])
    assert len(once.frame) == len(twice.frame)


def test_many_thresholds_are_spread_evenly_and_what_is_left_out_is_counted():
    many = Layout((Field("a", "FP64"), Field("b", "FP64")), is_matrix=False)
    sample = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10.0)})
    rows = gate_rows(many, sample, [split("a", *np.linspace(0, 9, 30_000)), split("b", 1.5, 2.5)])
    assert len(rows.frame) <= MOST_ROWS
    assert {1.5, 2.5} <= set(values(rows, "b", "threshold"))
    assert len(values(rows, "a", "threshold")) > MOST_THRESHOLDS
    assert rows.left_out > 0


def test_a_wide_model_is_asked_fewer_rows(monkeypatch):
    monkeypatch.setattr(rows_module, "MOST_CELLS", 2_500 * 400)
    wide = Layout(tuple(Field(f"x{i}", "FP64") for i in range(400)), is_matrix=True)
    sample = pd.DataFrame(np.zeros((5, 400)), columns=wide.names)
    rows = gate_rows(wide, sample, [split(f"x{i}", 1.5, 2.5, 3.5) for i in range(400)])
    assert len(rows.frame) <= 2_500
    assert rows.left_out > 0


def test_what_the_signature_refuses_is_not_tried():
    bounded = LAYOUT.with_fields([Field("a", "FP64", low=0.5, high=10.0), *LAYOUT.fields[1:]])
    tried = gate_rows(bounded, SAMPLE, [split("a", -2.0, 4.0)]).frame["a"]
    assert tried.between(0.5, 10.0).all()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (KBinsDiscretizer(4, strategy="quantile", quantile_method="averaged_inverted_cdf"), [3.0, 5.0]),
        (Binarizer(threshold=4.25), [4.25]),
        (SplineTransformer(n_knots=3, degree=2), [3.0, 4.0, 5.0]),
        (IsotonicRegression(), [3.0, 5.0]),
    ],
    ids=lambda step: type(step).__name__ if hasattr(step, "fit") else "",
)
def test_bins_and_knots_are_tried_with_their_neighbours(step, expected):
    x = SAMPLE[["a"]].to_numpy()
    layout, frame = layout_of(StandardScaler().fit(x), x)
    step.fit(x, x[:, 0] ** 2)
    graph = Graph()
    note_edges(graph, step, layout.table())
    tried = set(values(gate_rows(layout, frame, graph.splits), "x0", "knot"))
    assert all({value, np.nextafter(value, -np.inf), np.nextafter(value, np.inf)} <= tried for value in expected)


def test_edges_behind_a_scaler_are_mapped_back():
    x = SAMPLE[["a"]].to_numpy()
    scale, cut = make_pipeline(StandardScaler(), Binarizer(threshold=0.5)).fit(x).named_steps.values()
    layout, _ = layout_of(scale, x)
    graph = Graph()
    transform(graph, cut, transform(graph, scale, layout.table()))
    (found,) = graph.splits
    value = (0.5 - found.offset) / found.scale
    assert value == pytest.approx(0.5 * scale.scale_[0] + scale.mean_[0])


def test_encoders_and_linear_models_have_no_edges():
    graph = Graph()
    layout, _ = layout_of(LogisticRegression().fit(SAMPLE[["a"]], SAMPLE["w"]), SAMPLE)
    note_edges(graph, OneHotEncoder(), layout.table())
    assert graph.splits == []
