"""How often a caller may ask, as text."""

import pytest
from hypothesis import given, strategies as st

from trivet.core.rates import UNITS, Rate, read_rates, write_rates

RATES = st.dictionaries(st.sampled_from(list(UNITS.values())), st.integers(1, 999_999_999), min_size=1)


@given(RATES)
def test_rates_are_read_as_they_are_written(by_unit):
    rates = tuple(Rate(count, seconds) for seconds, count in sorted(by_unit.items()))
    assert read_rates(write_rates(rates)) == rates


def test_several_hold_at_once_the_shortest_first():
    assert read_rates("50000/d,100/s") == (Rate(100, 1), Rate(50_000, 86_400))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "100",
        "100/",
        "/s",
        "0/s",
        "-1/s",
        "1.5/s",
        "1e3/s",
        "100/second",
        "100/s,",
        "100/s, 50/s",
        "١/s",
        "1/s\n1/m",
        "1000000000/d",
    ],
)
def test_what_is_no_rate_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="rates such as '100/s'"):
        read_rates(text)
