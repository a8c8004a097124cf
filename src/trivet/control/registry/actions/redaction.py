"""What of a model's inputs the log never keeps in the clear."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trivet.control.registry.actions.change import changing
from trivet.control.registry.actions.finding import find_model
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import CHAMPION, ModelVersion, RegisteredModel
from trivet.core.errors import NotFound
from trivet.core.redaction import check_sensitive

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor


def set_sensitive(*, model: str, fields: Iterable[str], actor: Actor, reason: str = "") -> RegisteredModel:
    """Have the inputs called `fields`, and no others, hidden in the records of every version of a model from now on.

    They are held against the signature of the champion, or of the newest version. What the log has already stays. To hide
    more takes `push`, to hide less `view_inputs`.
    """
    wanted = sorted(set(fields))
    needs = "push" if set(wanted) >= set(_sensitive(model)) else "view_inputs"
    actor = permitted(actor, needs, to="set_sensitive", model=model)
    with changing() as change:
        found = find_model(change, model)
        versions = change.rows(ModelVersion).filter(model=found)
        version = versions.filter(aliases__name=CHAMPION).first() or versions.order_by("-number").first()
        if version is None:
            raise NotFound(f"{model} has no version yet.")
        before = found.sensitive or []
        new = [name for name in wanted if name not in before]
        check_sensitive(version.read_signature(), new, model)
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


def add_sensitive(*, model: str, fields: Iterable[str], actor: Actor, reason: str = "") -> None:
    """Have the inputs called `fields` hidden as well."""
    set_sensitive(model=model, fields=[*_sensitive(model), *fields], actor=actor, reason=reason)


def _sensitive(model: str) -> list[str]:
    return RegisteredModel.objects.filter(name=model).values_list("sensitive", flat=True).first() or []
