"""How traffic is handled, apart from who has it: shadows, what is sticky, who stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from trivet.control.registry.actions.change import Change
from trivet.control.registry.actions.finding import bad_parameter, find_ready_version
from trivet.control.registry.models import Alias, ModelVersion, RegisteredModel, Route, Shadow
from trivet.core.constants import constant_arrays
from trivet.core.errors import InvalidRequest, NotFound, Refused, did_you_mean, quoted

ALL_TRAFFIC = 100  # percent
MAX_FALLBACK = 8  # steps of a fallback chain: each takes time that the deadline has to leave

FallbackStep = int | str | Mapping[str, Any]  # a version's number, an alias, or a constant


@dataclass(frozen=True)
class Manner:
    """How traffic is handled, apart from who has it; None: as it was."""

    shadows: Mapping[int, int] | None = None
    sticky_by: str | None = None
    fallback: Sequence[FallbackStep] | None = None


AS_IT_WAS = Manner()


def write_manner(change: Change, model: RegisteredModel, manner: Manner) -> None:
    """Write what `manner` says of how traffic is handled, and nothing else."""
    shadows = change.rows(Shadow).filter(model=model)
    if manner.shadows is not None:
        weights = {number: weight for number, weight in manner.shadows.items() if weight != 0}
        if not all(isinstance(weight, int) and 1 <= weight <= ALL_TRAFFIC for weight in weights.values()):
            raise bad_parameter("a shadow's share is a whole number of percent, 0 to 100, without %.")
        versions = {number: find_ready_version(change, model, number) for number in weights}
        for route in routes_of(change, model):
            if route.version.number in weights:
                raise bad_parameter(f"{route.version} has traffic; only a version without any can be a shadow.")
        shadows.delete()
        shadows.bulk_create(
            Shadow(model=model, version=versions[number], weight=weight) for number, weight in sorted(weights.items())
        )
    shadows.filter(version__in=change.rows(Route).filter(model=model).values("version")).delete()
    if manner.sticky_by is not None:
        model.sticky_by = manner.sticky_by
    if manner.fallback is not None:
        model.fallback = [_checked_step(change, model, step) for step in manner.fallback] or None


def _checked_step(change: Change, model: RegisteredModel, step: FallbackStep) -> int | str | dict[str, Any]:
    if isinstance(step, Mapping):
        return dict(step)
    if isinstance(step, str):
        aliases = dict(change.rows(Alias).filter(model=model).values_list("name", "version__number"))
        if step not in aliases:
            raise NotFound(f"{model.name} has no alias {quoted(step)}.{did_you_mean(step, aliases)}")
        return step
    return find_ready_version(change, model, step).number


def check_manner(change: Change, model: RegisteredModel, manner: Manner) -> None:
    """Hold what is sticky, and the constant of the chain, against the versions that have traffic."""
    routed = [route.version for route in routes_of(change, model)]
    if not routed and (manner.shadows or manner.sticky_by or manner.fallback):
        raise Refused(f"{model.name} has no routes yet: promote a version first.")
    if model.sticky_by and (len(routed) > 1 or manner.sticky_by):
        for version in routed:
            inputs = [spec.name for spec in version.read_signature().inputs if len(spec.field_names) == 1]
            if model.sticky_by not in inputs:
                raise bad_parameter(
                    f"{version} has no input {quoted(model.sticky_by)} of one value a row to be sticky by."
                    f"{did_you_mean(model.sticky_by, inputs)} Name another, or none."
                )
    chain = model.fallback or []
    if len(chain) > MAX_FALLBACK:
        raise bad_parameter(f"a fallback chain has at most {MAX_FALLBACK} steps, not {len(chain)}.")
    for place, step in enumerate(chain):
        if isinstance(step, dict):
            if place != len(chain) - 1:
                raise bad_parameter("a constant ends a fallback chain: what comes after it would never be asked.")
            for version in routed:
                _check_constant(version, step)


def _check_constant(version: ModelVersion, constant: dict[str, Any]) -> None:
    try:
        constant_arrays(version.read_signature(), constant)
    except InvalidRequest as error:
        raise bad_parameter(f"{version}: {error.message} Give the fallback chain anew, or none.") from None


def routes_of(change: Change, model: RegisteredModel) -> QuerySet[Route]:
    """Return the model's routes in the order of their versions."""
    return change.rows(Route).filter(model=model).order_by("version__number").select_related("version__model")
