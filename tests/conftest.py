"""What every test may use."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(settings, tmp_path: Path) -> Path:
    """Give each test a TRIVET_HOME of its own."""
    settings.TRIVET_HOME = tmp_path / "home"
    return settings.TRIVET_HOME
