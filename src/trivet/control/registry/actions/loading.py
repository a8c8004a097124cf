"""What is loaded apart from what traffic needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.finding import find_model, find_ready_version, find_version
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.actions.signing import check_signed
from trivet.control.registry.models import Alias, Event, ModelVersion, RegisteredModel, Route
from trivet.core.errors import Conflict

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor


def load(*, model: str, version: int | None = None, actor: Actor, reason: str = "") -> int:
    """Have a ready version loaded that has no traffic; without `version`, all that the model's traffic and aliases need.

    Returns the generation that workers acknowledge; where nothing would change it is the present one.
    """
    actor = permitted(actor, "promote", to="load", model=model, version=version)
    check_signed(model, [version])
    with changing() as change:
        found = find_model(change, model)
        if version is None:
            return _set_unloaded(change, found, unloaded=False, actor=actor, reason=reason)
        target = find_ready_version(change, found, version)
        if not found.unloaded and _has_traffic(change, target):
            return change.generation - 1
        return _set_keep_loaded(change, target, keep=True, actor=actor, reason=reason)


def unload(*, model: str, version: int | None = None, actor: Actor, reason: str = "") -> int:
    """Have a version unloaded; without `version` the whole model, which then answers 503 until `load`. Its routes stay.

    Returns the generation that workers acknowledge. `Conflict` is raised for a version that has traffic or an alias.
    """
    actor = permitted(actor, "promote", to="unload", model=model, version=version)
    with changing() as change:
        found = find_model(change, model)
        if version is None:
            return _set_unloaded(change, found, unloaded=True, actor=actor, reason=reason)
        target = find_version(change, found, version)
        if _has_traffic(change, target):
            raise Conflict(f"{target} has traffic or an alias; move that first, or unload the model.")
        return _set_keep_loaded(change, target, keep=False, actor=actor, reason=reason)


def give_up_inline(*, digest: str, at: float, actor: str, reason: str) -> int:
    """Tell that the versions of a bundle run in model workers on a machine from now on; workers look at them anew.

    `at` is when that machine gave it up, in seconds since 1970: an Event that tells of it is not written again. Called by
    the keeper. Returns how many Events were written.
    """
    with changing() as change:
        written = 0
        for version in change.rows(ModelVersion).filter(digest=digest).select_related("model"):
            told = change.rows(Event).filter(action="give_up_inline", model=version.model.name, version=version.number)
            if at in (event.after.get("at") for event in told):
                continue
            after = {"runs_in": "model workers", "at": at}
            one = replace(change, generation=change.generation + written)
            one.record(
                "give_up_inline",
                actor=actor,
                model=version.model.name,
                version=version.number,
                after=after,
                reason=reason,
            )
            written += 1
        return written


def _has_traffic(change: Change, version: ModelVersion) -> bool:
    """True for what the model's traffic needs: a version with a share, an alias, or a place among those that stand in."""
    shares = (change.rows(table).filter(version=version).exists() for table in (Route, Alias))
    return any(shares) or version.number in (version.model.fallback or ())


def _set_keep_loaded(change: Change, version: ModelVersion, *, keep: bool, actor: str, reason: str) -> int:
    if version.keep_loaded is keep:
        return change.generation - 1
    before, after = {"keep_loaded": version.keep_loaded}, {"keep_loaded": keep}
    version.keep_loaded = keep
    version.save(update_fields=["keep_loaded"])
    name, action = version.model.name, "load" if keep else "unload"
    change.record(action, actor=actor, model=name, version=version.number, before=before, after=after, reason=reason)
    return change.generation


def _set_unloaded(change: Change, model: RegisteredModel, *, unloaded: bool, actor: str, reason: str) -> int:
    kept = change.rows(ModelVersion).filter(model=model, keep_loaded=True)
    if model.unloaded is unloaded and not (unloaded and kept.exists()):
        return change.generation - 1
    before, after = {"unloaded": model.unloaded}, {"unloaded": unloaded}
    model.unloaded = unloaded
    model.save(update_fields=["unloaded"])
    if unloaded:
        kept.update(keep_loaded=None)
    action = "unload" if unloaded else "load"
    change.record(action, actor=actor, model=model.name, before=before, after=after, reason=reason)
    return change.generation
