"""As of: the moment that features are of. It is now when a model is asked, and a date of the past in an export."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models import DateTimeField, Expression, ExpressionWrapper, F, Model, OuterRef, Q, Value
from django.db.models.expressions import BaseExpression
from django.db.models.functions import TruncDate
from django.utils import timezone

from trivet.core.errors import InvalidRequest, quoted
from trivet.features.paths import resolved


class AsOf(Expression):
    """The place of the moment in a condition or an expression, as in `Q(placed_at__gte=f.as_of - timedelta(days=90))`."""

    def __init__(self) -> None:
        super().__init__(output_field=DateTimeField())

    def as_sql(self, *_: Any) -> Any:  # what is left in a query when it is asked
        """Raise `ImproperlyConfigured`: it stands where nothing puts the moment in its place."""
        raise ImproperlyConfigured(
            "f.as_of stands inside a query of its own; it is known in conditions and expressions."
        )


@dataclass(frozen=True)
class Moment:
    """The moment of all rows, or the path of the column in which each row says its own."""

    fixed: datetime | None
    path: str = ""

    @property
    def here(self) -> Any:
        """The moment as an expression in a query of the rows that features are of."""
        return F(self.path) if self.fixed is None else Value(self.fixed, output_field=DateTimeField())

    @property
    def outside(self) -> Any:
        """The same in a subquery about such a row."""
        return OuterRef(self.path) if self.fixed is None else self.here

    def is_after(self, path: str, field: Any) -> Q:
        """Return what holds of rows of a subquery whose `path` was over by then: a time that had come, a date that had ended."""
        if isinstance(field, DateTimeField):
            return Q(**{f"{path}__lte": self.outside})
        if self.fixed is not None:
            return Q(**{f"{path}__lt": day_of(self.fixed)})
        zone = timezone.get_default_timezone() if settings.USE_TZ else None
        return Q(**{f"{path}__lt": TruncDate(ExpressionWrapper(self.outside, DateTimeField()), tzinfo=zone)})


def moment_of(as_of: Any, table: type[Model]) -> Moment:
    """Return the moment that `as_of` means: None for now, a datetime, a date for its beginning, or a path of a datetime.

    A datetime without an offset, and a date, are of the project's time zone. Raises `InvalidRequest` for anything else.
    """
    if as_of is None:
        return Moment(timezone.now())
    if isinstance(as_of, date) and not isinstance(as_of, datetime):
        as_of = datetime.combine(as_of, time())
    if isinstance(as_of, datetime):
        return Moment(_of_project(as_of))
    if not isinstance(as_of, str):
        raise InvalidRequest(f"as_of is {quoted(str(as_of))}: a datetime, a date, or the path of a DateTimeField.")
    found = resolved(table, as_of)
    if isinstance(found, str):
        raise InvalidRequest(f"as_of: {found}")
    if found.rest or found.is_to_many or not isinstance(found.field, DateTimeField):
        raise InvalidRequest(
            f"as_of: {quoted(as_of)} of {table.__name__} is no single DateTimeField. Name one, or give a datetime."
        )
    return Moment(None, as_of)


def _of_project(moment: datetime) -> datetime:
    if settings.USE_TZ and timezone.is_naive(moment):
        return timezone.make_aware(moment, timezone.get_default_timezone())
    if not settings.USE_TZ and timezone.is_aware(moment):
        return timezone.make_naive(moment, timezone.get_default_timezone())
    return moment


def day_of(moment: datetime) -> date:
    """Return the day of a moment in the project's time zone, whichever a request has activated."""
    return timezone.localtime(moment, timezone.get_default_timezone()).date() if settings.USE_TZ else moment.date()


def placed(node: Any, moment: Any) -> Any:
    """Return a condition, an expression or a value with `moment` in the place of each `AsOf` in it."""
    if isinstance(node, AsOf):
        return moment
    if isinstance(node, Q):
        children = [placed(child, moment) for child in node.children]
        return Q.create(children, connector=node.connector, negated=node.negated)
    if isinstance(node, list | tuple):
        return type(node)(placed(one, moment) for one in node)
    if isinstance(node, BaseExpression) and node.get_source_expressions():
        clone = node.copy()
        clone.set_source_expressions([placed(one, moment) for one in node.get_source_expressions()])
        return clone
    return node


as_of = AsOf()
