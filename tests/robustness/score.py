"""The figures beside the rows: what tests counted over the whole run, and must be nought."""

from __future__ import annotations

from typing import Literal

import pytest

Figure = Literal["client_5xx", "lost_records", "failed_in_promotions"]
FIGURES: dict[Figure, str] = {
    "client_5xx": "5xx from client input",
    "lost_records": "records lost or doubled after kills",
    "failed_in_promotions": "failed requests in promotions",
}
OF = {"client_5xx": "requests", "lost_records": "kills", "failed_in_promotions": "promotions and rollbacks"}
PROPERTY = "score"
TRIED = "tried"


class Score:
    """Where a test says what it counted: `score.count("client_5xx", 0, of=55)`. It asserts what it wants by itself."""

    def __init__(self, node: pytest.Item) -> None:
        self._node = node

    def count(self, figure: Figure, found: int, *, of: int) -> None:
        """Note that `found` of `of` (requests, kills, moves) were what must not be."""
        self._node.user_properties.append((PROPERTY, (figure, found, of)))

    def tried(self, count: int, *, of: int) -> None:
        """Note that `count` of the `of` faults that there are were tried; the row's line says so."""
        self._node.user_properties.append((TRIED, (count, of)))
