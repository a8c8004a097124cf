"""What every test may use."""

from itertools import count
from pathlib import Path

import pytest

from tests.robustness.score import Score

_made = count()


@pytest.fixture(autouse=True)
def home(settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give each test a TRIVET_HOME of its own, which nobody makes before it is used: thousands of tests need none."""
    settings.TRIVET_HOME = tmp_path_factory.getbasetemp() / f"home-{next(_made)}"
    return settings.TRIVET_HOME


@pytest.fixture
def score(request: pytest.FixtureRequest) -> Score:
    """Give a test where to say what it counted of what must never happen."""
    return Score(request.node)
