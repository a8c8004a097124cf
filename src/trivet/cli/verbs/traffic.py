"""Verbs that move traffic: promote, rollback, route."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trivet.cli.person import actor_of
from trivet.cli.verb import DONE, WRONG, Out, split_version
from trivet.control.registry import actions
from trivet.control.registry.comparing import unlike_champion
from trivet.control.registry.models import Event, ModelVersion, RegisteredModel
from trivet.core.errors import InvalidRequest, Refused, quoted
from trivet.serving.acknowledgement import wait_for_workers


def promote(options: argparse.Namespace, out: Out) -> int:
    """Make a version champion, and wait for the workers."""
    name, word = split_version(options.model)
    if word is None:
        raise Refused(f"which version of {quoted(name)}? Give it as {name}@NUMBER or {name}@challenger.")
    version = ModelVersion.objects.resolve(name, word)
    differ = unlike_champion(version)
    event = actions.promote(
        model=name,
        version=version.number,
        actor=actor_of(options),
        reason=options.reason,
        expected_generation=options.if_generation,
    )
    facts = {"version": event.version, "inputs_differ": differ}
    return tell_once_live(event, out, facts, f"{name} {event.version} is champion", more=differ)


def rollback(options: argparse.Namespace, out: Out) -> int:
    """Go back to the champion before, and wait for the workers."""
    event = actions.roll_back(
        model=options.model,
        actor=actor_of(options),
        to=options.to,
        reason=options.reason,
        expected_generation=options.if_generation,
    )
    facts = {"version": event.version}
    return tell_once_live(event, out, facts, f"{event.model} {event.version} is champion")


def route(options: argparse.Namespace, out: Out) -> int:
    """Share a model's traffic between versions, say how it is handled, and wait for the workers."""
    name = options.model
    RegisteredModel.objects.named(name)  # raises where there is none
    steps = options.fallback
    event = actions.set_routes(
        model=name,
        routes=_shares(name, options.shares) if options.shares else None,
        shadows=None if options.shadows is None else _shares(name, options.shadows, default=100),
        sticky_by=options.sticky_by,
        fallback=None if steps is None else [_step(step) for step in steps],
        actor=actor_of(options),
        reason=options.reason,
        expected_generation=options.if_generation,
    )
    return tell_once_live(event, out, event.after, f"{name} {traffic_in_words(event.after)}")


def _shares(model: str, words: Sequence[str], default: int | None = None) -> dict[int, int]:
    """Return `{number: percent}` of words such as `3=90`, where the version may be an alias."""
    shares: dict[int, int] = {}
    for word in words:
        version, equals, percent = word.partition("=")
        if not (percent.isascii() and percent.isdigit()) and (equals or default is None):
            sentence = f"{quoted(word)} is no share: give VERSION=PERCENT in whole numbers, without %, as in 3=90."
            raise InvalidRequest(sentence, code="BAD_PARAMETER")
        number = ModelVersion.objects.resolve(model, version).number
        if number in shares:
            raise InvalidRequest(f"version {number} is given two shares.", code="BAD_PARAMETER")
        shares[number] = int(percent) if percent else default or 0
    return shares


def _step(word: str) -> actions.FallbackStep:
    if word.lstrip().startswith("{"):
        try:
            constant: dict[str, Any] = msgspec.json.decode(word, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"the constant is not JSON: {error}.", code="BAD_PARAMETER") from None
        return constant
    return int(word) if word.isascii() and word.isdigit() else word


def traffic_in_words(traffic: Mapping[str, Any]) -> str:
    """Return where traffic goes and how, as an Event or `show` tells it."""
    parts = [" ".join(f"{number}={weight}%" for number, weight in traffic["routes"].items()) or "none"]
    parts += [f"shadow {number}={weight}%" for number, weight in traffic.get("shadows", {}).items()]
    if traffic.get("sticky_by"):
        parts.append(f"sticky by {traffic['sticky_by']}")
    if traffic.get("fallback"):
        steps = ("constant" if isinstance(step, dict) else str(step) for step in traffic["fallback"])
        parts.append(f"fallback {', '.join(steps)}")
    if traffic.get("unloaded"):
        parts.append("unloaded: it answers 503")
    return " · ".join(parts)


def tell_once_live(event: Event, out: Out, facts: Mapping[str, Any], words: str, *, more: str = "") -> int:
    """Wait for the workers; tell what moved, how many of them follow, and `more` on a line of its own."""
    acknowledged = wait_for_workers(event.generation, event.model)
    out.document(
        {
            "model": event.model,
            **facts,
            "generation": event.generation,
            "workers": acknowledged.live,
            "behind": list(acknowledged.behind),
            "seconds": round(acknowledged.seconds, 3),
        },
        "\n".join(filter(None, (f"{words} · {acknowledged}", more))),
    )
    return WRONG if acknowledged.behind else DONE
