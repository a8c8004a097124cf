"""Labels in a CSV file: what its columns are, what each line says, and what became of a whole file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID, uuid4

from trivet.control.monitoring.label_folding import LabelFolding
from trivet.control.predictions.labelling import APPLIED, REFUSED, REPEATED, REVISED, WAITING, submit
from trivet.core.cells import restored
from trivet.core.errors import InvalidRequest, TooLarge, quoted
from trivet.core.ids import split_row_id
from trivet.core.records import SaidLabel
from trivet.serving.labels import said_of
from trivet.serving.process import count_label

if TYPE_CHECKING:
    from trivet.control.registry.permissions import Actor

NAMES = ("prediction_id", "entity_key")
COLUMNS = (*NAMES, "label", "observed_at", "source", "weight")
ABOUT_REFUSED = ("line", "reason")  # columns of the lines that were refused: such a file is corrected, and read again
MOST_LINES = 10_000  # of a file that is applied as a whole: the log is not written meanwhile, a second or two
MOST_CHARACTERS = 10_000  # of a line

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,19})")  # with more digits it has over 64 bits; 007 is a word
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Line:
    """One line: its number in the file, its cells by their columns, and what it says, or why it says nothing."""

    number: int
    cells: dict[str, str]
    said: SaidLabel | InvalidRequest


@dataclass(frozen=True)
class RefusedLine:
    """A line that was refused, and why."""

    number: int
    cells: dict[str, str]
    reason: str


@dataclass(frozen=True)
class LabelledFile:
    """What became of a file: how many of its lines came to what, by result; those that were refused; and its receipt."""

    counts: dict[str, int]
    refused: tuple[RefusedLine, ...]
    receipt: UUID


def label_file(file: BinaryIO, *, model: str, actor: Actor, source: str = "") -> LabelledFile:
    """Apply the labels of a file, whose lines are read one by one: all that can be applied, or, where it is no such file, none.

    A line that is refused is named, the others stand; one that comes before its prediction waits for it. `source` is that
    of lines that name none. Raises `InvalidRequest` for what is no CSV of labels, `TooLarge` beyond 10,000 lines, `NotFound`
    for a model that is not there, `PermissionDenied`.
    """
    receipt = uuid4()
    read: list[Line] = []
    refused: list[RefusedLine] = []

    def said() -> Iterator[SaidLabel]:
        for place, line in enumerate(lines_of(file, source)):
            if place >= MOST_LINES:
                raise TooLarge(f"the file has over {MOST_LINES:,} lines: part it, or give it to `trivet label --file`.")
            if isinstance(line.said, InvalidRequest):
                refused.append(RefusedLine(line.number, line.cells, line.said.message))
            else:
                read.append(line)
                yield line.said

    counts = dict.fromkeys((APPLIED, WAITING, REPEATED, REVISED, REFUSED), 0)
    became = submit(said(), model=model, actor=actor, receipt=receipt, beside=LabelFolding())
    for line, one in zip(read, became, strict=True):
        counts[one.result] += 1
        count_label(model, one.result)
        if one.result == REFUSED:
            refused.append(RefusedLine(line.number, line.cells, one.reason))
    counts[REFUSED] = len(refused)
    return LabelledFile(counts, tuple(sorted(refused, key=lambda one: one.number)), receipt)


def lines_of(file: BinaryIO, source: str = "") -> Iterator[Line]:
    """Yield the lines of a CSV file in UTF-8, but for empty ones; `source` is that of lines that name none. The file is closed.

    A cell holds no line break, so that each line is read by itself. Raises `InvalidRequest` for what is no CSV of labels.
    """
    with io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        rows = _rows(text)
        try:
            columns = _checked(next(rows, []))
            for number, cells in enumerate(rows, start=2):
                if cells:
                    yield _line(number, columns, cells, source)
        except UnicodeDecodeError:
            raise InvalidRequest("the file is not in UTF-8: save it as CSV in UTF-8.") from None


def _rows(text: io.TextIOWrapper) -> Iterator[list[str]]:
    """Yield the cells of each line."""
    number = 0
    while line := text.readline(MOST_CHARACTERS + 1):
        number += 1
        if len(line.rstrip("\n")) > MOST_CHARACTERS:
            raise InvalidRequest(f"line {number} has over {MOST_CHARACTERS:,} characters: no line of labels has.")
        try:
            yield next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            raise InvalidRequest(f"line {number} is no CSV: {error}.") from None


def _checked(columns: Sequence[str]) -> list[str]:
    """Return the columns, where a file with them is one of labels."""
    known = (*COLUMNS, *ABOUT_REFUSED)
    for place, name in enumerate(columns):
        if name not in known:
            raise InvalidRequest(f"column {quoted(name)} is none of {', '.join(COLUMNS)}; commas part columns.")
        if name in columns[:place]:
            raise InvalidRequest(f"column {quoted(name)} is there twice: leave one out.")
    if "label" not in columns or not set(columns) & set(NAMES):
        raise InvalidRequest("the first line names the columns: label, and prediction_id or entity_key, are needed.")
    return list(columns)


def _line(number: int, columns: Sequence[str], row: Sequence[str], source: str) -> Line:
    if set(ABOUT_REFUSED) <= set(columns):  # a file that was made here: what was made inert says again what it said
        row = [restored(cell) for cell in row]
    cells = dict(zip(columns, row, strict=False))
    if len(row) > len(columns):
        problem = InvalidRequest(f"it has {len(row)} cells, and there are {len(columns)} columns.")
        return Line(number, cells, problem)
    try:
        return Line(number, cells, _said_in(cells, source))
    except InvalidRequest as error:
        return Line(number, cells, error)


def _said_in(cells: dict[str, str], source: str) -> SaidLabel:
    named = [cells.get(name) or "" for name in NAMES]
    if not any(named):
        raise InvalidRequest("its prediction is not named: give a prediction_id or an entity_key.")
    if all(named):
        raise InvalidRequest("it names its prediction twice: give its prediction_id or its entity_key, not both.")
    if not cells.get("label"):
        raise InvalidRequest("its label is empty: leave the line out while nobody knows.")
    if named[0] and split_row_id(named[0]) is None:
        raise InvalidRequest(f"prediction_id {quoted(named[0])} is no id of a prediction.")
    observed_at = None
    if moment := cells.get("observed_at"):
        try:
            observed_at = datetime.fromisoformat(moment)
        except ValueError:
            raise InvalidRequest(f"observed_at {quoted(moment)} is no time: write 2026-11-30T09:15:00+01:00.") from None
    return said_of(
        named[0] or named[1],
        value_in(cells["label"]),
        source=cells.get("source") or source,
        observed_at=observed_at,
        weight=_weight(cells.get("weight") or "1"),
    )


def _weight(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise InvalidRequest(f"weight {quoted(text)} is no number: leave it out, or write one above 0.")
    return float(text)


def value_in(text: str) -> Any:
    """Return what a text on the command line or in a cell stands for: true, false, a number, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not _NUMBER.fullmatch(text):
        return text
    return int(text) if _WHOLE.fullmatch(text) else float(text)
