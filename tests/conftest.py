"""What every test may use."""

import os
from collections.abc import Generator
from itertools import count
from pathlib import Path

import pytest

from tests.robustness.score import Score

# Before anything is imported that computes: threads of OpenMP that wait for each other spin, and where the files beside
# and what they start need the processor too, a training of two seconds takes thirty. Every process of a test inherits it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONG = (  # rooms whose files take tens of seconds: real servers, every page, whatever trains and compiles
    "tests/acceptance",
    "tests/docs",
    "tests/living",
    "tests/parity",
    "tests/unit/compile",
    "tests/unit/sandbox",
)

_made = count()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after pytest-randomly, which shuffles
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Begin with what takes long, so that of several processes none is left with it at the end."""
    yield
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True)
def home(settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give each test a TRIVET_HOME of its own, which nobody makes before it is used: thousands of tests need none."""
    settings.TRIVET_HOME = tmp_path_factory.getbasetemp() / f"home-{next(_made)}"
    return settings.TRIVET_HOME


@pytest.fixture
def score(request: pytest.FixtureRequest) -> Score:
    """Give a test where to say what it counted of what must never happen."""
    return Score(request.node)
