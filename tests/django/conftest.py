"""What holds for every test with a database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trivet.serving import process


@pytest.fixture(autouse=True, scope="module")
def _leaves_no_process() -> Iterator[None]:
    """Fail a module that leaves a process which follows the registry: its keeper would meddle with all tests after it."""
    yield
    assert process._process is None, "a test asked for a prediction here, and did not stop the process that this began"
