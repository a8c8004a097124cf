"""Instances of one version as one process sees them: what is held of one, and until when."""

from __future__ import annotations

from pathlib import Path

from trivet.dataplane.engines.worker.balancer import Balancer
from trivet.dataplane.engines.worker.control import Peer
from trivet.dataplane.engines.worker.runs import RunsWritten


def held(path: Path) -> int:
    """Return how many descriptors of this process are of `path`."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += descriptor.readlink() == path
        except OSError:  # the one that listed them
            continue
    return found


def test_nothing_is_held_of_an_instance_that_was_replaced_while_a_request_waited_in_vain(tmp_path: Path):
    runs = tmp_path / "1.runs"
    RunsWritten(runs)
    balancer = Balancer("0" * 64)
    balancer.follow([Peer(0, str(tmp_path / "1.sock"), str(runs), 1)])
    chosen = balancer.choose(0.0, None)
    assert chosen is not None
    balancer.follow([])
    assert held(runs) == 1, "who waits may have to know whether it was running"
    balancer.ended(*chosen, is_failure=False, is_gone=False)
    assert held(runs) == 0
