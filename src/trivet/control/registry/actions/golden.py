"""Golden cases: what any version of a model has to answer to one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from django.db.models import Max
from django.utils import timezone

from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.actions.finding import bad_parameter, find_model
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import CHAMPION, GoldenCaseRow, ModelVersion, RegisteredModel
from trivet.core.errors import NotFound, quoted
from trivet.model.bundle.golden import MOST_CASES, GoldenCase, check_case

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor


def add_golden_case(
    *, model: str, inputs: dict[str, Any], expect: dict[str, Any], actor: Actor, note: str = ""
) -> GoldenCaseRow:
    """Keep a golden case with the model: from now on no version that fails it is given traffic.

    `inputs` is one row by its fields' names; `expect` holds `class`, `between`, `same_as` or `not_below`, and `of`
    (`trivet.model.bundle.golden`). Both are held against the champion's signature, or the newest version's. The Event has
    the case's number and expectation, not its inputs. Raises `InvalidRequest` for a case that could not be asked.
    """
    actor = permitted(actor, "push", "promote", to="add_golden_case", model=model)
    case = _read(inputs, expect)
    with changing() as change:
        found = find_model(change, model)
        check_case(case, _asked(change, found).read_signature())
        rows = change.rows(GoldenCaseRow).filter(model=found)
        if rows.filter(removed_at__isnull=True).count() >= MOST_CASES:
            raise bad_parameter(f"{model} has {MOST_CASES} golden cases, which are as many as are replayed.")
        last = rows.aggregate(last=Max("number"))["last"] or 0
        plain = msgspec.to_builtins(case)
        row = rows.create(
            model=found, number=last + 1, inputs=plain["inputs"], expect=plain["expect"], note=note, author=actor
        )
        after = {"case": row.number, "expect": row.expect}
        change.record("add_golden_case", actor=actor, model=model, after=after, reason=note)
        return row


def remove_golden_case(*, model: str, number: int, actor: Actor, reason: str = "") -> GoldenCaseRow:
    """Take a golden case away: versions need not pass it any more. It stays on record, with its number."""
    actor = permitted(actor, "promote", to="remove_golden_case", model=model)
    with changing() as change:
        found = find_model(change, model)
        row = change.rows(GoldenCaseRow).filter(model=found, number=number, removed_at__isnull=True).first()
        if row is None:
            raise NotFound(f"{model} has no golden case {quoted(number)}.")
        row.removed_at = timezone.now()
        row.save(update_fields=["removed_at"])
        before = {"case": number, "expect": row.expect}
        change.record("remove_golden_case", actor=actor, model=model, before=before, reason=reason)
        return row


def _read(inputs: dict[str, Any], expect: dict[str, Any]) -> GoldenCase:
    try:
        return msgspec.convert({"inputs": inputs, "expect": expect}, GoldenCase)
    except msgspec.ValidationError as error:
        raise bad_parameter(f"this is no golden case: {error}.") from None


def _asked(change: Change, model: RegisteredModel) -> ModelVersion:
    """Return the version whose fields a case may name."""
    versions = change.rows(ModelVersion).filter(model=model)
    found = versions.filter(aliases__name=CHAMPION).first() or versions.order_by("-number").first()
    if found is None:
        raise NotFound(f"{model.name} has no version yet.")
    return found
