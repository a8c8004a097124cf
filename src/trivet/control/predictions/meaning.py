"""What a label may say: of a version that chooses one of its classes, of one that estimates a number."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import msgspec
from django.db.models import Q

from trivet.control.registry.models import ModelVersion
from trivet.core.decisions import in_words
from trivet.core.errors import quoted
from trivet.core.profile.labels import class_of, is_guess
from trivet.core.signature import Signature

CLASSES_NAMED = 6


class Meanings:
    """The signatures of some versions, each by its model and number, looked up in one query."""

    def __init__(self, versions: Collection[tuple[str, int]], database: str) -> None:
        """Look up `versions`; what none of them is has no signature, and may be said anything of."""
        wanted = Q()
        for model, number in set(versions):
            wanted |= Q(model__name=model, number=number)
        rows = ModelVersion.objects.using(database).filter(wanted) if wanted else ModelVersion.objects.none()
        self._signatures: dict[tuple[str, int], Signature] = {}
        for row in rows.defer("manifest").select_related("model"):
            with suppress(msgspec.ValidationError):  # of a later release
                self._signatures[row.model.name, row.number] = row.read_signature()

    def problem(self, version: tuple[str, int], value: Any) -> str:
        """Return why `value` says nothing of an answer of `version`; empty where it does."""
        signature = self._signatures.get(version)
        return problem_of(signature, value) if signature is not None else ""


def problem_of(signature: Signature, value: Any) -> str:
    """Return why `value` is nothing that a version of this signature can be right or wrong about; empty where it is."""
    if signature.task == "regression" and len(signature.outputs) == 1:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_of_several = any(side != 1 for side in signature.outputs[0].shape[1:])
        return "" if is_number or (is_of_several and isinstance(value, list)) else f"{quoted(value)} is no number."
    classes = label_classes(signature)
    meant = class_of(value, classes)
    if not classes or (meant in classes and not is_guess(value, classes)):
        return ""
    if meant in classes:
        return f"{quoted(in_words(value))} may be either of two classes: say {' or '.join(classes)}."
    named = ", ".join(classes[:CLASSES_NAMED]) + (", …" if len(classes) > CLASSES_NAMED else "")
    return f"{quoted(value)} is none of the classes: {named}."


def label_classes(signature: Signature) -> tuple[str, ...]:
    """Return the classes of which a version chooses one; none where it chooses nothing, or several at once."""
    found = {output.classes for output in signature.outputs if output.classes}
    return next(iter(found)) if signature.task == "classification" and len(found) == 1 else ()
