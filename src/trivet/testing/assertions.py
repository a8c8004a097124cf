"""Assertions: what was predicted in a test. Each fails with a list of what was asked instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.db import connections, router
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from trivet.core.signature import enumerate_names
from trivet.features.entities import entity_key_of
from trivet.features.exporting import manifest_of, read_manifest
from trivet.features.fingerprint import columns_of, differences
from trivet.features.shape import place_of, shape_of
from trivet.serving.stubs import Asked, outbox
from trivet.serving.subjects import feature_set_of, target_of

SHOWN = 10  # of what was asked, in a message


class PredictionAssertions:
    """Adds assertions to a test case. They see what stubs were asked in the running test, not what models were.

    `assertFeatureQueries` and `assertFeatureParity` are about the FeatureSet of a model's Predictor, and ask no model.
    """

    def assertPredicted(  # noqa: N802  (as unittest's)
        self, model: str, *, instance: Any = None, times: int | None = None, **features: Any
    ) -> Sequence[Asked]:
        """Fail unless `model` was asked, about `instance` and with these `features` where given; `times` times, or at least once.

        Return what was asked. `instance` is whom it was about: a saved instance or a text, as `entity_key` is.
        """
        found = _asked(model, instance, features)
        if (not found) if times is None else (len(found) != times):
            wanted = "at least once" if times is None else _times(times)
            self._fail(
                f"{model} was to be asked {wanted}{_about(model, instance, features)}, and was {_times(len(found))}"
            )
        return found

    def assertNotPredicted(self, model: str, *, instance: Any = None, **features: Any) -> None:  # noqa: N802
        """Fail if `model` was asked, about `instance` and with these `features` where given."""
        if found := _asked(model, instance, features):
            self._fail(f"{model} was not to be asked{_about(model, instance, features)}, and was {_times(len(found))}")

    def assertPredictionCount(self, count: int, model: str | None = None) -> None:  # noqa: N802
        """Fail unless `count` rows were predicted, by `model` or by all models together."""
        found = [asked for asked in outbox if model in (None, asked.model)]
        if len(found) != count:
            self._fail(f"{count} rows were to be predicted{f' by {model}' if model else ''}, and {len(found)} were")

    def assertFeatureQueries(self, model: str, count: int, *, instance: Any = None) -> None:  # noqa: N802
        """Fail unless the features of one row, `instance` or the first of the table, are read by `count` queries."""
        feature_set = feature_set_of(target_of(model), "a row")
        table = shape_of(feature_set).table
        row = QuerySet(table).first() if instance is None else instance
        if row is None:
            raise AssertionError(
                f"{model}: there is no {table.__name__} whose features could be read: create one first."
            )
        with CaptureQueriesContext(connections[row._state.db or router.db_for_read(table)]) as queries:
            feature_set.for_instance(row)
        if len(queries) != count:
            said = "".join(f"\n  {one['sql']}" for one in queries.captured_queries)
            raise AssertionError(
                f"{model}: the features of a row were to be read by {_queries(count)}, not by {len(queries)}:{said}"
            )

    def assertFeatureParity(self, model: str, export: str | Path) -> None:  # noqa: N802
        """Fail unless the features of `model` are those that the rows of `export` were made by; the file's manifest says which.

        Of the file that `trivet export features` wrote, only the manifest beside it is read: keep that with your tests.
        What is compared is how each feature is declared, not the values of rows: these do not say whose they are.
        """
        feature_set, file = feature_set_of(target_of(model), "an export"), Path(export)
        manifest = read_manifest(file)
        if manifest is None:
            raise AssertionError(
                f"{model}: there is no {manifest_of(file).name} beside {file.name}: trivet export features."
            )
        changed = differences(manifest.columns, columns_of(feature_set))
        if changed:
            raise AssertionError(
                f"{model}: {place_of(feature_set)} is another than {file.name} was exported by: {enumerate_names(changed)}."
                " Export the rows again, and train on those."
            )

    def _fail(self, message: str) -> None:
        asked = [f"  {one.model} {dict(one.features)!r} {one.entity_key}".rstrip() for one in outbox[:SHOWN]]
        more = [f"  and {len(outbox) - SHOWN} more"] if len(outbox) > SHOWN else []
        shown = "\n".join(["Asked was:", *asked, *more]) if asked else "Nothing was asked."
        raise AssertionError(f"{message}. {shown}")


def _asked(model: str, instance: Any, features: dict[str, Any]) -> list[Asked]:
    key = None if instance is None else entity_key_of(instance, model)
    return [
        one
        for one in outbox
        if one.model == model
        and key in (None, one.entity_key)
        and all(name in one.features and one.features[name] == value for name, value in features.items())
    ]


def _about(model: str, instance: Any, features: dict[str, Any]) -> str:
    parts = [f"about {entity_key_of(instance, model)}"] if instance is not None else []
    parts += [f"with {name}={value!r}" for name, value in features.items()]
    return "".join(f" {part}" for part in parts)


def _queries(number: int) -> str:
    return "1 query" if number == 1 else f"{number} queries"


def _times(number: int) -> str:
    return {0: "never", 1: "once"}.get(number, f"{number} times")
