"""The reconstruction error: as scikit-learn's PCA has it, and what it sees that no single number shows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tests.living import car_loan
from trivet.control.monitoring.reconstruction import Reconstruction, reconstruction
from trivet.core.profile.layout import Answers
from trivet.core.profile.making import make_reference
from trivet.core.profile.profile import Profile
from trivet.core.profile.reference import Reference
from trivet.core.signature import Input, Output, Signature


def signature(names):
    inputs = tuple(Input(name=name, datatype="FP64", shape=(-1, 1), nullable=True) for name in names)
    outputs = (Output(name="prediction", datatype="FP64", shape=(-1,)),)
    return Signature(inputs=inputs, outputs=outputs, task="regression")


def made(table: np.ndarray) -> Reference:
    """Return the reference of the rows of `table` (rows, numbers)."""
    names = [f"x{place}" for place in range(table.shape[1])]
    inputs = dict(zip(names, table.T, strict=True))
    return make_reference(signature(names), inputs, {"prediction": np.zeros(len(table))}, len(table))


def profiled(reference: Reference, table: np.ndarray) -> Profile:
    names = [bins.name for bins in reference.features]
    columns = dict(zip(names, np.array(table.T, dtype=float), strict=True))
    return reference.fold(columns, Answers([np.zeros(len(table))], [""] * len(table)))


def found(reference: Reference, table: np.ndarray) -> Reconstruction:
    result = reconstruction(reference, profiled(reference, table), reference.whole)
    assert result is not None
    return result


def together(rows: int, seed: int = 0) -> np.ndarray:
    """Return six numbers of which each three are one and the same thing, with a little of their own."""
    rng = np.random.default_rng(seed)
    causes = np.repeat(rng.normal(size=(rows, 2)), 3, axis=1)
    return causes + 0.5 * rng.normal(size=(rows, 6))


def test_it_is_that_of_the_principal_components():
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(4_000, 12)) @ rng.normal(size=(12, 12)) + 7.0
    moved = rng.normal(size=(900, 12)) @ rng.normal(size=(12, 12)) + 8.0
    scaler = StandardScaler().fit(mixed)
    pca = PCA(0.65).fit(scaler.transform(mixed))

    def exact(table: np.ndarray) -> float:
        z = scaler.transform(table)
        missed = z - pca.inverse_transform(pca.transform(z))
        return float((missed**2).sum(axis=1).mean())

    result = found(made(mixed), moved)
    assert (result.numbers, result.components, result.rows) == (12, pca.n_components_, 900)
    assert result.kept_variance == pytest.approx(pca.explained_variance_ratio_.sum(), abs=1e-4)
    assert result.error == pytest.approx(exact(moved), rel=1e-4)
    assert result.error_before == pytest.approx(exact(mixed), rel=1e-4)
    assert result.is_usual is False


def test_numbers_that_no_longer_move_together_are_seen_where_no_single_one_has_moved():
    reference, rows = made(together(10_000)), together(1_000, seed=2)
    alone = np.column_stack([np.random.default_rng(place).permutation(column) for place, column in enumerate(rows.T)])

    assert found(reference, rows).is_usual is True
    result = found(reference, alone)
    assert result.is_usual is False
    assert (result.error or 0.0) > 3.0 * (result.high or np.inf)


def test_a_window_of_fewer_rows_than_a_piece_has_a_wider_band():
    reference = made(together(10_000))
    small, large = found(reference, together(20, seed=3)), found(reference, together(5_000, seed=4))

    assert width(small) == pytest.approx(5.0 * width(large))  # √(500 / 20)
    assert small.is_usual is True


def width(result: Reconstruction) -> float:
    assert result.low is not None
    assert result.high is not None
    return result.high - result.low


def test_of_two_numbers_one_component_is_kept():
    result = found(made(np.random.default_rng(5).normal(size=(1_000, 2))), np.ones((60, 2)))
    assert (result.components, result.numbers) == (1, 2)
    assert result.error is not None


def test_without_two_numbers_that_vary_there_is_none():
    table = np.column_stack([np.arange(100.0), np.full(100, 3.0), np.full(100, np.nan)])
    reference = made(table)
    assert reconstruction(reference, profiled(reference, table), reference.whole) is None


def test_without_rows_it_says_so():
    reference = made(together(2_000))
    result = reconstruction(reference, reference.empty, reference.empty)
    assert result is not None
    assert (result.error, result.error_before, result.low, result.is_usual) == (None, None, None, None)
    assert result.reason == "no row of this window has its numbers"


def test_a_reference_in_one_piece_has_no_band():
    result = found(made(together(500)), together(60, seed=6))
    assert (result.low, result.high, result.is_usual) == (None, None, None)
    assert result.error is not None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308])
def test_whatever_comes_it_is_a_number(value):
    result = found(made(together(2_000)), np.full((70, 6), value))
    assert result.error is not None
    assert np.isfinite(result.error)


def test_on_the_car_loan_data_the_quiet_chunks_are_in_the_band():
    names = ["car_value", "debt_to_income_ratio", "loan_length", "driver_tenure"]
    before, after = car_loan.reference(), car_loan.analysis()
    reference = made(np.column_stack([before[name] for name in names]))
    results = [
        found(reference, np.column_stack([car_loan.chunk(after, number)[name] for name in names]))
        for number in range(car_loan.CHUNKS)
    ]
    assert [result.is_usual for result in results[:5]] == [True] * 5
