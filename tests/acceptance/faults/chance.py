"""Chance whose seed is printed, so that a run can be had again."""

from __future__ import annotations

import os
import random


def seeded_chance() -> random.Random:
    """Return a source of chance whose seed is printed, and may be given again in FAULT_SEED."""
    seed = int(os.environ.get("FAULT_SEED", random.randrange(2**32)))
    print(f"FAULT_SEED={seed}")
    return random.Random(seed)
