"""Choices: lists from which somebody takes one, as a form offers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trivet.console.subject import Subject
from trivet.console.words import Text
from trivet.control.registry.models import ModelVersion

VERSIONS_OFFERED = 50


@dataclass(frozen=True)
class Choice:
    """One entry of a list to choose from."""

    value: str
    words: str
    is_chosen: bool


def versions_of(shown: Subject) -> tuple[Choice, ...]:
    """Return the newest versions of the model to choose from."""
    numbers = ModelVersion.objects.filter(model=shown.model).order_by("-number").values_list("number", flat=True)
    chosen = shown.version.number if shown.version else None
    return tuple(Choice(str(number), str(number), number == chosen) for number in numbers[:VERSIONS_OFFERED])


def choices(known: Mapping[int, Text] | Mapping[str, Text], chosen: int | str) -> tuple[Choice, ...]:
    """Return what is `known` to choose from, with the one that is chosen."""
    return tuple(Choice(str(value), str(words), value == chosen) for value, words in known.items())
