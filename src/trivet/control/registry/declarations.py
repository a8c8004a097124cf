"""Declarations: what a project's code says about a model, as far as what decides needs to know it.

They are not rows: they change with the code, and each process that loads the project has them. A model that nobody declares
has the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from trivet import conf


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is to be watched of a model, and when its labels are known; None stands for the setting's own default.

    `title` is for people. `deadline_seconds` is how long code waits for one row. `segments` are names of inputs. `floor` is
    the least that `metric` may be. Tolerances are shares: of a distance, of a rate, of a loss. `has_outcome` where labels are
    looked for in the project's own tables. `features` is the class that it is asked with, as code names it:
    "customers.ml.ChurnFeatures". `probability_of` is the class whose probability is the answer in the project's code; empty for
    class to probability.
    """

    title: str = ""
    deadline_seconds: float | None = None
    features: str = ""
    segments: tuple[str, ...] = ()
    probability_of: str = ""
    has_outcome: bool = False
    matures: timedelta | None = None
    false_alarm_days: int | None = None
    tolerance: float | None = None
    rate_tolerance: float | None = None
    trust_tolerance: float | None = None
    season: bool = True
    metric: str | None = None
    floor: float | None = None
    min_segment_rows: int = 200


_DEFAULT = Declaration()
_declared: dict[str, Declaration] = {}
_features: dict[str, tuple[str, ...]] = {}  # of each class with features, as code names it, their names


def declare(model: str, declaration: Declaration) -> None:
    """Let `declaration` hold of the model named `model`, in this process."""
    _declared[model] = declaration


def declared(model: str) -> Declaration:
    """Return what was declared of the model named `model`; the defaults where nothing was."""
    return _declared.get(model, _DEFAULT)


def declare_features(place: str, names: tuple[str, ...]) -> None:
    """Say which features the class has that code names `place`, in this process."""
    _features[place] = names


def declared_features() -> dict[str, tuple[str, ...]]:
    """Return the names of the features of each class that this process has."""
    return dict(_features)


def labels_mature(model: str) -> timedelta:
    """Return how late labels of the model named `model` may come: as its Outcome says, else `TRIVET_LABELS_MATURE_HOURS`."""
    matures = declared(model).matures
    return matures if matures is not None else timedelta(hours=conf.LABELS_MATURE_HOURS())


def false_alarm_days(model: str) -> int:
    """Return in how many days one false alarm about the model named `model` is expected: declared, or the setting."""
    return declared(model).false_alarm_days or conf.FALSE_ALARM_DAYS()
