"""The environment of a process that runs models: what finds the code and the place, and no secrets."""

from __future__ import annotations

import os
from pathlib import Path

KEPT = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NO_PROCESSES = {"JOBLIB_MULTIPROCESSING": "0"}  # it may start none: `n_jobs` are done one after another
NO_TRACES = {"PYTHONDONTWRITEBYTECODE": "1"}


def lean_environment() -> dict[str, str]:
    """Return the variables a process gets that runs a model: one thread for each library, nothing of ours but the code."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | ONE_THREAD | NO_PROCESSES | NO_TRACES


def code_places() -> list[Path]:
    """Return the folders that PYTHONPATH names: there is code that a model may need, besides what is installed."""
    return [Path(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
