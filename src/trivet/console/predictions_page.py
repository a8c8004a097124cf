"""The search of the prediction log: a form of conditions, a page of what meets them, and the way to the page after it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _, gettext_lazy, ngettext

from trivet.console.choices import Choice, choices
from trivet.console.figures import count, moment
from trivet.console.prediction_rows import PredictionRow, prediction_row, unit_of
from trivet.console.subject import Subject
from trivet.console.words import Text, classes_of, enumerated
from trivet.control.predictions.meaning import CLASSES_NAMED
from trivet.control.predictions.searching import Page, Place, Wanted, search
from trivet.control.predictions.shipping import EPOCH, moment_of, text_of
from trivet.core.errors import quoted
from trivet.core.names import VERSION_NUMBER

MOST_CHARACTERS = 256  # of a text that is looked for; the log keeps no longer ones, but of decisions
YEARS = range(1970, 9999)
WHETHER: Mapping[str, Text] = {"": gettext_lazy("any"), "yes": gettext_lazy("with"), "no": gettext_lazy("without")}
TEXTS: Mapping[str, tuple[Text, Text]] = {  # what is written in them, and an example
    "decision": (gettext_lazy("Decision"), ""),
    "entity": (gettext_lazy("Entity"), "shop.customer:17"),
    "caller": (gettext_lazy("Caller"), "key:… / user:…"),
    "request": (gettext_lazy("Request"), "X-Request-Id"),
    "version": (gettext_lazy("Version"), ""),
    "prediction": (gettext_lazy("Prediction"), gettext_lazy("its id")),
}
MOMENTS: Mapping[str, Text] = {"since": gettext_lazy("From"), "until": gettext_lazy("To before")}

_AFTER = re.compile(r"([0-9]{1,17})-([0-9]{1,18})")  # microseconds since 1970, and a primary key


@dataclass(frozen=True)
class SearchField:
    """One condition, as somebody writes it."""

    id: str
    label: str
    kind: str
    value: str
    hint: str
    error: str


@dataclass(frozen=True)
class PredictionsPage:
    """The page. `older` is the address of the one after it; empty where there is none."""

    name: str
    title: str
    models: tuple[Choice, ...]
    fields: tuple[SearchField, ...]
    flags: tuple[Choice, ...]
    labels: tuple[Choice, ...]
    has_conditions: bool
    problem: str
    sentence: str = ""
    rows: tuple[PredictionRow, ...] = ()
    older: str = ""
    goes_on: bool = False  # what is older was not looked at yet


def predictions_page(shown: Subject, asked: Mapping[str, str], names: Sequence[str], now: datetime) -> PredictionsPage:
    """Return the page of the predictions of `shown` that are `asked` for, in a constant number of queries.

    `names` are the models to choose from. A condition that cannot be read is told beside its field, and nothing is looked for.
    """
    wanted, problems = _read(shown.model.name, asked)
    after = _place(asked.get("after", ""))
    given = {name: asked[name] for name in (*TEXTS, *MOMENTS, "flags", "label") if asked.get(name)}
    frame = PredictionsPage(
        name=shown.model.name,
        title=shown.model.heading,
        models=tuple(Choice(name, name, name == shown.model.name) for name in sorted({*names, shown.model.name})),
        fields=_fields(asked, problems),
        flags=choices(WHETHER, asked.get("flags", "")),
        labels=choices(WHETHER, asked.get("label", "")),
        has_conditions=bool(given),
        problem=_("One field needs another value.") if problems else "",
    )
    if problems:
        return frame
    found = search(wanted, after)
    older = ""
    if found.after is not None:
        older = "?" + urlencode({"model": shown.model.name, **given, "after": _written(found.after)})
    return replace(
        frame,
        sentence=_sentence(found, now, is_first=after is None) + _other_decisions(found, wanted, shown),
        rows=tuple(prediction_row(one, unit_of(shown.signature), now) for one in found.predictions),
        older=older,
        goes_on=found.looked_until is not None,
    )


def _sentence(found: Page, now: datetime, *, is_first: bool) -> str:
    number = len(found.predictions)
    if found.looked_until is not None:
        told = ngettext(
            "%(count)s prediction, of those since %(moment)s. Older ones were not looked at yet.",
            "%(count)s predictions, of those since %(moment)s. Older ones were not looked at yet.",
            number,
        )
        return told % {"count": count(number), "moment": moment(found.looked_until, now).exact}
    if found.after is not None:
        return _("The newest %(count)s.") % {"count": count(number)} if is_first else _("Older ones.")
    if not number:
        return _("No prediction meets this.") if is_first else _("No older prediction meets this.")
    return ngettext("%(count)s prediction.", "%(count)s predictions.", number) % {"count": count(number)}


def _other_decisions(found: Page, wanted: Wanted, shown: Subject) -> str:
    """Return which decisions there are, where nothing was found of one that is none of them."""
    classes = classes_of(shown.signature) if shown.signature else ()
    if found.predictions or not wanted.decision or not classes or wanted.decision in classes:
        return ""
    values = {"number": shown.version.number if shown.version else "", "classes": enumerated(classes, CLASSES_NAMED)}
    return " " + _("Version %(number)s decides one of: %(classes)s.") % values


def _fields(asked: Mapping[str, str], problems: Mapping[str, str]) -> tuple[SearchField, ...]:
    texts = [
        SearchField(name, str(label), "text", asked.get(name, ""), str(hint), problems.get(name, ""))
        for name, (label, hint) in TEXTS.items()
    ]
    zone = timezone.get_current_timezone_name() if settings.USE_TZ else ""
    moments = [
        SearchField(name, str(label), "datetime-local", asked.get(name, ""), zone, problems.get(name, ""))
        for name, label in MOMENTS.items()
    ]
    return (*texts, *moments)


def _read(model: str, asked: Mapping[str, str]) -> tuple[Wanted, dict[str, str]]:
    """Return what is looked for, and a sentence for each condition that cannot be read."""
    problems: dict[str, str] = {}
    found: dict[str, Any] = {}
    for name, read in (*((name, _text) for name in TEXTS), *((name, _moment) for name in MOMENTS)):
        try:
            found[name] = read(asked.get(name, ""))
        except ValueError as problem:
            problems[name] = str(problem)
    version = found.get("version") or ""
    if version and not re.fullmatch(f"0|{VERSION_NUMBER}", version):
        problems["version"] = _("%(value)s is no number of a version: write one as 3; 0 is a constant.") % {
            "value": quoted(version)
        }
    if found.get("prediction"):  # one with that form has led to its page
        problems["prediction"] = _("%(value)s is no id of a prediction: it was answered as <uuid>:<row>.") % {
            "value": quoted(found["prediction"])
        }
    if problems:
        return Wanted(model), problems
    whether = {"yes": True, "no": False}
    wanted = Wanted(
        model,
        version=int(version) if version else None,
        decision=found["decision"],
        entity_key=found["entity"],
        caller=found["caller"],
        request_id=found["request"],
        since=found["since"],
        until=found["until"],
        is_flagged=whether.get(asked.get("flags", "")),
        is_labelled=whether.get(asked.get("label", "")),
    )
    return wanted, problems


def _text(text: str) -> str:
    """Return a text as the log would hold it."""
    found = text_of(text.strip())
    if len(found) > MOST_CHARACTERS:
        raise ValueError(_("At most %(most)s characters.") % {"most": MOST_CHARACTERS})
    return found


def _moment(text: str) -> datetime | None:
    """Return the moment that somebody wrote, in their time zone where they wrote none."""
    if not text.strip():
        return None
    try:
        found = parse_datetime(text.strip())
    except ValueError:  # a 13th month
        found = None
    if found is None or found.year not in YEARS:
        told = _("%(value)s is no time: write it as 2026-11-30T09:15.")
        raise ValueError(told % {"value": quoted(text)})
    if timezone.is_aware(found) == settings.USE_TZ:
        return found
    return timezone.make_aware(found) if settings.USE_TZ else timezone.make_naive(found)


def _place(text: str) -> Place | None:
    """Return the place that an address names, after which a page begins; None for what is none."""
    match = _AFTER.fullmatch(text)
    if match is None:
        return None
    try:
        return Place(moment_of(int(match[1]) * 1000), int(match[2]))
    except OverflowError:
        return None


def _written(place: Place) -> str:
    at = place.made_at if timezone.is_aware(place.made_at) else timezone.make_aware(place.made_at)
    return f"{(at - EPOCH) // timedelta(microseconds=1)}-{place.pk}"
