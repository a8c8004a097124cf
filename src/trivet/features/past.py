"""The past: features of rows as of moments that are over, as far as the database knows them, and no further."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError

from trivet.core.errors import quoted
from trivet.core.signature import enumerate_names
from trivet.features.aggregates import Related, known_relation
from trivet.features.columns import DaysSince, Part
from trivet.features.entities import prefix_of
from trivet.features.feature import Feature
from trivet.features.reading import Reading, RefusedRow
from trivet.features.rows import key_of
from trivet.features.shape import Declared, Shape, shape_of
from trivet.features.source import LARGEST_KEY

GONE = "what it was about is not there any more"
NOT_OF_TABLE = "it is about no row of the FeatureSet's table"


class Past:
    """Some features of a FeatureSet, of rows as they were at some moments."""

    def __init__(self, feature_set: Declared, names: Sequence[str]) -> None:
        """Raises `ImproperlyConfigured` where something is wrong with the FeatureSet."""
        whole = shape_of(feature_set)
        self.why_not = _why_not(whole, names)
        features = {name: whole.features[name] for name in names if not self.why_not}
        self._shape = replace(whole, features=features, kinds={name: whole.kinds[name] for name in features})
        self._maker = type(whole.name, (), {})  # of these features alone: statements are kept with the class
        self._prefix = prefix_of(whole.table)

    def of(self, asked: Iterable[tuple[str, datetime]]) -> list[Mapping[str, Any] | str]:
        """Return for each entity key and moment the features by name, or in words why there are none. A query a moment."""
        wanted = list(asked)
        if self.why_not:
            return [self.why_not] * len(wanted)
        keys = [self._key(entity_key) for entity_key, _ in wanted]
        at: dict[datetime, dict[Any, None]] = defaultdict(dict)
        for key, (_, moment) in zip(keys, wanted, strict=True):
            if key is not None:
                at[moment][key] = None
        found: dict[tuple[Any, datetime], Mapping[str, Any] | str] = {}
        for moment, some in at.items():
            for row in Reading(self._shape, moment, self._maker).of_each_key(list(some), None):
                said = "a feature refuses its value" if isinstance(row, RefusedRow) else row.values
                found[row.key, moment] = said
        return [
            NOT_OF_TABLE if key is None else found.get((key, moment), GONE)
            for key, (_, moment) in zip(keys, wanted, strict=True)
        ]

    def _key(self, entity_key: str) -> Any:
        """Return the primary key that an entity key has; None where it is no key of the table as that is written."""
        if not entity_key.startswith(self._prefix):
            return None
        text = entity_key.removeprefix(self._prefix)
        try:
            key = _end_of(key_of(self._shape)).to_python(text)
        except ValidationError:
            return None
        if isinstance(key, int) and abs(key) > LARGEST_KEY:
            return None
        return key if str(key) == text else None


def _end_of(field: Any) -> Any:
    while field.remote_field:
        field = field.target_field
    return field


def _why_not(shape: Shape, names: Sequence[str]) -> str:
    """Return why the database does not know some features as of an earlier moment, in words; "" where it knows them all."""
    unknown = [name for name in names if name not in shape.features]
    if unknown:
        return f"{shape.name} has no {enumerate_names([quoted(name) for name in unknown])}"
    timeless = [name for name in names if not _has_past(shape, shape.features[name])]
    if timeless:
        return f"{enumerate_names([quoted(name) for name in timeless])} has no past"
    return ""


def _has_past(shape: Shape, feature: Feature) -> bool:
    """Return whether the rows say what a feature was: of rows that each have a time, or of a time that never changes.

    A column is what stands there now, and so is what is computed of columns, what leads over a foreign key, and whom a
    relation of many to many names.
    """
    if isinstance(feature, Related):
        relation = known_relation(shape.table, feature.path)
        is_own = "__" not in relation.name and not shape.table._meta.get_field(relation.name).many_to_many
        is_of_row = relation.ending is None or len(relation.ending.fields) == 1
        return is_own and is_of_row and isinstance(feature.event_time, str)
    if isinstance(feature, DaysSince | Part):
        path = feature.ending(shape.table)
        return len(path.fields) == 1 and getattr(path.field, "auto_now_add", False)
    return False
