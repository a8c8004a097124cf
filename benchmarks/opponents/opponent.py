"""What is known of an opponent, and the two bodies that most of them read."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import benchmarks

SERVERS = Path(__file__).parent / "servers"
WORKERS = 2


@dataclass(frozen=True)
class Known:
    """One model of the comparison: the rows that are asked, and scikit-learn's answers to them."""

    name: str
    columns: list[str]  # empty where the model takes a matrix
    rows: list[list[Any]]
    probabilities: list[list[float]]

    @classmethod
    def read(cls, folder: Path, name: str) -> Known:
        """Return what `benchmarks/models.py` wrote of the model `name` into `folder`."""
        return cls(name, **json.loads((folder / f"{name}.json").read_text()))


class Moments(NamedTuple):
    """When a worker was where on the way to the first answer, in seconds since the server was started."""

    started: float
    imported: float
    ready: float


@dataclass(frozen=True)
class Question:
    """One request: where it goes and what it says."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Opponent(ABC):
    """One way of serving the models over HTTP, with two workers where it has workers."""

    name: ClassVar[str]
    requirements: ClassVar[tuple[str, ...]] = ()  # its own environment; empty: the one this runs in
    interpreter: ClassVar[str] = "3.11"  # which Python its environment is made with
    is_per_model: ClassVar[bool] = False  # True: one server serves one model, the one in BENCH_MODEL

    is_limit: ClassVar[bool] = False  # True: it answers nothing that could be checked

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of the trained models

    @abstractmethod
    def command(self, python: str, port: int) -> list[str]:
        """Return how its server is started."""

    @abstractmethod
    def question(self, known: Known, rows: int) -> Question:
        """Return the request for the first `rows` rows."""

    @abstractmethod
    def probabilities(self, answer: Any, rows: int) -> list[list[float]]:
        """Return the probabilities in a decoded answer, one list per row."""

    @property
    def cwd(self) -> Path:
        """Where its server is started."""
        return self.folder

    def environment(self, model: str) -> dict[str, str]:
        """Return what its server finds in its environment."""
        home = str(Path(benchmarks.__file__).parent.parent)
        return {"BENCH_FOLDER": str(self.folder), "BENCH_MODEL": model, "PYTHONPATH": home}

    def moments(self, log: str, began: datetime) -> Moments | None:  # noqa: ARG002  (most tell nothing)
        """Return what the log of a server that was started at `began` tells of its first worker, None where nothing."""
        return None

    def prepare(self) -> None:  # noqa: B027  (most need nothing)
        """Write what its server needs beside the models."""


def plain_question(known: Known, rows: int) -> Question:
    """Return the request that the hand-written views and thin servers read: a list of rows."""
    return Question(f"/{known.name}", json.dumps({"rows": known.rows[:rows]}).encode())


def tensors(known: Known, rows: int, *, as_strings: str = "BYTES") -> list[dict[str, Any]]:
    """Return the rows as Open Inference Protocol tensors: a matrix, or one per column."""
    asked = known.rows[:rows]
    if not known.columns:
        width = len(asked[0])
        return [{"name": "X", "shape": [rows, width], "datatype": "FP64", "data": [v for row in asked for v in row]}]
    return [
        {
            "name": column,
            "shape": [rows, 1],
            "datatype": as_strings if isinstance(asked[0][place], str) else "FP64",
            "data": [row[place] for row in asked],
        }
        for place, column in enumerate(known.columns)
    ]


def rows_of(flat: list[float], rows: int) -> list[list[float]]:
    """Return a row-major tensor as one list per row."""
    width = len(flat) // rows
    return [flat[start : start + width] for start in range(0, len(flat), width)]
