"""What the tests of the data plane share."""

from collections.abc import Iterator

import pytest

from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.world import World


@pytest.fixture(params=MOUNTS)
def on_every_mount(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test once for each mount: what its worlds are sent goes through that mount."""
    monkeypatch.setattr(World, "mount", staticmethod(MOUNTS[request.param]))
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_segment_is_left_open() -> Iterator[None]:
    """Close the segments of a test's worlds: thousands of tests are one process, and `select` knows 1,024 descriptors."""
    World.made.clear()
    yield
    while World.made:
        World.made.pop().plane.spool.close()
