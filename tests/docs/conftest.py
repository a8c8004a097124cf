"""Where a page begins: in an empty folder, in somebody's Django project, or where the tutorial ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.reader import Reader, copy_of

TUTORIAL = "docs/tutorial/from-joblib-to-live.md"
PROJECT = "shop-models"  # what the tutorial makes
FILES = ("churn.joblib", "customers.csv")  # what it trains, and on what
IN_A_PROJECT_OF_ONES_OWN = frozenset(
    {
        "README.md",
        "docs/how-to/background-work.md",
        "docs/how-to/existing-project.md",
        "docs/how-to/features-from-the-orm.md",
        "docs/how-to/labels-from-your-tables.md",
        "docs/how-to/score-a-table.md",
        "docs/how-to/test-your-code.md",
        "docs/how-to/your-own-view.md",
    }
)


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who has followed the tutorial to its end."""
    folder = tmp_path_factory.mktemp("tutorial") / "reader"
    folder.mkdir()
    with Reader(folder) as reader:
        reader.follow(TUTORIAL)
    return folder


@pytest.fixture
def start(tutorial: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return the folder in which the reader of a page begins."""

    def begin(page: str) -> Path:
        if page not in IN_A_PROJECT_OF_ONES_OWN:
            return copy_of(tutorial, tmp_path / "reader") / PROJECT
        subprocess.run([sys.executable, "-m", "django", "startproject", "shop"], cwd=tmp_path, check=True)
        for name in FILES:
            (tmp_path / "shop" / name).write_bytes((tutorial / name).read_bytes())
        return tmp_path / "shop"

    return begin
