"""The number of an answer in the log, as a Predictor says that it is to be read: an expression of a query."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import Case, CharField, F, FloatField, Func, Q, Value, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact, IsNull

from trivet.control.registry.declarations import declared
from trivet.core.decisions import PROBABILITIES
from trivet.features.outputs import TRUTHS


def declared_number(model: str) -> Any:
    """Return the probability of the class that the Predictor of `model` declares; the log's own `score` where it declares none.

    It is null where an answer has probabilities of other classes alone, of which `trivet.predict` says so.
    """
    of = declared(model).probability_of
    if not of:
        return F("score")
    of_two = [
        IsNull(_Share(no), False) & IsNull(_Share("2"), True) for no, _ in TRUTHS
    ]  # numbers may be of three classes
    of_yes = [Case(When(is_so, then=_Share(yes))) for is_so, (_, yes) in zip(of_two, TRUTHS, strict=True)]
    is_unnamed = Q(IsNull(_Kind(), True)) | Q(Exact(_Kind(), Value("array")))  # classes without names are a list
    unnamed = Case(When(is_unnamed, then=F("score")))
    return Coalesce(_Share(of), *of_yes, unnamed, output_field=FloatField())


class _Kind(Func):
    """What the probabilities of an answer are, as JSON calls it; null where it has none."""

    output_field = CharField()

    def __init__(self, source: Any = None) -> None:
        super().__init__(F("output") if source is None else source)

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002  (as Django calls it)
        """Ask by the path."""
        sql, params = compiler.compile(self.source_expressions[0])
        return f"JSON_TYPE({sql}, %s)", (*params, f'$."{PROBABILITIES}"')

    def as_mysql(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002
        """Ask of what is at the path."""
        sql, params = compiler.compile(self.source_expressions[0])
        return f"LOWER(JSON_TYPE(JSON_EXTRACT({sql}, %s)))", (*params, f'$."{PROBABILITIES}"')

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002
        """Ask of what has the name."""
        sql, params = compiler.compile(self.source_expressions[0])
        return f"jsonb_typeof({sql} -> %s)", (*params, PROBABILITIES)


class _Share(Func):
    """The probability of one class in an answer; null where the answer has none of it."""

    output_field = FloatField()

    def __init__(self, of: str, source: Any = None) -> None:
        super().__init__(F("output") if source is None else source)
        self._of = of

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002  (as Django calls it)
        """Read it by the path of its name, which JSON may have as a number's digits, too."""
        sql, params = compiler.compile(self.source_expressions[0])
        name = json.dumps(self._of, ensure_ascii=False)
        return f"JSON_EXTRACT({sql}, %s)", (*params, f'$."{PROBABILITIES}".{name}')

    as_mysql = as_sqlite

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002  (as Django calls it)
        """Read it by its name."""
        sql, params = compiler.compile(self.source_expressions[0])
        return f"jsonb_extract_path_text({sql}, %s, %s)::double precision", (*params, PROBABILITIES, self._of)
