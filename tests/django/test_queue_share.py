"""The bounds that the processes of one machine share, as each is told how many they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trivet.dataplane.plane import Plane
from trivet.serving.wiring import build_plane

pytestmark = pytest.mark.django_db


@contextmanager
def plane_of(processes: int | None) -> Iterator[Plane]:
    plane = build_plane("test-share", processes)
    try:
        yield plane
    finally:
        plane.shadows.stop()
        plane.spool.close()
        plane.meter.close()


@pytest.mark.parametrize(("processes", "share"), [(None, 50), (1, 100), (3, 34), (200, 1)])
def test_F27_as_many_requests_wait_as_the_setting_says_however_many_processes_share_them(
    settings, processes: int | None, share: int
):
    settings.TRIVET_WORKERS, settings.TRIVET_QUEUE_LENGTH = 2, 100
    with plane_of(processes) as plane:
        _, model_workers = plane.reconciler._engines
        assert plane.limits.queue_length == share
        assert model_workers._options.queue_length == share
        assert plane.limiter.shares == (processes or 2)
