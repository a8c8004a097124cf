"""Predictors: what a project's `ml.py` says of a model that answers under a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from trivet import conf
from trivet.control.monitoring.measures import METRICS
from trivet.control.registry.declarations import Declaration, declare
from trivet.core.errors import NotFound, Refused, did_you_mean, quoted
from trivet.features.feature_set import FeatureSet
from trivet.features.outcome import Outcome
from trivet.features.outputs import Choice, Declared, Number, Probability
from trivet.features.shape import place_of


def _age(value: Any) -> timedelta:
    if not isinstance(value, timedelta) or value <= timedelta():
        raise ValueError("a timedelta above zero")
    return value


def _answer(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Mapping) or value in ("", {}):
        raise ValueError("a number, the name of a class or a mapping of classes to probabilities")
    return value


META: Mapping[str, Callable[[Any], Any]] = {  # Any: whatever stands in the class
    "deadline_seconds": conf.optional(conf.number(0.001, 3600)),
    "max_age": conf.optional(_age),
    "name": conf.text,
    "title": conf.text,
    "test_value": _answer,
}
MONITORING: Mapping[str, Callable[[Any], Any]] = {
    "false_alarm_days": conf.optional(conf.integer(1, 10_000)),
    "tolerance": conf.optional(conf.number(0, 1)),
    "rate_tolerance": conf.optional(conf.number(0, 1)),
    "trust_tolerance": conf.optional(conf.number(0, 1)),
    "season": conf.boolean,
    "metric": conf.optional(conf.choice(*METRICS)),
    "floor": conf.optional(conf.number(-1e300, 1e300)),
    "min_segment_rows": conf.integer(1, 1_000_000_000),
}

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

predictors: list[type[Predictor]] = []  # that this process has imported


class Predictor:
    """What code says of a model: a class in the `ml.py` of an app, which is imported when Django starts.

    It is optional: a pushed model answers without one. The model is that of its name in snake case, or of `Meta.name`.
    `features` is the FeatureSet by which it is asked about a row of its model, `output` what its answers are
    (`f.Probability`, one number; `f.Choice` or `f.Number`), `outcome` finds labels, `segments` are names of inputs,
    `Meta.title` is for people, `Meta.deadline_seconds` how long `trivet.predict` of one row waits at most, `Meta.max_age` how
    old a prediction in a column may be before it is stale, and `Meta.test_value` what it answers in tests
    (`trivet.testing`). `Monitoring` may say `false_alarm_days`, `tolerance`, `rate_tolerance`, `trust_tolerance`, `season`,
    `metric`, `floor` and `min_segment_rows`.
    A name that is none of these is an error of `manage.py check` (E018), but for those that begin with an underscore.
    """

    features: ClassVar[type[FeatureSet] | None] = None
    output: ClassVar[Declared | None] = None
    outcome: ClassVar[Outcome | None] = None
    segments: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Declare it in this process, in place of an earlier one from the same place in the code."""
        super().__init_subclass__(**options)
        place = (cls.__module__, cls.__qualname__)
        predictors[:] = [one for one in predictors if (one.__module__, one.__qualname__) != place]
        predictors.append(cls)
        declare(name_of(cls), declaration_of(cls))


def name_of(predictor: type[Predictor]) -> str:
    """Return the name of the model that a Predictor is about."""
    name = inner(predictor, "Meta").get("name")
    return name if isinstance(name, str) and name else _WORDS.sub("_", predictor.__name__).lower()


def predictor_of(model: str) -> type[Predictor] | None:
    """Return the Predictor of the model of this name, the last one declared; None where there is none."""
    return next((one for one in reversed(predictors) if name_of(one) == model), None)


def test_value_of(model: str) -> Any:
    """Return what the model of this name answers in tests: a number, the name of a class or class to probability; None unsaid.

    It is `Meta.test_value`, else of a number 0, and of several classes the first.
    """
    found = predictor_of(model)
    if found is None:
        return None
    output = found.output
    first = next(iter(output.classes), None) if isinstance(output, Choice) else None
    unsaid = 0.0 if isinstance(output, Number) else first
    return _accepted(inner(found, "Meta"), META).get("test_value", unsaid)


def features_of(model: str) -> type[FeatureSet]:
    """Return what rows are asked with of which the model of this name is to say something.

    Raises `NotFound` where no Predictor is of that model, and `Refused` where it has no `features`.
    """
    found = predictor_of(model)
    if found is None:
        raise NotFound(
            f"no ml.py has a Predictor of {quoted(model)}, so nothing says what a row is asked with."
            f"{did_you_mean(model, map(name_of, predictors))} Write one, with features = a FeatureSet."
        )
    if found.features is None:
        raise Refused(
            f"{found.__module__}.{found.__qualname__} has no features, so nothing says what a row is asked"
            " with: features = a FeatureSet."
        )
    return found.features


def max_age_of(model: str) -> timedelta | None:
    """Return how old what the model of this name wrote into a column may be; None where its Predictor does not say."""
    found = predictor_of(model)
    age: timedelta | None = None if found is None else _accepted(inner(found, "Meta"), META).get("max_age")
    return age


def declaration_of(predictor: type[Predictor]) -> Declaration:
    """Return what a Predictor declares, without what is not accepted: `manage.py check` says so."""
    outcome, segments = predictor.outcome, predictor.segments
    features: Any = predictor.features  # of whatever type somebody wrote
    has_outcome = isinstance(outcome, Outcome) and isinstance(outcome.matures, timedelta)
    return Declaration(
        features=place_of(features) if is_feature_set(features) else "",
        segments=tuple(segments) if isinstance(segments, list | tuple) else (),
        probability_of=_class_of(predictor.output),
        has_outcome=has_outcome,
        matures=outcome.matures if has_outcome and outcome is not None else None,
        **_accepted(inner(predictor, "Meta"), {name: META[name] for name in ("deadline_seconds", "title")}),
        **_accepted(inner(predictor, "Monitoring"), MONITORING),
    )


def _class_of(output: Any) -> str:
    return output.of if isinstance(output, Probability) and isinstance(output.of, str) else ""


def is_feature_set(said: Any) -> bool:
    """Return whether what stands in a class as its `features` is a FeatureSet."""
    return isinstance(said, type) and issubclass(said, FeatureSet)


def inner(predictor: type[Predictor], name: str) -> dict[str, Any]:
    """Return what the inner class `name` of a Predictor says; nothing where there is none."""
    found = getattr(predictor, name, None)
    return public(found) if isinstance(found, type) else {}


def public(owner: type) -> dict[str, Any]:
    """Return the attributes of a class that it, or one it inherits from, was written with, but for private ones."""
    lines = [vars(one) for one in reversed(owner.__mro__) if one not in (object, Predictor)]
    return {name: value for line in lines for name, value in line.items() if not name.startswith("_")}


def _accepted(said: Mapping[str, Any], readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    accepted = {}
    for name, read in readers.items():
        if name in said:
            try:
                accepted[name] = read(said[name])
            except ValueError:
                continue
    return accepted
