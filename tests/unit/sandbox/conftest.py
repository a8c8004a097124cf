import pytest

from tests.unit.sandbox import hostile


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    folder = tmp_path / "workplace"
    folder.mkdir()
    return hostile.working_in(folder, monkeypatch)


@pytest.fixture
def canary(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", hostile.SECRET)
    with hostile.canary_in(tmp_path) as placed:
        yield placed
