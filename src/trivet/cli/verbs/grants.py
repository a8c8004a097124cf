"""The verb `grants`: what users and groups may do with one model."""

from __future__ import annotations

import argparse
from typing import Any

from trivet.cli.person import actor_of
from trivet.cli.verb import DONE, Out
from trivet.control.registry import actions
from trivet.control.registry.models import Grant


def grants(options: argparse.Namespace, out: Out) -> int:
    """Give, list or take grants."""
    step = {"add": _add, "list": _list, "remove": _remove}[options.step]
    return step(options, out)


def _add(options: argparse.Namespace, out: Out) -> int:
    facts, lines = [], []
    for model in options.models:
        row = actions.grant(
            to=options.who, model=model, verbs=options.verbs, actor=actor_of(options), reason=options.reason
        )
        facts.append(_facts(row))
        lines.append(f"{options.who} may with {model}: {', '.join(row.verbs)}")
    out.document(facts, "\n".join(lines))
    return DONE


def _list(options: argparse.Namespace, out: Out) -> int:
    rows = list(Grant.objects.select_related("model", "user", "group").order_by("model__name", "pk"))
    if not rows and not options.as_json:
        out.say("no grants yet: `trivet grants add user:NAME --model M --verb V` makes the first.")
        return DONE
    table = [(row.model.name, row.principal, ", ".join(row.verbs)) for row in rows]
    out.table([_facts(row) for row in rows], ("MODEL", "WHO", "MAY"), table)
    return DONE


def _remove(options: argparse.Namespace, out: Out) -> int:
    facts, lines = [], []
    for model in options.models:
        left = actions.revoke_grant(
            of=options.who, model=model, verbs=options.verbs, actor=actor_of(options), reason=options.reason
        )
        facts.append({"model": model, "principal": options.who, "verbs": left})
        lines.append(f"{options.who} may with {model} by grant: {', '.join(left) or 'nothing'}")
    out.document(facts, "\n".join(lines))
    return DONE


def _facts(row: Grant) -> dict[str, Any]:
    return {"model": row.model.name, "principal": row.principal, "verbs": row.verbs}
