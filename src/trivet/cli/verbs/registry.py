"""Verbs that read the registry and move traffic: list, show, promote, route, rollback."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Count, Max
from django.utils import timezone

from trivet import conf
from trivet.cli.person import actor_of, person_of
from trivet.cli.verb import DONE, WRONG, Out, split_version
from trivet.control.predictions.models import Prediction
from trivet.control.registry import actions
from trivet.control.registry.comparing import unlike_champion
from trivet.control.registry.models import CHAMPION, Event, ModelVersion, RegisteredModel
from trivet.control.registry.permissions import models_open_to
from trivet.control.registry.signing import signatures_of
from trivet.core.errors import InvalidRequest, Refused, TrivetError, quoted
from trivet.serving.acknowledgement import wait_for_workers

RECENT_EVENTS = 10


def list_models(options: argparse.Namespace, out: Out) -> int:
    """List the models."""
    person = person_of(options)
    known = None if person is None else models_open_to(person)
    found = RegisteredModel.objects.prefetch_related("routes__version", "shadows__version", "aliases__version")
    models = [_overview(model) for model in (found if known is None else found.filter(name__in=known))]
    rows = [
        (
            m["name"],
            str(m["champion"] or "-"),
            f"{m['traffic'] or 'none'}{' (unloaded)' if m['unloaded'] else ''}",
            str(m["requests_last_hour"]),
            m["last_prediction"] or "never",
        )
        for m in models
    ]
    if not rows and not options.as_json:
        out.say("no models yet: `trivet push FILE --name NAME` makes the first.")
        return DONE
    out.table(models, ("MODEL", "CHAMPION", "TRAFFIC", "LAST HOUR", "LAST PREDICTION"), rows)
    return DONE


def _overview(model: RegisteredModel) -> dict[str, Any]:
    log = Prediction.objects.of_model(model.name).answers()
    recent = log.since(timezone.now() - timedelta(hours=1)).aggregate(count=Count("pk"), last=Max("made_at"))
    last = recent["last"] or log.aggregate(last=Max("made_at"))["last"]
    champion = next((alias.version.number for alias in model.aliases.all() if alias.name == CHAMPION), None)
    return {
        "name": model.name,
        "champion": champion,
        "traffic": " ".join(f"{route.version.number}={route.weight}%" for route in model.routes.all()),
        "routes": {str(route.version.number): route.weight for route in model.routes.all()},
        "shadows": {str(shadow.version.number): shadow.weight for shadow in model.shadows.all()},
        "sticky_by": model.sticky_by,
        "fallback": model.fallback or [],
        "unloaded": model.unloaded,
        "generation": model.generation,
        "requests_last_hour": recent["count"],
        "last_prediction": last.isoformat(timespec="seconds") if last else None,
    }


def show(options: argparse.Namespace, out: Out) -> int:
    """Show a model's history, or everything about one version."""
    name, word = split_version(options.model)
    model = RegisteredModel.objects.named(name)
    if word is not None:
        version = ModelVersion.objects.resolve(name, word)
        shown = {**_version(version, traffic=True), "signed_by": _signed_by(version, out)}
        out.document(shown, _sheet(shown))
        return DONE
    versions = [_version(version) for version in model.versions.order_by("number")]
    history = Event.objects.filter(model=name).order_by("-generation")
    recent = list(history[:RECENT_EVENTS])
    events = [_event(event) for event in recent]
    earlier = history.count() - len(recent)
    overview = _overview(model)
    lines = [f"{name}   champion {overview['champion'] or '-'}   traffic {traffic_in_words(overview)}", ""]
    lines += [
        f"  {v['number']:>3}  {v['status']:<10}  {v['digest'][:12]}  {v['parity'] or ''}  {v['note']}".rstrip()
        for v in versions
    ]
    lines += [
        "",
        *(_event_line(event) for event in recent),
        *([f"  and {earlier} earlier"] if earlier else []),
    ]
    out.document({**overview, "versions": versions, "events": events}, "\n".join(lines))
    return DONE


def _version(version: ModelVersion, *, traffic: bool = False) -> dict[str, Any]:
    parity = version.parity or {}
    facts: dict[str, Any] = {
        "model": version.model.name,
        "number": version.number,
        "status": version.status,
        "digest": version.digest,
        "runtime": version.runtime,
        "state": "native" if version.is_native else "compiled",
        "why_native": str(version.manifest.get("compile", {}).get("why", "")),
        "author": version.author,
        "created_at": version.created_at.isoformat(timespec="seconds"),
        "note": version.note,
        "parity": f"parity on {parity['rows']} rows, max |difference| {parity['max']:.1g}"
        if {"rows", "max"} <= parity.keys()
        else "",
        "cost_us_per_row": version.cost_us_per_row,
        "sandbox": version.sandbox,
    }
    if traffic:
        facts["traffic_percent"] = sum(version.routes.values_list("weight", flat=True))
        facts["aliases"] = sorted(version.aliases.values_list("name", flat=True))
        facts["signature"] = version.signature
    return facts


def _signed_by(version: ModelVersion, out: Out) -> str | None:
    """Return whose signatures a version has, nothing where no key is trusted here; None where it cannot be told now."""
    if not conf.TRUSTED_KEYS():
        return ""
    try:
        return ", ".join(map(str, signatures_of(version)))
    except (TrivetError, ImproperlyConfigured) as error:
        out.problem(f"who signed {version} cannot be told now: {error}")
        return None


def _sheet(facts: dict[str, Any]) -> str:
    """Return a version's facts, one a line, and its signature as a list of inputs."""
    lines = [f"{name:<16} {value}" for name, value in facts.items() if name != "signature" and value not in ("", None)]
    lines.append("inputs")
    for spec in facts["signature"]["inputs"]:
        known = spec.get("categories")
        span = (
            f"{spec['low']:g} to {spec['high']:g}"
            if "low" in spec and "high" in spec
            else f"{len(known)} known values"
            if known
            else ""
        )
        marks = "may be missing" if spec.get("nullable") else ""
        lines.append(f"  {spec['name']:<16} {spec['datatype']:<6} {span:<20} {spec.get('unit', '')} {marks}".rstrip())
    lines.append("outputs")
    for spec in facts["signature"]["outputs"]:
        lines.append(f"  {spec['name']:<16} {spec['datatype']:<6} {', '.join(spec.get('classes') or ())}".rstrip())
    return "\n".join(lines)


def _event(event: Event) -> dict[str, Any]:
    return {
        "at": event.at.isoformat(timespec="seconds"),
        "generation": event.generation,
        "action": event.action,
        "version": event.version,
        "actor": event.actor,
        "reason": event.reason,
        "before": event.before,
        "after": event.after,
    }


def _event_line(event: Event) -> str:
    what = event.action if event.version is None else f"{event.action} {event.version}"
    parts = [event.at.isoformat(timespec="seconds"), what, f"by {event.actor}", *_details(event), event.reason]
    return "".join(f"  {part}" for part in parts if part)


def _details(event: Event) -> Iterator[str]:
    """Yield what an Event says beyond its name: who was granted what, where traffic goes, who was the second person."""
    after = event.after
    if "principal" in after:
        yield f"{after['principal']} may {', '.join(after['verbs']) or 'nothing'}"
    if event.action == "set_routes":
        yield traffic_in_words(after)
    if "proposal" in after:
        yield f"proposal {after['proposal']}"
    if "approved_by" in after:
        yield f"approved by {after['approved_by']}"


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
    return _moved(event, out, inputs_differ=differ)


def rollback(options: argparse.Namespace, out: Out) -> int:
    """Go back to the champion before, and wait for the workers."""
    event = actions.roll_back(
        model=options.model,
        actor=actor_of(options),
        to=options.to,
        reason=options.reason,
        expected_generation=options.if_generation,
    )
    return _moved(event, out)


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
    acknowledged = wait_for_workers(event.generation)
    out.document(
        {
            "model": name,
            **event.after,
            "generation": event.generation,
            "workers": acknowledged.live,
            "behind": list(acknowledged.behind),
            "seconds": round(acknowledged.seconds, 3),
        },
        f"{name} {traffic_in_words(event.after)} · {acknowledged}",
    )
    return WRONG if acknowledged.behind else DONE


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


def _moved(event: Event, out: Out, **told: str) -> int:
    acknowledged = wait_for_workers(event.generation)
    out.document(
        {
            "model": event.model,
            "version": event.version,
            "generation": event.generation,
            "workers": acknowledged.live,
            "behind": list(acknowledged.behind),
            "seconds": round(acknowledged.seconds, 3),
            **told,
        },
        "\n".join([f"{event.model} {event.version} is champion · {acknowledged}", *filter(None, told.values())]),
    )
    return WRONG if acknowledged.behind else DONE
