"""What the user of `--as` has to be allowed before a verb reads anything: one table, asked in one place, by `can`.

What a verb changes is asked by its action besides. Where a verb leads to one, a refusal here is on record as that action's.
Without `--as` nobody is asked: who holds the shell holds the database.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trivet.cli.verb import split_version


@dataclass(frozen=True)
class Needed:
    """A question for `can`: whether somebody may `verb` with `model`, or with every model where it is None."""

    verb: str
    model: str | None = None
    action: str = ""  # that the verb leads to; "" where it only reads


Find = Callable[[argparse.Namespace], Needed | None]


def needed(options: argparse.Namespace) -> Needed | None:
    """Return what the verb of `options` takes before it reads anything of the registry; None where it reads nothing."""
    return _OF_VERB[options.verb](options)


def _nothing(_options: argparse.Namespace) -> None:
    return None


def _of_model(verb: str, *, action: str = "") -> Find:
    return lambda options: Needed(verb, split_version(options.model)[0], action)


def _of_registry(verb: str, *, action: str = "") -> Find:
    return lambda _options: Needed(verb, None, action)


def _by_step(**steps: Find) -> Find:
    return lambda options: steps[options.step](options)


def _verify(options: argparse.Namespace) -> Needed:
    if options.log or options.expect:
        return Needed("view_predictions")
    return Needed("view", split_version(options.model)[0] if options.model else None)


def _label(options: argparse.Namespace) -> Needed | None:
    return Needed("label", options.model, "label") if options.model else None


def _redact(options: argparse.Namespace) -> Needed:
    return Needed("view", options.model, "set_sensitive" if options.fields or options.no_longer else "")


def _prune(options: argparse.Namespace) -> Needed:
    action = "prune_bundles" if options.bundles else "prune_log" if options.log else "forget"
    return Needed("prune", None, action if options.apply else "")


def _alerts(options: argparse.Namespace) -> Needed | None:
    return Needed("view", options.about) if options.about and options.alert is None else None


def _make_environments(options: argparse.Namespace) -> Needed | None:
    return None if options.file else Needed("view")


_OF_VERB: Mapping[str, Find] = {
    "init": _nothing,
    "demo": _nothing,
    "serve": _nothing,
    "web": _nothing,
    "grpc": _nothing,
    "model-workers": _nothing,
    "webhooks": _nothing,
    "keeper": _nothing,
    "inspect": _nothing,
    "push": _nothing,  # its action asks first
    "sign": _of_model("view", action="sign_version"),
    "environments": _by_step(make=_make_environments, list=_of_registry("view"), remove=_of_registry("view")),
    "list": _nothing,  # it lists what one may see
    "show": _of_model("view"),
    "promote": _of_model("view", action="promote"),
    "route": _of_model("view", action="set_routes"),
    "approve": _nothing,  # it lists what one may see; else its action asks first
    "rollback": _of_model("view", action="roll_back"),
    "verify": _verify,
    "replay": _of_model("view_predictions"),
    "predict": _of_model("predict"),
    "score": _of_model("predict"),
    "label": _label,  # without a model it leads to predictions whose models are asked for then
    "drift": _of_model("view"),
    "report": _of_model("view"),
    "alerts": _alerts,  # without a model it lists what one may see; else its action asks first
    "export": _by_step(
        features=_nothing,  # of the project's own tables: it takes Django's permission to view them
        predictions=_of_model("view", action="export_predictions"),
    ),
    "golden": _by_step(
        add=_of_model("view", action="add_golden_case"),
        list=_of_model("view"),
        remove=_of_model("view", action="remove_golden_case"),
    ),
    "redact": _redact,
    "prune": _prune,
    "grants": _by_step(add=_nothing, list=_of_registry("manage_grants"), remove=_nothing),  # the actions ask first
    "keys": _by_step(
        create=_of_registry("manage_keys", action="issue_key"),
        limit=_of_registry("manage_keys", action="limit_key"),
        list=_of_registry("manage_keys"),
        rotate=_of_registry("manage_keys", action="rotate_key"),
        revoke=_of_registry("manage_keys", action="revoke_key"),
    ),
}
