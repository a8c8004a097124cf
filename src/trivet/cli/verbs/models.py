"""Verbs that read the registry: list, show."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from trivet import conf
from trivet.cli.person import person_of
from trivet.cli.verb import DONE, Out, split_version
from trivet.cli.verbs.traffic import traffic_in_words
from trivet.control.predictions.models import Prediction
from trivet.control.registry.models import CHAMPION, Event, ModelVersion, RegisteredModel
from trivet.control.registry.permissions import models_open_to
from trivet.control.registry.signing import signatures_of
from trivet.core.errors import TrivetError

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
    last = log.order_by("-made_at").values_list("made_at", flat=True).first()
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
        "requests_last_hour": log.since(timezone.now() - timedelta(hours=1)).count(),
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
