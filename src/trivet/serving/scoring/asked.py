"""Asked: who is to say what of which rows, as one value that a run is begun with and gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import router
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.control.scoring.models import ScoringRun
from trivet.core.decisions import gives_score
from trivet.core.errors import InvalidRequest, Refused, quoted
from trivet.features.feature_set import FeatureSet
from trivet.features.predictor import features_of, max_age_of
from trivet.features.shape import shape_of
from trivet.serving.scoring.target import Target, check_key, find_target
from trivet.serving.stubs import in_place_of


@dataclass(frozen=True)
class Asked:
    """The rows of `rows`, and of these the stale ones alone where `only_stale`, at most `limit`, in the order of their key."""

    model: str
    version: int
    inputs: tuple[str, ...]  # names that the version knows; empty where a stub answers, which takes any
    features: type[FeatureSet]
    target: Target
    rows: Any  # a QuerySet, of which Django's stubs hide half
    only_stale: bool
    stale_before: datetime | None
    limit: int | None

    @property
    def selector(self) -> str:
        """What is predicted with: one version for the whole table, whatever is promoted meanwhile."""
        return f"{self.model}@{self.version}" if self.version else self.model

    @property
    def writes_to(self) -> str:
        """The alias of the database where the rows are written."""
        alias: str = self.rows._db or router.db_for_write(self.target.table)
        return alias

    @property
    def digest(self) -> str:
        """What is the same for two that ask the same of the same rows; when a row is stale may differ."""
        try:
            statement = self.rows.query.get_compiler(self.rows.db).as_sql()
        except EmptyResultSet:
            statement = ("", ())
        said = (
            self.model,
            self.version,
            self.features.hash,
            self.target.names,
            *statement,
            self.only_stale,
            self.limit,
        )
        return hashlib.sha256(repr(said).encode()).hexdigest()

    @property
    def wanted(self) -> Any:
        """The rows that are meant, of which the stale ones become fewer as they are written."""
        return self.rows.filter(self._is_stale()) if self.only_stale else self.rows

    def count(self) -> int:
        """Return how many rows there are to do now."""
        rows: int = self.wanted.values("pk").distinct().count()
        return rows if self.limit is None else min(rows, self.limit)

    def page(self, cursor: str, size: int) -> list[Any]:
        """Return the next keys behind `cursor`, in their order; none at the end."""
        rows = self.wanted
        if cursor:
            rows = rows.filter(pk__gt=key_of(self.target.table, cursor))
        return list(rows.order_by("pk").values_list("pk", flat=True).distinct()[:size])

    def _is_stale(self) -> Q:
        version, at = self.target.version, self.target.at
        if version is None or at is None:
            raise InvalidRequest(
                f"{self.target.label}.{self.target.value.name} is a plain column, of which nothing says what is stale: score"
                f" all rows (--all), or make it a trivet.PredictedField({quoted(self.model)})."
            )
        stale = Q(**{f"{version.name}__isnull": True}) | ~Q(**{version.name: self.version})
        if self.stale_before is not None:
            stale |= Q(**{f"{at.name}__isnull": True}) | Q(**{f"{at.name}__lt": self.stale_before})
        return stale


def asked(rows: Any, model: str, *, to: str = "", only_stale: bool = False, limit: int | None = None) -> Asked:
    """Return what is asked, found right. It asks the registry which version answers.

    Raises `NotFound`, `Refused` or `InvalidRequest` with what is missing or does not fit.
    """
    name, _, word = model.partition("@")
    _check_rows(rows)
    target = find_target(rows.model, name, to)
    features = features_of(name)
    shape_of(features).check_model(target.table)
    check_key(target.table, shape_of(features).table, f"the FeatureSet of {quoted(name)} is of")
    version = None if in_place_of(name) is not None else ModelVersion.objects.resolve(name, word or CHAMPION)
    if version is not None and not gives_score(version.read_signature()):
        raise Refused(f"{version} gives no number for a row, so there is nothing to write into {target.value.name}.")
    one = Asked(
        name,
        version.number if version else 0,
        version.read_signature().field_names if version else (),
        features,
        target,
        rows.order_by(),
        only_stale,
        _stale_before(name, target, features) if only_stale else None,
        limit,
    )
    if only_stale:
        one._is_stale()
    return one


def key_of(table: type[Model], text: str) -> Any:
    """Return the primary key that a cursor names, which is a text."""
    key: Any = table._meta.pk
    while key.is_relation:
        key = key.target_field
    return key.to_python(text)


def _check_rows(rows: Any) -> None:
    if not isinstance(rows, QuerySet):
        raise InvalidRequest(f"score takes a QuerySet, not {quoted(type(rows).__name__)}: Customer.objects.all().")
    said: Any = rows
    if said.query.is_sliced or said.query.combinator or said.query.distinct_fields or said._fields is not None:
        raise InvalidRequest(
            "score walks through the rows itself: no slice (limit=N does that), union, values or distinct by columns."
        )


def _stale_before(model: str, target: Target, features: type[FeatureSet]) -> datetime | None:
    """Return when a row that this version wrote is stale nevertheless: too old, or asked with other features than now.

    No row says with which features it was asked. The runs do: what was written until the last one with others is stale.
    """
    runs = ScoringRun.objects.into(target.label, target.value.name).filter(model=model)
    others = runs.exclude(features_hash=features.hash).values_list("seen_at", flat=True)
    age = max_age_of(model)
    return max(_moments(others[:1], timezone.now() - age if age else None), default=None)


def _moments(found: Iterable[datetime], oldest: datetime | None) -> list[datetime]:
    return [*found, *([oldest] if oldest else [])]
