"""A model's labels: of how many predictions they came and how late, what waits and what was refused, and a file of them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, BinaryIO
from urllib.parse import quote_plus

from django.core.exceptions import BadRequest
from django.utils.formats import date_format
from django.utils.translation import gettext as _, gettext_lazy, ngettext

from trivet.conf import MIB
from trivet.console.figures import DAY, HOUR, Moment, count, moment, percent
from trivet.console.prediction_rows import label_words
from trivet.console.subject import Subject
from trivet.console.words import Text
from trivet.control.monitoring.coverage import Coverage, coverage, coverage_by_decision, hardly_labelled
from trivet.control.monitoring.label_folding import AGES
from trivet.control.predictions.models import Label, LabelState
from trivet.core.cells import restorable
from trivet.core.errors import BundleError, InvalidRequest, TooLarge
from trivet.serving.label_files import ABOUT_REFUSED, COLUMNS, MOST_LINES, LabelledFile, RefusedLine

MOST_BYTES = 4 * MIB  # of an uploaded file
MOST_REFUSED = (
    2 * MIB
)  # bytes, as a form sends them, of the lines that a page takes along; Django reads 2.5 MB of a form
LINES_SHOWN = 50
LOOKED_AT = 10_000  # labels that are counted at most
RESULTS: Mapping[str, Text] = {
    "applied": gettext_lazy("applied"),
    "waiting": gettext_lazy("waiting"),
    "repeated": gettext_lazy("said before"),
    "revised": gettext_lazy("corrected"),
    "refused": gettext_lazy("refused"),
}


@dataclass(frozen=True)
class DayLine:
    """The predictions of one day."""

    day: str
    rows: str
    labels: str
    share: str
    is_maturing: bool


@dataclass(frozen=True)
class DelayLine:
    """How many labels came so late, and how many no later."""

    words: str
    labels: str
    share: str


@dataclass(frozen=True)
class ReasonLine:
    """How many labels were refused for one reason."""

    reason: str
    labels: str


@dataclass(frozen=True)
class LabelLine:
    """A label that waits, or was refused: what it is about, what it says, and why."""

    about: str
    words: str
    source: str
    reason: str
    received: Moment


@dataclass(frozen=True)
class Upload:
    """What became of a file. `download` are the refused lines, as many as a page takes along."""

    counts: tuple[tuple[str, str], ...]
    receipt: str
    refused: tuple[RefusedLine, ...]
    refused_left_out: int
    download: str
    downloads_all: bool


@dataclass(frozen=True)
class LabelsPage:
    """The page. `waiting` and `refused` are None for who may not read the log: their numbers are told to everybody."""

    name: str
    title: str
    covered: str
    days: tuple[DayLine, ...]
    delay: str
    delays: tuple[DelayLine, ...]
    selective: str
    waiting_number: str
    waiting: tuple[LabelLine, ...] | None
    reasons: tuple[ReasonLine, ...]
    refused: tuple[LabelLine, ...] | None
    may_label: bool
    bounds: str  # of a file
    upload: Upload | None
    problem: str


def labels_page(
    shown: Subject,
    now: datetime,
    *,
    may_label: bool,
    sees_predictions: bool,
    done: LabelledFile | None = None,
    problem: str = "",
) -> LabelsPage:
    """Return the page of the labels of `shown`, in a constant number of queries, with what became of a file."""
    name = shown.model.name
    found = coverage(name, now=now)
    return LabelsPage(
        name=name,
        title=shown.model.heading,
        covered=_covered(found),
        days=tuple(
            DayLine(
                date_format(day.start, "DATE_FORMAT"),
                count(day.rows),
                count(max(day.labels, 0)),
                percent(day.labels / day.rows) if day.rows and day.labels > 0 else "",
                day.is_maturing,
            )
            for day in reversed(found.days)
        ),
        delay=_delay(found.delays),
        delays=tuple(_delays(found.delays)),
        selective=_selective(shown, now),
        waiting_number=_number(name, LabelState.WAITING),
        waiting=_lines(name, LabelState.WAITING, now) if sees_predictions else None,
        reasons=_reasons(name),
        refused=_lines(name, LabelState.REFUSED, now) if sees_predictions else None,
        may_label=may_label,
        bounds=_("At most %(lines)s lines and %(size)s MiB.") % {"lines": count(MOST_LINES), "size": MOST_BYTES // MIB},
        upload=_upload(done) if done is not None else None,
        problem=problem,
    )


def upload_of(files: Mapping[str, Any]) -> BinaryIO:
    """Return the file that was uploaded. Raises `InvalidRequest` where there is none, `TooLarge` beyond 4 MiB."""
    upload = files.get("file")
    if upload is None:
        raise InvalidRequest(_("Choose a file first."))
    if upload.size > MOST_BYTES:
        told = _("The file has %(size)s bytes; at most %(most)s are taken: part it, or give it to trivet label --file.")
        raise TooLarge(told % {"size": count(upload.size), "most": count(MOST_BYTES)})
    opened: BinaryIO = upload.file
    return opened


def refused_csv(text: str) -> str:
    """Return lines that a page took along, as a file in which no cell is a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    try:
        writer.writerows([restorable(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=None)))
    except csv.Error as error:
        raise BadRequest("that is no CSV") from error
    return out.getvalue()


def _covered(found: Coverage) -> str:
    if not found.rows:
        return _("Nothing is counted of the last 30 days. It takes a version with a reference: push it with a sample.")
    told = ngettext(
        "Of %(rows)s prediction of the last 30 days %(labels)s has a label (%(share)s).",
        "Of %(rows)s predictions of the last 30 days %(labels)s have a label (%(share)s).",
        found.rows,
    )
    share = percent(found.labels / found.rows)
    return told % {"rows": count(found.rows), "labels": count(found.labels), "share": share}


def _delay(delays: Sequence[int]) -> str:
    """Return how late half of the labels came; nothing without labels."""
    total = sum(delays)
    if total <= 0:
        return ""
    half = next(place for place, so_far in enumerate(accumulate(delays)) if so_far * 2 >= total)
    if half == len(AGES):
        return _("Half of them came later than %(age)s after the prediction.") % {"age": _age(AGES[-1])}
    return _("Half of them came within %(age)s of the prediction.") % {"age": _age(AGES[half])}


def _delays(delays: Sequence[int]) -> Iterator[DelayLine]:
    """Yield how many labels came how late, until all have come."""
    total = sum(delays)
    if total <= 0:
        return
    last = max(place for place, labels in enumerate(delays) if labels)
    for place, (labels, so_far) in enumerate(zip(delays[: last + 1], accumulate(delays), strict=False)):
        words = _("within %(age)s") % {"age": _age(AGES[place])} if place < len(AGES) else _("later")
        yield DelayLine(words, count(labels), percent(so_far / total))


def _age(age: timedelta) -> str:
    if age < DAY:
        return ngettext("%(count)s hour", "%(count)s hours", age // HOUR) % {"count": age // HOUR}
    return ngettext("%(count)s day", "%(count)s days", age // DAY) % {"count": age // DAY}


def _selective(shown: Subject, now: datetime) -> str:
    """Return that labels come of some decisions alone, where they do."""
    if shown.version is None:
        return ""
    try:
        few = hardly_labelled(coverage_by_decision(shown.version, now=now))
    except BundleError:  # counted by another layout than the reference has
        return ""
    told = [
        _("“%(decision)s”: %(labels)s of %(rows)s")
        % {"decision": one.decision, "labels": count(max(one.labels, 0)), "rows": count(one.rows)}
        for one in few
    ]
    if not told:
        return ""
    sentence = _(
        "Labels hardly come after some decisions (%(decisions)s). How right the model is is known of the others alone,"
        " and says nothing of these."
    )
    return sentence % {"decisions": ", ".join(told)}


def _number(model: str, state: LabelState) -> str:
    """Return how many labels are in a state; of many only that they are many."""
    found = Label.objects.filter(model=model, state=state)[:LOOKED_AT].count()
    return count(found) if found < LOOKED_AT else _("%(count)s or more") % {"count": count(LOOKED_AT)}


def _reasons(model: str) -> tuple[ReasonLine, ...]:
    """Return why labels were refused, of the newest ones that were."""
    refused = Label.objects.filter(model=model, state=LabelState.REFUSED)
    newest = Counter(refused.order_by("-received_at").values_list("reason", flat=True)[:LOOKED_AT])
    return tuple(
        ReasonLine(reason, count(labels))
        for reason, labels in sorted(newest.items(), key=lambda one: (-one[1], one[0]))
    )


def _lines(model: str, state: LabelState, now: datetime) -> tuple[LabelLine, ...]:
    newest = Label.objects.filter(model=model, state=state).order_by("-received_at", "-pk")[:LINES_SHOWN]
    return tuple(
        LabelLine(
            f"{one.prediction_id}:{one.row}" if one.prediction_id else one.entity_key,
            label_words(one.value),
            one.source,
            one.reason,
            moment(one.received_at, now),
        )
        for one in newest
    )


def _upload(done: LabelledFile) -> Upload:
    download, left = _download(done.refused)
    return Upload(
        counts=tuple((str(words), count(done.counts[result])) for result, words in RESULTS.items()),
        receipt=str(done.receipt),
        refused=done.refused[:LINES_SHOWN],
        refused_left_out=max(len(done.refused) - LINES_SHOWN, 0),
        download=download,
        downloads_all=not left,
    )


def _download(refused: Sequence[RefusedLine]) -> tuple[str, int]:
    """Return the lines as CSV, and how many were too many."""
    columns = [name for name in COLUMNS if any(name in line.cells for line in refused)]
    rows = [_csv_line([*ABOUT_REFUSED, *columns])]
    room = MOST_REFUSED
    for place, line in enumerate(refused):
        row = _csv_line([line.number, line.reason, *(line.cells.get(name, "") for name in columns)])
        room -= len(quote_plus(row))
        if room < 0:
            return "".join(rows), len(refused) - place
        rows.append(row)
    return "".join(rows), 0


def _csv_line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)  # as a form sends an end of line
    return out.getvalue()
