"""How much the spool has to hold, so that every process that answers has a segment and none waits for another's."""

from __future__ import annotations

from trivet.dataplane.spool import SEGMENT_BYTES

SPARE_SEGMENTS = 1  # a full segment is there until it is shipped, and so is that of a process which another replaces
_MIB = 1024 * 1024


def least_spool_mb(processes: int) -> int:
    """Return the least TRIVET_SPOOL_MB with which so many `processes` write: a segment each, and one to spare."""
    return (processes + SPARE_SEGMENTS) * SEGMENT_BYTES // _MIB
