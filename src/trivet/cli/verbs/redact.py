"""The verb `redact`: which inputs the log never keeps in the clear."""

from __future__ import annotations

import argparse

from trivet.cli.person import actor_of
from trivet.cli.verb import DONE, WRONG, Out
from trivet.control.registry import actions
from trivet.control.registry.models import RegisteredModel, RegistryState
from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.serving.acknowledgement import wait_for_workers


def redact(options: argparse.Namespace, out: Out) -> int:
    """Hide more inputs of a model, or fewer, and return once every worker does; without any, say which are hidden."""
    models = dict(RegisteredModel.objects.values_list("name", "sensitive"))
    if options.model not in models:
        raise NotFound(f"no model {quoted(options.model)}.{did_you_mean(options.model, models)}")
    before = models[options.model] or []
    fields = [name for name in (*before, *options.fields) if name not in options.no_longer]
    text = ""
    behind: tuple[str, ...] = ()
    if sorted(set(fields)) != before:
        actions.set_sensitive(model=options.model, fields=fields, actor=actor_of(options), reason=options.reason)
        acknowledged = wait_for_workers(RegistryState.objects.generation())
        behind = acknowledged.behind
        done = acknowledged.live - len(behind)
        text = f" · in {done} of {acknowledged.live} workers · {acknowledged.seconds:.1f} s"
    hidden = sorted(set(fields))
    names = ", ".join(hidden) or "no input"
    facts = {"model": options.model, "sensitive": hidden, "behind": list(behind)}
    out.document(facts, f"{options.model}: {names} hidden in the log{text}")
    return WRONG if behind else DONE
