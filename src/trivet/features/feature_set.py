"""FeatureSets: what a model is asked with, declared once over a model of Django for training, serving and validation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, cast

import msgspec
import numpy as np
from django.db.models import Model
from django.forms import Form
from django.utils.functional import classproperty

from trivet.control.registry.declarations import declare_features
from trivet.core.datatypes import NUMPY_DTYPES
from trivet.core.errors import InvalidRequest, InvalidRows, NotFound, did_you_mean, quoted
from trivet.core.field_schema import field_schema
from trivet.core.signature import unknown_input
from trivet.features.feature import Feature
from trivet.features.fingerprint import columns_of, hash_of
from trivet.features.form import form_class
from trivet.features.given import Supplied
from trivet.features.lookup import looked_up
from trivet.features.reading import CHUNK_ROWS, Reading
from trivet.features.rows import places_of
from trivet.features.shape import Shape, names_of, place_of, shape_of

feature_sets: list[type[FeatureSet]] = []  # that this process has imported


class FeatureSet:
    """What a model is asked with: a class with a feature a line, over a model of Django, in an app's `ml.py`.

    `Meta.model` is that model, `Meta.fields` names columns that are features as they stand, `Meta.sensitive` names features
    that are not shown. A method `get_NAME(self, row)` makes the feature `NAME = f.Method(...)`; its `self.as_of` is the
    moment. A class with `Meta.abstract = True` is only inherited from.

    Whatever reads features reads them by the same queries: `for_instance` of one row, `for_queryset` of some, in their order,
    `rows` and `frame` of as many as there are. `as_of` is the moment they are of: None for now, a datetime, a date for its
    beginning, or the path of the column where each row says its own. Rows of relations that came later do not count.

    `from_data` takes the same features from somebody else, `form_class` from a person, `json_schema` says what they may be.

    What is wrong with one is said by `manage.py check` (E011, E012, E018), and raised as `ImproperlyConfigured` when it is used.
    """

    declared: ClassVar[Mapping[str, Feature]] = {}  # by this class and those it inherits from

    def __init__(self, as_of: datetime) -> None:
        self.as_of = as_of

    def __init_subclass__(cls, **options: Any) -> None:
        """Note it in this process, in place of an earlier one from the same place in the code."""
        super().__init_subclass__(**options)
        said = {name: value for line in reversed(cls.__mro__) for name, value in vars(line).items()}
        cls.declared = {name: value for name, value in said.items() if isinstance(value, Feature)}
        place = (cls.__module__, cls.__qualname__)
        feature_sets[:] = [one for one in feature_sets if (one.__module__, one.__qualname__) != place]
        feature_sets.append(cls)
        declare_features(place_of(cls), names_of(cls))

    @classproperty
    def hash(cls) -> str:  # noqa: N805  (of the class)
        """What decides the values of all features, as a SHA-256: it changes when one of them would."""
        return hash_of(columns_of(cast("type[FeatureSet]", cls)))

    @classmethod
    def for_instance(cls, obj: Model, as_of: Any = None, *, given: Supplied = None) -> dict[str, Any]:
        """Return the features of a saved row, as the database has it, by name. One query, and one for each `needs` to many.

        Values are numbers, truths and texts, and None for what is missing. Raises `InvalidRequest` for a row that is not
        saved, of another model, or refused by a feature; `NotFound` for one that is gone. `given` is what stands for each
        `f.Given`, by name.
        """
        return cls.for_queryset([obj], as_of, given=given)[0]

    @classmethod
    def for_queryset(
        cls, queryset: Iterable[Model], as_of: Any = None, *, given: Supplied = None
    ) -> list[dict[str, Any]]:
        """Return the features of each row of a QuerySet, or a list, in its order: as many queries for ten as for 2,000.

        `given` is what stands for each `f.Given`: a mapping for all rows, or a function that returns one of a row's key.
        """
        places = places_of(shape_of(cls), queryset)
        return [dict(row.values) for row in looked_up(cls, places, as_of, given=given)]

    @classmethod
    def rows(
        cls,
        queryset: Any = None,
        as_of: Any = None,
        *,
        also: Sequence[str] = (),
        given: Supplied = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> Iterator[dict[str, Any]]:
        """Yield the features of all rows of a QuerySet, in the order of the primary key, in the memory of a chunk.

        Without one: of all rows of the model. `also` are paths of columns that come along as they are, under their names: the
        key, a label. Where `as_of` is a path, rows whose column is empty are passed over. A row is there once; of a list, a
        slice or a union the keys are read before anything else. `given` as `for_queryset` has it. Raises `InvalidRequest` for
        what are no rows of the model.
        """
        reading = Reading(shape_of(cls), as_of, cls, also, given)
        for row in reading.of_queryset(queryset, chunk_rows):
            yield {**row.values, **row.also}

    @classmethod
    def frame(
        cls,
        queryset: Any = None,
        as_of: Any = None,
        *,
        also: Sequence[str] = (),
        given: Supplied = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> dict[str, np.ndarray]:
        """Return what `rows` yields as one array a column, each of shape `(rows,)`, which `pandas.DataFrame` takes as it is.

        Numbers and truths have their datatype, a missing number is NaN; texts are objects, a missing one is None, and so is
        what came along with `also`.
        """
        shape = shape_of(cls)
        columns: dict[str, list[Any]] = {name: [] for name in (*shape.features, *also)}
        for row in cls.rows(queryset, as_of, also=also, given=given, chunk_rows=chunk_rows):
            for name, values in columns.items():
                values.append(row[name])
        return {name: _array(shape, name, values) for name, values in columns.items()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features of a mapping of names to values, as a form takes them: what is written as a number is one.

        What is left out is missing. Raises `InvalidRows`, an `InvalidRequest`, whose `problems` are one for each feature that
        does not fit and each name that is none; and `InvalidRequest` alone where `data` is no mapping.
        """
        shape = shape_of(cls)
        said: Any = data  # of whatever type somebody sent
        if not isinstance(said, Mapping):
            raise InvalidRequest(f"{shape.name}: features are a mapping of names to values, not {quoted(said)}.")
        problems = [
            InvalidRequest(unknown_input(str(name), list(shape.features)), code="UNKNOWN_INPUT", field=str(name))
            for name in data
            if name not in shape.features
        ]
        values = {}
        for name, feature in shape.features.items():
            try:
                values[name] = feature.given(name, data.get(name), shape.kinds[name])
            except InvalidRequest as error:
                problems.append(error)
        if problems:
            count = f"{len(problems)} features do not fit: " if len(problems) > 1 else ""
            raise InvalidRows(f"{shape.name}: {count}{problems[0].message}", problems)
        return values

    @classmethod
    def form_class(cls) -> type[Form]:
        """Return a Django form with one field a feature, with its bounds, choices, title and unit.

        Its `cleaned_data` are what `from_data` returns. A box that is not ticked is False.
        """
        return form_class(shape_of(cls))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return what `from_data` takes, as JSON Schema: an object with these names, of which some may be left out."""
        shape = shape_of(cls)
        specs = [
            msgspec.structs.replace(spec, nullable=spec.nullable or shape.features[spec.name].fills)
            for spec in shape.inputs
        ]
        return {
            "title": shape.name,
            "type": "object",
            "properties": {spec.name: field_schema(spec) for spec in specs},
            "required": [spec.name for spec in specs if not spec.nullable],
            "additionalProperties": False,
        }


def find_feature_set(place: str) -> type[FeatureSet]:
    """Return the FeatureSet that code names "app.ml.ChurnFeatures", of those that are imported: the name may be a stranger's.

    Raises `NotFound` with the closest one there is.
    """
    known = {place_of(one): one for one in feature_sets}
    if place not in known:
        raise NotFound(
            f"there is no FeatureSet {quoted(place)}.{did_you_mean(place, known)} One that is not written in an app's ml.py"
            " is imported there."
        )
    return known[place]


def _array(shape: Shape, name: str, values: list[Any]) -> np.ndarray:
    datatype = shape.kinds[name].datatype if name in shape.kinds else "BYTES"
    dtype = NUMPY_DTYPES[datatype]
    if datatype == "BYTES":
        array = np.empty(len(values), dtype)  # of the values themselves, also where they are all lists
        array[:] = values
        return array
    return np.array([np.nan if value is None else value for value in values], dtype)
