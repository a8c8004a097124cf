"""Traffic: months of what models were asked, what they answered and what turned out true, as columns of NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from trivet.core.signature import Input, Output, Signature

PLANS = ("free", "pro", "team")
COUNTRIES = ("at", "be", "ch", "cz", "de", "dk", "ee", "es", "fi", "fr", "gr", "hu", "ie", "it", "lt", "lv", "nl", "no")
ROUTES = ("air", "rail", "road", "sea")
LABELLED = 0.7  # of what is old enough: about two thirds of all
HALF_A_DAY = 12 * 3600.0  # by which half of the labels have come
MOST_DAYS, LEAST_DAYS, ROWS_A_DAY = 120, 10, 2_000


@dataclass(frozen=True)
class Kind:
    """A model of the site: its share of the traffic, what it takes, and what it answers."""

    model: str
    share: float
    numbers: tuple[str, ...]
    words: Mapping[str, Sequence[str]]
    classes: tuple[str, ...]  # none of a regression
    segments: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        """What its versions take and give."""
        inputs = [Input(name=name, datatype="FP64", shape=(-1, 1)) for name in self.numbers]
        inputs += [Input(name=name, datatype="BYTES", shape=(-1, 1)) for name in self.words]
        if not self.classes:
            outputs = (Output(name="variable", datatype="FP32", shape=(-1, 1)),)
            return Signature(inputs=tuple(inputs), outputs=outputs, task="regression")
        shape = (-1, len(self.classes))
        outputs = (
            Output(name="label", datatype="BYTES", shape=(-1,)),
            Output(name="probabilities", datatype="FP32", shape=shape, classes=self.classes),
        )
        threshold = 0.5 if len(self.classes) == 2 else None
        return Signature(inputs=tuple(inputs), outputs=outputs, task="classification", threshold=threshold)


KINDS = (
    Kind(
        "churn",
        0.7,
        tuple(f"n{place}" for place in range(8)),
        {"plan": PLANS, "country": COUNTRIES},
        ("stays", "churned"),
        ("plan", "country"),
    ),
    Kind("price", 0.2, tuple(f"m{place}" for place in range(5)), {"kind": ("flat", "house")}, (), ("kind",)),
    Kind("route", 0.1, ("kilos", "kilometres", "litres"), {"country": COUNTRIES}, ROUTES),
)


@dataclass(frozen=True)
class Rows:
    """Rows of one model, in the order of time: moments in microseconds since 1970, everything of shape (rows,).

    `chances` are (rows, classes); of a regression its number alone, (rows, 1). `truths` are what turned out true, each
    `delays` seconds later; NaN where nobody says it.
    """

    made: np.ndarray
    inputs: Mapping[str, np.ndarray]
    chances: np.ndarray
    decisions: np.ndarray
    truths: np.ndarray
    delays: np.ndarray

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, piece: slice | np.ndarray) -> Rows:
        inputs = {name: values[piece] for name, values in self.inputs.items()}
        whole = (self.made, self.chances, self.decisions, self.truths, self.delays)
        made, *rest = (values[piece] for values in whole)
        return Rows(made, inputs, *rest)


def days_of(count: int) -> int:
    """Return over how many days a site of `count` predictions has had its traffic: months where there are enough of them."""
    return min(MOST_DAYS, max(LEAST_DAYS, count // ROWS_A_DAY))


def lived(kind: Kind, rows: int, now: datetime, days: int, seed: int) -> Rows:
    """Return `rows` rows of a model in the `days` until `now`, more each day, more by day than by night."""
    rng = np.random.default_rng(seed)
    share = np.sqrt(np.sort(rng.random(rows)))
    seconds = share * timedelta(days=days).total_seconds()
    seconds -= np.sin(seconds / 86400 * 2 * np.pi) * 86400 * 0.08
    begin = (now - timedelta(days=days)).timestamp()
    made = np.sort(((begin + np.clip(seconds, 0, days * 86400 - 1)) * 1e6).astype(np.int64))
    return _answered(kind, made, rng)


def sampled(kind: Kind, rows: int, seed: int) -> Rows:
    """Return the rows that a version is pushed with."""
    return _answered(kind, np.arange(rows), np.random.default_rng(seed))


def _answered(kind: Kind, made: np.ndarray, rng: np.random.Generator) -> Rows:
    rows = len(made)
    inputs: dict[str, np.ndarray] = {name: rng.normal(size=rows).round(4) for name in kind.numbers}
    inputs |= {name: np.array(values, object)[rng.zipf(1.6, rows) % len(values)] for name, values in kind.words.items()}
    score = inputs[kind.numbers[0]] + 0.5 * inputs[kind.numbers[1]]
    delays = rng.lognormal(np.log(HALF_A_DAY), 1.5, rows)
    if kind.classes:
        chances = _chances(score, len(kind.classes), rng)
        names = np.array(kind.classes, object)
        drawn = (rng.random((rows, 1)) > chances.cumsum(1)[:, :-1]).sum(1)
        decisions, truths = names[chances.argmax(1)], names[drawn]
    else:
        chances = (100 + 20 * score)[:, np.newaxis].astype(np.float32)
        decisions = np.full(rows, "", object)
        truths = (chances[:, 0] + rng.normal(0, 5, rows)).round(3).astype(object)
    truths[rng.random(rows) > LABELLED] = None
    return Rows(made, inputs, chances, decisions, truths, delays)


def _chances(score: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    margins = score[:, np.newaxis] * np.linspace(-1, 1, classes) + 0.3 * rng.normal(size=(len(score), classes))
    powers = np.exp(margins)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def tensors(kind: Kind, rows: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was asked and answered, flat by tensor."""
    outputs = {"label": rows.decisions.tolist(), "probabilities": rows.chances.ravel().tolist()}
    if not kind.classes:
        outputs = {"variable": rows.chances.ravel().tolist()}
    return {name: values.tolist() for name, values in rows.inputs.items()}, outputs
