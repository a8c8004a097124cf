"""Outputs: what a Predictor says that its answers are, so that code, columns and tests know what to expect of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TRUTHS = (("0", "1"), ("False", "True"), ("false", "true"))  # classes of a model that was trained on yes and no


@dataclass(frozen=True)
class Probability:
    """An answer is how probable one class is: `f.Probability("leaves")`, between 0 and 1.

    Of a model that was trained on yes and no, whose classes have no name but `0` and `1`, it is that of yes, by whatever name.
    """

    of: str

    def among(self, probabilities: Mapping[str, float]) -> float:
        """Return the probability of the class, of class → probability. Raises `LookupError` where none is meant."""
        if self.of in probabilities:
            return probabilities[self.of]
        if tuple(probabilities) in TRUTHS:
            return probabilities[tuple(probabilities)[1]]
        raise LookupError(f"it has no class {self.of!r}, but {', '.join(map(repr, probabilities))}")


@dataclass(frozen=True)
class Choice:
    """An answer is one of some classes, with the probability of each: `f.Choice(["low", "middle", "high"])`, in any order."""

    classes: Sequence[str]


@dataclass(frozen=True)
class Number:
    """An answer is a number, as of a regression: `f.Number(unit="minutes")`. The unit is for people."""

    unit: str = ""


Declared = Probability | Choice | Number
