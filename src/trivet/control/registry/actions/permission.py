"""Whether whoever acts may: asked first in every action, and a refusal is an Event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trivet.control.registry.actions.refusals import record_refusal
from trivet.control.registry.models import REFUSAL, RegisteredModel
from trivet.control.registry.permissions import can, why_not
from trivet.core.errors import PermissionDenied

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor


def permitted(actor: Actor, *verbs: str, to: str, model: str = "", version: int | None = None) -> str:
    """Return who acts as Events name them, where they may: a user of the project needs one of `verbs`.

    An actor that is a text is taken at its word: code, or whoever holds the project's shell, and so its database. `to` is
    the action. Raises `PermissionDenied`, after an Event that says who wanted what; `NotFound` where they may not know of
    the model.
    """
    if isinstance(actor, str):
        return actor
    name = f"user:{actor.get_username()}"
    about = model or None
    refusal = None if any(can(actor, verb, about) for verb in verbs) else why_not(actor, verbs[0], about)
    if refusal is None:
        return name
    if not isinstance(refusal, PermissionDenied) and not RegisteredModel.objects.filter(name=model).exists():
        raise refusal
    after = {"action": to, "needs": verbs[0]}
    record_refusal(REFUSAL, actor=name, model=model, version=version, after=after, reason=refusal.message)
    raise refusal
