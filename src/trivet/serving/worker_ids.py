"""The id of a worker. It tells where the worker's process id means something: the same number elsewhere is another process."""

from __future__ import annotations

from trivet.core.boot import process_space
from trivet.core.ids import new_prediction_id

_AT = "@"  # in no id of the release before, whose workers are nobody's neighbours


def new_worker_id(kind: str) -> str:
    """Return an id that no other worker has, of under 64 characters; it names a folder and a row."""
    return f"{kind}-{new_prediction_id()}{_AT}{process_space()}"


def shares_process_ids(worker_id: str) -> bool:
    """True where the process id of that worker means the same here: same machine, same start of it, same PID namespace."""
    space = worker_id.partition(_AT)[2]
    return space != "" and space == process_space()
