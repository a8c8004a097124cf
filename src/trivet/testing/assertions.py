"""Assertions: what was predicted in a test. Each fails with a list of what was asked instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trivet.serving.entities import entity_key_of
from trivet.serving.stubs import Asked, outbox

SHOWN = 10  # of what was asked, in a message


class PredictionAssertions:
    """Adds assertions to a test case. They see what stubs were asked in the running test, not what models were."""

    def assertPredicted(  # noqa: N802  (as unittest's)
        self, model: str, *, instance: Any = None, times: int | None = None, **features: Any
    ) -> Sequence[Asked]:
        """Fail unless `model` was asked, about `instance` and with these `features` where given; `times` times, or at least once.

        Return what was asked. `instance` is what was given as `entity_key`: a saved instance or a text.
        """
        found = _asked(model, instance, features)
        if (not found) if times is None else (len(found) != times):
            wanted = "at least once" if times is None else _times(times)
            self._fail(f"{model} was to be asked {wanted}{_about(instance, features)}, and was {_times(len(found))}")
        return found

    def assertNotPredicted(self, model: str, *, instance: Any = None, **features: Any) -> None:  # noqa: N802
        """Fail if `model` was asked, about `instance` and with these `features` where given."""
        if found := _asked(model, instance, features):
            self._fail(f"{model} was not to be asked{_about(instance, features)}, and was {_times(len(found))}")

    def assertPredictionCount(self, count: int, model: str | None = None) -> None:  # noqa: N802
        """Fail unless `count` rows were predicted, by `model` or by all models together."""
        found = [asked for asked in outbox if model in (None, asked.model)]
        if len(found) != count:
            self._fail(f"{count} rows were to be predicted{f' by {model}' if model else ''}, and {len(found)} were")

    def _fail(self, message: str) -> None:
        asked = [f"  {one.model} {dict(one.features)!r} {one.entity_key}".rstrip() for one in outbox[:SHOWN]]
        more = [f"  and {len(outbox) - SHOWN} more"] if len(outbox) > SHOWN else []
        shown = "\n".join(["Asked was:", *asked, *more]) if asked else "Nothing was asked."
        raise AssertionError(f"{message}. {shown}")


def _asked(model: str, instance: Any, features: dict[str, Any]) -> list[Asked]:
    key = None if instance is None else entity_key_of(instance)
    return [
        one
        for one in outbox
        if one.model == model
        and key in (None, one.entity_key)
        and all(name in one.features and one.features[name] == value for name, value in features.items())
    ]


def _about(instance: Any, features: dict[str, Any]) -> str:
    parts = [f"about {entity_key_of(instance)}"] if instance is not None else []
    parts += [f"with {name}={value!r}" for name, value in features.items()]
    return "".join(f" {part}" for part in parts)


def _times(number: int) -> str:
    return {0: "never", 1: "once"}.get(number, f"{number} times")
