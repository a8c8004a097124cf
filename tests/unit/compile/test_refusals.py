"""What is refused whatever the parity, and rows that the original refuses: the signature must refuse them, too."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures

from trivet.core.errors import CompileError, ParityFailed
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.fields import Field, Layout
from trivet.model.compile.original import Answers, Original
from trivet.model.compile.parity import DOUBLE_BATCH_TOLERANCE, check_refusals, run_gate
from trivet.model.compile.rows import gate_rows

X = pd.DataFrame({"a": np.linspace(0.5, 9.5, 60), "b": np.tile([1, 2, 3], 20)})
Y = np.where(X["a"] > 5, "high", "low")
LAYOUT = Layout((Field("a", "FP64"), Field("b", "INT64")), is_matrix=False)


class Formula(RegressorMixin, BaseEstimator):
    """A regressor that answers with a function of the rows."""

    def __init__(self, function=None):
        self.function = function
        self.fitted_ = True

    def predict(self, rows):
        return self.function(rows)


def gate(function, compiled=None, **options):
    original = Original(Formula(function), takes_matrix=False)
    answer = compiled or (lambda rows: Answers(np.asarray(function(rows), float).reshape(len(rows), -1)))
    rows = gate_rows(LAYOUT, X, [])
    return run_gate(original, answer, LAYOUT, rows, **({"tolerance": 1e-5, "synthetic": False} | options))


def test_a_constant_is_refused_though_the_graph_is_as_constant():
    with pytest.raises(CompileError, match="same for every row"):
        gate(lambda rows: np.ones(len(rows)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_on_a_row_of_the_sample_are_refused_though_the_graph_answers_so_too(bad):
    with pytest.raises(CompileError, match="NaN or infinity to row 59 of the sample"):
        gate(lambda rows: np.where(rows["a"] == 9.5, bad, rows["a"]))


def test_nan_is_allowed_only_where_the_original_has_it():
    original = Formula(lambda rows: np.where(rows["a"] < 0, np.nan, rows["a"]))
    assert gate(original.function).failed_rows == 0
    with pytest.raises(ParityFailed):
        gate(original.function, lambda rows: Answers(rows[["a"]].to_numpy()))
    with pytest.raises(ParityFailed):
        gate(lambda rows: rows["a"], lambda rows: Answers(original.predict(rows).reshape(-1, 1)))


def test_a_graph_of_another_width_is_refused():
    with pytest.raises(CompileError, match="answers 2 values a row, not 1"):
        gate(lambda rows: rows["a"], lambda rows: Answers(rows[["a", "b"]].to_numpy(float)))


def test_an_original_that_contradicts_itself_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(CompileError, match="contradicts itself"):
        gate(lambda rows: rows["a"] + rng.normal(scale=1e-9, size=len(rows)))


def test_an_original_that_contradicts_its_labels_is_refused():
    class Moody(ClassifierMixin, BaseEstimator):
        classes_ = np.array([0, 1])
        asked = 0

        def predict(self, rows):
            self.asked += 1
            return (np.arange(len(rows)) + self.asked) % 2

    original = Original(Moody(), takes_matrix=False)
    with pytest.raises(CompileError, match="contradicts itself"):
        run_gate(original, original.answers, LAYOUT, gate_rows(LAYOUT, X, []), tolerance=1e-5, synthetic=False)


def test_a_label_alone_may_differ_nowhere():
    class Hard(ClassifierMixin, BaseEstimator):
        classes_ = np.array(["high", "low"])

        def predict(self, rows):
            return np.where(rows["a"] > 5, "high", "low")

    original = Original(Hard(), takes_matrix=False)
    rows = gate_rows(LAYOUT, X, [])

    def wrong_once(frame):
        labels = np.where((frame["a"] > 5) & (frame["a"] != 9.5), "high", "low").astype(object)
        return Answers(np.zeros((len(frame), 0)), labels)

    run_gate(original, original.answers, LAYOUT, rows, tolerance=1e-5, synthetic=False)
    with pytest.raises(ParityFailed, match="the labels \\('high' became 'low'\\)"):
        run_gate(original, wrong_once, LAYOUT, rows, tolerance=1e-5, synthetic=False)


def test_a_double_graph_may_not_depend_on_its_neighbours_at_all():
    def shifted(rows):
        return Answers(rows[["a"]].to_numpy() + 1e-9 * len(rows))

    assert gate(lambda rows: rows["a"], shifted).failed_rows == 0  # as float32 sums would
    with pytest.raises(ParityFailed, match="neighbours"):
        gate(lambda rows: rows["a"], shifted, batch_tolerance=DOUBLE_BATCH_TOLERANCE)


def test_regression_is_compared_in_units_of_each_target():
    def two(rows):
        return np.column_stack([rows["a"], rows["a"] * 1e6])

    def off(rows):
        return Answers(two(rows) + np.array([[1e-3, 0.0]]))

    def off_where_it_matters_little(rows):
        return Answers(two(rows) + np.array([[0.0, 1e-3]]))

    assert gate(two, off_where_it_matters_little).failed_rows == 0
    with pytest.raises(ParityFailed):
        gate(two, off)


def test_rows_that_the_original_refuses_are_counted_and_a_graph_may_not_be_there_to_answer_them():
    def shy(rows):
        if (rows["b"] == 0).any():
            raise ValueError("b must not be 0")
        return rows["a"]

    report = gate(shy)
    assert report.refused_rows == 1
    with pytest.raises(CompileError, match="numeric: b must not be 0"):
        check_refusals(report)


def test_numbers_that_the_original_refuses_get_bounds_in_the_signature():
    model = make_pipeline(FunctionTransformer(np.log, feature_names_out="one-to-one"), LinearRegression())
    compiled = compile_model(model.fit(X[["a"]], X["a"]), sample=X[["a"]])
    (a,) = compiled.signature.inputs
    assert (a.low, a.high, a.outside) == (5e-324, None, "reject")
    assert compiled.parity.refused_rows == 0


def test_bounds_are_found_exactly_for_whole_numbers_too():
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X[["b"]], X["b"] > 1)
    (b,) = compile_model(model, sample=X[["b"]]).signature.inputs
    assert (b.low, b.high, b.outside) == (1, 3, "reject")


def test_a_number_that_is_refused_between_two_others_leaves_no_bounds_to_give():
    gaps = pd.DataFrame({"b": np.tile([1, 2, 9], 20)})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(gaps, gaps["b"] > 1)
    with pytest.raises(CompileError, match="a graph would answer them"):
        compile_model(model, sample=gaps)


def test_a_matrix_has_the_bounds_that_suit_all_its_columns():
    x = X.to_numpy(float)
    model = make_pipeline(PolynomialFeatures(12), RandomForestClassifier(3, random_state=0)).fit(x[:, :1], Y)
    (tensor,) = compile_model(model, sample=x[:, :1]).signature.inputs
    assert tensor.outside == "reject"
    assert -2000 < tensor.low < -1000  # its twelfth power is the largest float32
    assert tensor.low == -tensor.high


def test_what_every_row_takes_keeps_the_range_seen_in_training_as_a_remark():
    model = LinearRegression().fit(X, X["a"])
    a, b = compile_model(model, sample=X).signature.inputs
    assert (a.low, a.high, a.outside) == (0.5, 9.5, "flag")
    assert (b.low, b.high, b.outside) == (1, 3, "flag")
