"""The car-loan data is what the figures were taken from."""

import numpy as np

from tests.living import car_loan


def test_every_file_has_its_rows_and_its_truth():
    reference, analysis, targets = car_loan.reference(), car_loan.analysis(), car_loan.analysis_targets()
    assert {len(values) for values in (*reference.values(), *analysis.values(), *targets.values())} == {50_000}
    assert np.array_equal(analysis["id"], targets["id"])
    assert set(np.unique(reference["repaid"])) == set(np.unique(targets["repaid"])) == {0.0, 1.0}
    assert list(analysis["timestamp"]) == sorted(analysis["timestamp"])
    assert not any(np.isnan(values).any() for values in analysis.values() if values.dtype == np.float64)


def test_chunks_follow_each_other_and_cover_the_rows():
    analysis = car_loan.analysis()
    joined = np.concatenate([car_loan.chunk(analysis, number)["id"] for number in range(car_loan.CHUNKS)])
    assert np.array_equal(joined, analysis["id"])
