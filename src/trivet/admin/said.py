"""What a model said of a row of your own table, where a list and a page of the admin find it: a column, or the log."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import F, Model
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


class Meaning(NamedTuple):
    """What the numbers of a model are: probabilities of a class or not, and of which one, if of one for all rows."""

    is_share: bool = False
    of: str = ""


def meaning_of(model: str) -> Meaning:
    """Return what the numbers of the champion of `model` mean; plain numbers, while there is none.

    They are of the class that the Predictor declares, or else of the second of two; of more they are that of whichever is
    likeliest, which is no share of one class.
    """
    try:
        signature = ModelVersion.objects.resolve(model, CHAMPION).read_signature()
    except TrivetError:
        return Meaning()
    output = signature.output(PROBABILITIES)
    classes = (output.classes or ()) if signature.task == "classification" and output is not None else ()
    of = declared(model).probability_of or (classes[1] if len(classes) == 2 else "")
    return Meaning(is_share=True, of=of) if classes and of else Meaning()


def score_in(table: type[Model], model: str) -> Any:
    """Return the number that `model` gave each row of `table`, as an expression: of its column, or else of the log."""
    column = column_of(table, model)
    return F(column.name) if column is not None else Latest(model)


def column_of(table: type[Model], model: str) -> PredictedField | None:
    """Return the only PredictedField of `model` that a table has; None where there is none, or several."""
    fields: Any = table._meta.fields  # of which a plugin of types knows the built-in ones alone
    found = [field for field in fields if isinstance(field, PredictedField) and field.predictor == model]
    return found[0] if len(found) == 1 else None


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


def badge(row: Model, model: str, *, sees_log: bool) -> SafeString | str:
    """Return what was said of a saved row last: 83 % churned · churn 7 · 2 hours ago, and a way to say whether it was right.

    It is what the row's own column says, if it has one, or else the log, for who may see that.
    """
    answer = latest_answer(row, model) if sees_log else None
    parts = _from_column(row, model) or (_from_log(model, answer) if answer is not None else ())
    if not parts:
        return NOTHING
    words = format_html_join(" · ", "{}", ((part,) for part in parts))
    try:
        address = "" if answer is None else reverse("trivet:prediction", kwargs={"identity": answer.public_id})
    except NoReverseMatch:  # the console is not mounted
        address = ""
    if not address:
        return words
    return format_html('{} · <a href="{}">{}</a>', words, address, _("was it right?"))


def _from_log(model: str, answer: Any) -> tuple[str, ...]:
    meaning = meaning_of(model)
    what = answer.decision or NOTHING
    if answer.number is not None and (meaning.is_share or not answer.decision):
        what = f"{in_words(answer.number, share=meaning.is_share)} {meaning.of}".rstrip()
    return what, f"{model} {answer.version}", _ago(answer.made_at)


def _from_column(row: Model, model: str) -> tuple[str, ...]:
    column = column_of(type(row), model)
    if column is None or getattr(row, column.name) is None:
        return ()
    version, at = getattr(row, column.version_name), getattr(row, column.at_name)
    meaning = meaning_of(model)
    what = f"{in_words(getattr(row, column.name), share=meaning.is_share)} {meaning.of}".rstrip()
    return what, *([f"{model} {version}"] if version else []), *([_ago(at)] if at else [])


def _ago(at: Any) -> str:
    return _("%(time)s ago") % {"time": timesince(at, timezone.now() if timezone.is_aware(at) else None, depth=1)}
