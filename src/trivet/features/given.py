"""Given: features that whoever asks supplies, since no table has them: the basket that is being paid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from django.db.models import Model

from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import unknown_input
from trivet.features.as_of import Moment
from trivet.features.computed import DATATYPES
from trivet.features.feature import Feature, Kind

Supplied = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None  # for every row, or of the key of one


@dataclass(frozen=True, eq=False)
class Given(Feature):
    """What whoever asks supplies, as `given={"basket": 12.5}`: a bool, int, float or str. It is refused where it is missing,
    unless `missing` says otherwise.
    """

    datatype: type
    _: KW_ONLY
    missing: Any = "reject"

    def source_problems(self, table: type[Model]) -> Iterator[str]:  # noqa: ARG002  (it is on no table)
        """Yield a type that no feature has."""
        if not isinstance(self.datatype, type) or self.datatype not in DATATYPES:
            yield f"datatype is {quoted(str(self.datatype))}: bool, int, float or str."

    def raw_kind(self, table: type[Model]) -> Kind:  # noqa: ARG002
        """Return the datatype of its type; it may be missing where that is said."""
        return Kind(DATATYPES[self.datatype], is_nullable=True)

    def expression(self, table: type[Model], moment: Moment) -> None:
        """Return None: the database does not have it."""


class Supply:
    """What somebody supplies for the `f.Given` of a FeatureSet, whichever row asks.

    Raises `InvalidRequest` for what is neither a mapping nor a function, and, as `of` does, for a name that is none of them
    and for one that is missing and may not be; of a function not before it is called.
    """

    def __init__(self, place: str, features: Mapping[str, Feature], supplied: Supplied) -> None:
        self._place, self._features = place, features
        self._given = [name for name, one in features.items() if isinstance(one, Given)]
        if callable(supplied):
            self._supplied = supplied
            return
        self._supplied = lambda _: {} if supplied is None else supplied
        try:
            self.of(None)
        except InvalidRequest as error:
            raise InvalidRequest(f"{place}: {error.message}", code=error.code, field=error.field) from error

    def of(self, key: Any) -> dict[str, Any]:
        """Return what is supplied for the row with a key, by name; None for what may be missing and is."""
        said: Any = self._supplied(key)
        if not isinstance(said, Mapping):
            raise InvalidRequest(
                f"given is {quoted(str(said))}: a mapping of names to values, or a function that returns one of a row's key."
            )
        for name in said:
            if name not in self._given:
                raise self._unknown(str(name))
        for name in self._given:
            if name not in said and self._features[name].missing == "reject":
                hint = (
                    f"{quoted(name)} is supplied by whoever asks: {self._place}.for_instance(row, given={{{name!r}: ...}}),"
                    " of which predict takes the mapping."
                )
                raise InvalidRequest(hint, code="MISSING_INPUT", field=name)
        return {name: said.get(name) for name in self._given}

    def _unknown(self, name: str) -> InvalidRequest:
        if name in self._features:
            return InvalidRequest(f"given: {quoted(name)} is no f.Given: its value is the database's.", field=name)
        if not self._given:
            return InvalidRequest(f"given: {quoted(name)}, and {self._place} has no f.Given.", field=name)
        return InvalidRequest(f"given: {unknown_input(name, self._given)}", code="UNKNOWN_INPUT", field=name)
