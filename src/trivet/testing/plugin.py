"""Fixtures for pytest: `stub_predictor` and `prediction_outbox`. They come by themselves where pytest-django is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # Django's settings are not there yet when pytest reads this
    from trivet.serving.stubs import Outbox


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

    outbox.clear()
    return outbox
