"""What chance allows: counts that are not exceeded in 99 of 100 cases."""

import math

SURE = 1.0 - 1.0e-2  # one-sided


def most_of_poisson(mean: float) -> int:
    """Return the count that one with this mean does not exceed, in 99 of 100 cases."""
    count, term = 0, math.exp(-mean)
    total = term
    while total < SURE:
        count += 1
        term *= mean / count
        total += term
    return count
