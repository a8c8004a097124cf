"""A model whose rows are told apart by columns, and days of its traffic with what turned out true of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np

from tests.django.watched import watched_version
from tests.django.worlds import record, turned_out
from trivet.control.monitoring.folding import Folding
from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.predictions.labelling import say
from trivet.control.predictions.shipping import ship
from trivet.control.registry.declarations import Declaration, declare
from trivet.control.registry.models import ModelVersion
from trivet.core.records import PredictionRecord, SaidLabel

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = 3600 * 10**9


@contextmanager
def declared_segments(*names: str, model: str = "churn", rows: int = 200) -> Iterator[None]:
    """Let the code declare that the rows of a model are told apart by `names`."""
    declare(model, Declaration(segments=names, min_segment_rows=rows))
    try:
        yield
    finally:
        declare(model, Declaration())


def customers(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return customers of two plans: a chance that falls with the age, and says of `free` what it means, of `pro` too much."""
    rng = np.random.default_rng(seed)
    ages, plans = rng.integers(18, 78, rows).astype(float), np.where(rng.random(rows) < 0.4, "free", "pro")
    chances = np.clip(1 - ages / 100 + np.where(plans == "pro", 0.15, -0.15), 0.01, 0.99)
    truths = rng.random(rows) < np.where(plans == "pro", chances - 0.15, chances)
    return {"age": ages, "plan": plans, "chance": chances, "truth": truths}


def segmented_version() -> ModelVersion:
    """Return a ready version whose reference has such customers."""
    given = customers(2000, 7)
    return watched_version(
        rows=(
            {"age": given["age"].tolist(), "plan": given["plan"].tolist()},
            {"label": words(given["chance"]), "probabilities": probabilities(given["chance"])},
        ),
        labels=given["truth"].tolist(),
    )


def words(chances: np.ndarray) -> list[str]:
    return ["churned" if chance >= 0.5 else "stays" for chance in chances]


def probabilities(chances: np.ndarray) -> list[float]:
    return np.stack([1 - chances, chances], axis=1).ravel().tolist()


def ask(
    version: ModelVersion, given: dict[str, np.ndarray], made_at: datetime, *, shard: str = "here", **changes
) -> PredictionRecord:
    """Have customers answered."""
    answer = record(
        version,
        len(given["age"]),
        made_at=int(made_at.timestamp()) * 10**9,
        inputs=[given["age"].tolist(), given["plan"].tolist()],
        outputs=[words(given["chance"]), probabilities(given["chance"])],
        **changes,
    )
    ship([answer], beside=Folding(shard))
    return answer


def tell(answer: PredictionRecord, truths: dict[int, object], *, late_hours: int = 1, shard: str = "here") -> None:
    """Say what turned out true of some rows of an answer."""
    at = answer.made_at + late_hours * HOUR
    labels = [SaidLabel(turned_out(value), answer.id, row, observed_at=at) for row, value in truths.items()]
    say(labels, actor="cli:ana", beside=LabelFolding(shard))


def lived_day(version: ModelVersion, number: int, rows: int, *, labelled: float = 1.0) -> dict[str, np.ndarray]:
    """Have a day's customers answered, and what turned out true said of a share of them."""
    given = customers(rows, number)
    answer = ask(version, given, START + timedelta(days=number))
    tell(answer, {row: bool(given["truth"][row]) for row in range(int(rows * labelled))})
    return given
