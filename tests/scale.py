"""How much of a thing a test does: little in `make test`, all of it in `make robustness` and `make faults`."""

from __future__ import annotations

import os

SCALES = ("test", "ci", "full", "long")  # `make test`; `make robustness SCALE=ci`; `make robustness`; SCALE=long
SCALE = os.environ.get("SCALE", SCALES[0])
if SCALE not in SCALES:
    raise ValueError(f"SCALE is one of {', '.join(SCALES)}, not {SCALE!r}.")


def scaled(*, test: int, ci: int, full: int, long: int | None = None) -> int:
    """Return the count of the scale that is asked for; `long` is `full` where nothing else is said."""
    return {"test": test, "ci": ci, "full": full, "long": full if long is None else long}[SCALE]
