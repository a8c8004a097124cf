"""The speed gate: a graph that answers later than the original does not serve, and figures stay out of the digest."""

import time

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from trivet.core.errors import CompileError, SlowerCompiled
from trivet.model.compile import compiler, speed
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.report import Speed
from trivet.model.compile.speed import HOP_MICROSECONDS, is_slower, measure

X = np.random.default_rng(0).normal(size=(100, 3))


@pytest.fixture(scope="module")
def model():
    return LinearRegression().fit(X, X[:, 0])


@pytest.mark.parametrize(
    ("compiled", "native", "slower"),
    [(20, 200, False), (250, 200, False), (300, 200, False), (300.1, 200, True), (9_000, 300, True)],
)
def test_a_graph_may_take_as_long_as_the_original_and_its_way_to_a_model_worker(compiled, native, slower):
    assert HOP_MICROSECONDS == 100
    assert is_slower(Speed(compiled, native)) is slower


def test_a_slower_graph_is_told_with_both_figures_and_kept_for_whoever_has_no_other_way(model, monkeypatch):
    monkeypatch.setattr(compiler, "measure", lambda *_: Speed(compiled=812.3, native=310.0))
    with pytest.raises(SlowerCompiled, match="812 µs; the original takes 310 µs and 100 µs to a model worker") as told:
        compile_model(model, sample=X)
    assert isinstance(told.value, CompileError)
    assert told.value.compiled.speed == Speed(812.3, 310.0)
    assert told.value.compiled.parity.labels_differ == 0


def test_speeds_leave_no_trace_in_the_digest(model, monkeypatch):
    digests = set()
    for figure in (3.0, 4.0):
        monkeypatch.setattr(compiler, "measure", lambda *_, figure=figure: Speed(figure, 100.0))
        compiled = compile_model(model, sample=X)
        assert compiled.speed.compiled == figure
        digests.add(compiled.bundle.digest)
    assert len(digests) == 1


class Echo:
    def answers(self, rows):
        return rows


def test_one_row_and_a_batch_are_measured_and_the_slow_are_asked_less_often(monkeypatch):
    monkeypatch.setattr(speed, "MOST_SECONDS", 0.05)
    asked = []

    def compiled(rows):
        asked.append(len(rows))
        return lambda: time.sleep(0.01)

    began = time.monotonic()
    figures = measure(Echo(), compiler.pd.DataFrame(X), compiled)
    assert set(asked) == {1, 64}
    assert figures.compiled >= 10_000 > figures.native
    assert figures.compiled_batch >= 10_000 > figures.native_batch
    assert time.monotonic() - began < 10


def test_one_disturbed_measurement_does_not_call_a_graph_slower(monkeypatch):
    figures = iter([5_000.0, 10.0, 5_000.0, 10.0, 20.0, 10.0])
    monkeypatch.setattr(speed, "_median", lambda _: next(figures))
    assert measure(Echo(), compiler.pd.DataFrame(X), lambda _: None) == Speed(20.0, 10.0, 5_000.0, 10.0)
    figures = iter([5_000.0, 10.0, 5_000.0, 10.0, 4_000.0, 10.0, 4_500.0, 10.0])
    assert measure(Echo(), compiler.pd.DataFrame(X), lambda _: None) == Speed(4_000.0, 10.0, 5_000.0, 10.0)
