"""What the tests of the data plane share."""

import pytest

from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.world import World


@pytest.fixture(params=MOUNTS)
def on_every_mount(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test once for each mount: what its worlds are sent goes through that mount."""
    monkeypatch.setattr(World, "mount", staticmethod(MOUNTS[request.param]))
    return str(request.param)
