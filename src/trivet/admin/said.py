"""What a model said of a row of your own table, where a list and a page of the admin find it: a column, or the log."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import Expression, F, Model
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from trivet.control.registry.declarations import declared
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.core.decisions import PROBABILITIES
from trivet.core.errors import TrivetError
from trivet.features.latest import Latest, latest_answer
from trivet.features.predicted_field import PredictedField

NOTHING = "-"  # as the admin shows a field that is empty


class Score(Expression):
    """The number that `model` gave each row: of the only PredictedField of it, or else of the log (`Latest`)."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def __repr__(self) -> str:
        return f"Score({self._model!r})"

    def resolve_expression(
        self,
        query: Any = None,
        allow_joins: bool = True,
        reuse: Any = None,
        summarize: bool = False,
        for_save: bool = False,
    ) -> Any:
        """Become the column, or the subquery that reads the log."""
        column = column_of(query.model, self._model)
        found: Any = Latest(self._model) if column is None else F(column.name)
        return found.resolve_expression(query, allow_joins, reuse, summarize, for_save)


def column_of(table: type[Model], model: str) -> PredictedField | None:
    """Return the only PredictedField of `model` that a table has; None where there is none, or several."""
    fields: Any = table._meta.fields  # of which a plugin of types knows the built-in ones alone
    found = [field for field in fields if isinstance(field, PredictedField) and field.predictor == model]
    return found[0] if len(found) == 1 else None


class Meaning(NamedTuple):
    """What the scores of a model are: probabilities or not, and of which class; of none in particular where it is empty."""

    is_share: bool = False
    of: str = ""


def meaning_of(model: str) -> Meaning:
    """Return what the scores of the champion of `model` mean; numbers, while there is none."""
    try:
        signature = ModelVersion.objects.resolve(model, CHAMPION).read_signature()
    except TrivetError:
        return Meaning()
    output = signature.output(PROBABILITIES)
    if signature.task != "classification" or output is None:
        return Meaning()
    classes = output.classes or ()
    return Meaning(is_share=True, of=declared(model).probability_of or (classes[1] if len(classes) == 2 else ""))


def in_words(score: float | None, *, share: bool) -> str:
    """Return a score as people read it: 83 %, or a number with at most four digits, but for those before the point."""
    if score is None:
        return NOTHING
    if not share:
        rounded = round(score) if abs(score) >= 1000 else float(f"{score:.4g}")
        return formats.number_format(int(rounded) if rounded == int(rounded) else rounded)
    if 0 < score < 0.01 or 0.99 < score < 1:
        return "< 1 %" if score < 0.5 else "> 99 %"
    return f"{formats.number_format(round(100 * score))} %"


class _Said(NamedTuple):
    """What was said of one row: in parts, and where the console shows it."""

    parts: tuple[str, ...]
    address: str


def badge(row: Model, model: str, *, sees_log: bool) -> SafeString | str:
    """Return what was said of a saved row last: 83 % churned · churn 7 · 2 hours ago, and a way to say whether it was right.

    Who may not see the log is told what the row's own column says, if it has one.
    """
    said = (_from_log(row, model) if sees_log else None) or _from_column(row, model)
    if said is None:
        return NOTHING
    words = format_html_join(" · ", "{}", ((part,) for part in said.parts))
    if not said.address:
        return words
    return format_html('{} · <a href="{}">{}</a>', words, said.address, _("was it right?"))


def _from_log(row: Model, model: str) -> _Said | None:
    answer = latest_answer(row, model)
    if answer is None:
        return None
    what = _what(answer.score, meaning_of(model), answer.decision)
    try:
        address = reverse("trivet:prediction", kwargs={"identity": answer.public_id})
    except NoReverseMatch:  # the console is not mounted
        address = ""
    return _Said((what, f"{model} {answer.version}", _ago(answer.made_at)), address)


def _from_column(row: Model, model: str) -> _Said | None:
    column = column_of(type(row), model)
    if column is None or getattr(row, column.name) is None:
        return None
    version, at = getattr(row, column.version_name), getattr(row, column.at_name)
    what = _what(getattr(row, column.name), meaning_of(model))
    return _Said((what, *([f"{model} {version}"] if version else []), *([_ago(at)] if at else [])), "")


def _what(score: float | None, meaning: Meaning, decision: str = "") -> str:
    """Return a score, and of which class it is; of many classes it is that of the one that was decided for."""
    if score is None:
        return decision or NOTHING
    of = (meaning.of or decision) if meaning.is_share else ""
    return f"{in_words(score, share=meaning.is_share)} {of}".rstrip()


def _ago(at: Any) -> str:
    return _("%(time)s ago") % {"time": timesince(at, timezone.now() if timezone.is_aware(at) else None, depth=1)}
