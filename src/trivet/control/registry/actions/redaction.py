"""What of a model's inputs the log never keeps in the clear."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from trivet.control.registry.actions.change import changing
from trivet.control.registry.actions.finding import bad_parameter, find_model
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import CHAMPION, ModelVersion, RegisteredModel
from trivet.core.errors import NotFound, did_you_mean, quoted
from trivet.core.redaction import check_sensitive

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor


def set_sensitive(
    *, model: str, add: Collection[str] = (), remove: Collection[str] = (), actor: Actor, reason: str = ""
) -> RegisteredModel:
    """Have the inputs called `add` hidden in the records of every version of a model from now on, and `remove` no longer.

    New ones are held against the signature of the champion, or of the newest version; `remove` against what is hidden.
    What the log has already stays. It takes `push`; to hide no longer takes `view_inputs` as well.
    """
    if remove:
        permitted(actor, "view_inputs", to="set_sensitive", model=model)
    actor = permitted(actor, "push", to="set_sensitive", model=model)
    with changing() as change:
        found = find_model(change, model)
        versions = change.rows(ModelVersion).filter(model=found)
        version = versions.filter(aliases__name=CHAMPION).first() or versions.order_by("-number").first()
        if version is None:
            raise NotFound(f"{model} has no version yet.")
        before = found.sensitive or []
        for name in remove:
            if name not in before:
                raise bad_parameter(
                    f"{model}: {quoted(name)} is not hidden.{did_you_mean(name, before)}"
                    f" Hidden: {', '.join(before) or 'no input'}."
                )
        wanted = sorted({*before, *add} - set(remove))
        check_sensitive(version.read_signature(), [name for name in wanted if name not in before], model)
        if wanted != before:
            found.sensitive = wanted or None
            found.save(update_fields=["sensitive"])
            change.record(
                "set_sensitive",
                actor=actor,
                model=model,
                before={"sensitive": before},
                after={"sensitive": wanted},
                reason=reason,
            )
        return found
