"""Fixtures for pytest: `stub_predictor` and `prediction_outbox`. They come by themselves where pytest-django is.

pytest reads this in every project of an environment that has Trivet, so nothing here imports Django before a test asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # Django's settings are not there yet when pytest reads this
    from trivet.serving.stubs import Outbox


@pytest.fixture(autouse=True)
def _outbox_begins_empty() -> None:
    """Empty the outbox for each test: pytest-django makes a new one of mail only where a test has the database."""
    if (stubs := sys.modules.get("trivet.serving.stubs")) is not None:
        stubs.outbox.clear()


@pytest.fixture
def stub_predictor() -> Iterator[Any]:
    """Call it as `override_predictor`: `stub_predictor("churn", returns=0.93)`. It holds until the test has ended."""
    from trivet.testing import override_predictor

    with ExitStack() as stack:
        yield lambda model, **options: stack.enter_context(override_predictor(model, **options))


@pytest.fixture
def prediction_outbox() -> Outbox:
    """What the test had predicted so far, in order; it begins empty."""
    from trivet.testing import outbox

    return outbox
