"""The verb `redact`: which inputs the log never keeps in the clear."""

from __future__ import annotations

import argparse

from trivet.cli.person import actor_of
from trivet.cli.verb import DONE, WRONG, Out
from trivet.control.registry import actions
from trivet.control.registry.models import RegisteredModel, RegistryState
from trivet.serving.acknowledgement import wait_for_workers


def redact(options: argparse.Namespace, out: Out) -> int:
    """Hide more inputs of a model, or fewer, and return once every worker does; without any, say which are hidden."""
    hidden = RegisteredModel.objects.named(options.model).sensitive or []
    text = ""
    behind: tuple[str, ...] = ()
    if options.fields or options.no_longer:
        changed = actions.set_sensitive(
            model=options.model,
            add=options.fields,
            remove=options.no_longer,
            actor=actor_of(options),
            reason=options.reason,
        )
        hidden = changed.sensitive or []
        acknowledged = wait_for_workers(RegistryState.objects.generation())
        behind = acknowledged.behind
        done = acknowledged.live - len(behind)
        text = f" · in {done} of {acknowledged.live} workers · {acknowledged.seconds:.1f} s"
    names = ", ".join(hidden) or "no input"
    facts = {"model": options.model, "sensitive": hidden, "behind": list(behind)}
    out.document(facts, f"{options.model}: {names} hidden in the log{text}")
    return WRONG if behind else DONE
