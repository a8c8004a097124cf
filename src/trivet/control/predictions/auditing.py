"""The audit of the log: is every row what was written, is each there, and is nothing there besides?

It reads the log once, a page at a time, so memory does not grow with it; what is shipped, pruned or erased meanwhile harms
nothing. Of a chain that does not hold it names the first place where it breaks, and in which way.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db import router
from django.db.models import Q, Sum

from trivet.control.predictions.models import LogHead, LogLink, Prediction
from trivet.control.predictions.sealing import (
    NOTHING_PRIVATE,
    SAID_COLUMNS,
    Private,
    content_of_request,
    content_of_row,
    digest_without_inputs,
    link_sha256,
    private_digest,
    record_digest,
    row_sha256,
)
from trivet.control.registry.history import FIRST_OF_ALL, Break, Head
from trivet.control.registry.models import Event
from trivet.core.chain import NOTHING, instant

PAGE = 1000
FORGET, PRUNE_LOG, ERASE_INPUTS = "forget", "prune_log", "erase_inputs"
_OTHERS = (
    "prediction_id",
    "made_at",
    "shadow_of",
    "row",
    "decision",
    "output",
    "score",
    "flags",
    "entity_key",
    "caller_id",
    "inputs_sha256",
    "inputs",
    "parameters",
    "salt",
    "inputs_digest",
    "private_sha256",
    "sha256",
    "link",
    "place",
    "erased_by",
    "id",
)


class _Row(NamedTuple):
    """A row as it is read. `said` are its `SAID_COLUMNS`."""

    said: tuple[Any, ...]
    prediction_id: Any  # UUID, and what else the columns hold
    made_at: Any
    shadow_of: Any
    row: int
    decision: str
    output: Any
    score: float | None
    flags: Any
    private: Private
    salt: str
    inputs_digest: str
    private_sha256: str
    sha256: str
    link: int | None
    place: int | None
    erased_by: int | None
    id: int

    @property
    def name(self) -> str:
        return f"{self.prediction_id}:{self.row}"

    def digest(self) -> bytes:
        """Return the SHA-256 of what it says now."""
        request = content_of_request(self.said, self.prediction_id, instant(self.made_at), self.shadow_of)
        own = content_of_row(self.row, self.decision, self.output, self.score, self.flags)
        return record_digest(request, own, self.private_sha256)


class LogAudit(NamedTuple):
    """What the log was found to be. `on_the_way` is the chain's SHA-256 at the number that was asked for."""

    links: int
    rows: int
    older: int  # rows from before the chain began
    erased: int  # rows whose inputs were erased, for their age or with their entity
    head: Head
    broken: Break | None
    on_the_way: str = ""


class _Broken(Exception):
    def __init__(self, place: str, kind: str, text: str) -> None:
        super().__init__(text)
        self.found = Break(place, kind, text)


def audit_log(*, at: int = 0) -> LogAudit:
    """Follow the chain of the log and read every row of it; return what was found, up to the first break."""
    audit = _Audit(at)
    broken = None
    try:
        audit.follow_links()
        audit.read_rows()
        audit.ask_the_history()
    except _Broken as error:
        broken = error.found
    erased = sum(audit.erased.values()) + sum(audit.aged.values())
    return LogAudit(audit.head.number, audit.rows, audit.older, erased, audit.head, broken, audit.on_the_way)


class _Audit:
    def __init__(self, at: int) -> None:
        database = router.db_for_write(Prediction)
        self._links = LogLink.objects.using(database)
        self._predictions = Prediction.objects.using(database)
        self._heads = LogHead.objects.using(database)
        self._events = Event.objects.using(router.db_for_write(Event))
        self._at = at
        self._until = self._heads.read()
        self.head, self.on_the_way = Head(0, NOTHING), ""
        self.rows = self.older = 0
        self.erased: dict[int, int] = defaultdict(int)  # rows, by the generation of the Event that tells of it
        self.aged: dict[int, int] = defaultdict(int)  # as well, whose inputs alone were erased
        self.pruned: set[int] = set()  # generations; how many rows is asked at the end, of one instant

    def follow_links(self) -> None:
        """Follow the chain itself, from the first link to the head."""
        for link in self._in_order("number", FIRST_OF_ALL):
            number, place = link.number, f"link {link.number}"
            if number > self._until.links:
                if number <= self._heads.read().links:
                    break  # made meanwhile
                raise _Broken(place, "inserted", f"link {number} is after the last")
            if number <= self.head.number:
                raise _Broken(place, "inserted", f"link {number} is before the first")
            if number != self.head.number + 1:
                raise _missing("link", self.head.number + 1, number - 1)
            if link.sha256 != link_sha256(link, self.head.sha256):
                raise _Broken(place, "edited", f"link {number} is not what was written")
            self.head = Head(number, link.sha256)
            if link.pruned_by is not None:
                self.pruned.add(link.pruned_by)
            if number == self._at:
                self.on_the_way = link.sha256
        if self.head.number < self._until.links:
            first, last = self.head.number + 1, self._until.links
            raise _Broken(f"link {first}", "truncated", f"links {first} to {last} are gone")
        if self.head.sha256 != self._until.sha256:
            raise _Broken(
                f"link {self.head.number}", "edited", f"link {self.head.number} is not the one the log ended with"
            )

    def read_rows(self) -> None:
        """Read every row, beside the links, which have their rows in the same order."""
        rows = _Ahead(self._read(FIRST_OF_ALL))
        is_first = True
        for link in self._in_order("first_id", FIRST_OF_ALL):
            if link.number > self.head.number:
                continue
            while (row := rows.next) is not None and row.id < link.first_id:
                if not (is_first and _may_be_older(row)):
                    raise _not_sealed(row)
                self.older += 1
                rows.take()
            is_first = False
            self._read_link(link, rows)
        while (row := rows.next) is not None:
            if is_first and _may_be_older(row):
                self.older += 1
            elif row.link is None or not self.head.number < row.link <= self._heads.read().links:
                raise _not_sealed(row)
            rows.take()

    def ask_the_history(self) -> None:
        """Hold what was pruned and erased against the Events that tell of it."""
        gone: Counter[int] = Counter()
        for generation in self.pruned:
            rows = self._links.filter(pruned_by=generation).aggregate(rows=Sum("rows"))["rows"] or 0
            told = self._after(generation, PRUNE_LOG)
            gone.update({int(by): erased for by, erased in told.get("erased", {}).items()})
            if told.get("rows", 0) != rows:
                text = f"Event {generation} does not tell of the {rows} rows that are gone in its name"
                raise _Broken(f"Event {generation}", "missing", text)
        for action, counted in ((FORGET, self.erased), (ERASE_INPUTS, self.aged)):
            for generation, rows in counted.items():
                if self._after(generation, action).get("rows", 0) - gone[generation] < rows:
                    text = f"Event {generation} tells of fewer than the {rows} rows whose inputs are gone in its name"
                    raise _Broken(f"Event {generation}", "edited", text)

    def _after(self, generation: int, action: str) -> dict[str, Any]:
        """Return what the Event says there was after it; nothing where there is no such Event."""
        return self._events.filter(generation=generation, action=action).values_list("after", flat=True).first() or {}

    def _read_link(self, link: LogLink, rows: _Ahead) -> None:
        digest, place, erased, aged = hashlib.sha256(), 0, [], 0
        try:
            for row in self._rows_of(link, rows):
                if row.link != link.number:
                    raise _not_sealed(row)
                self._check(row, link, place)
                if row.erased_by is not None:
                    erased.append(row.erased_by)
                elif row.inputs_digest:
                    aged += 1
                digest.update(row.sha256.encode())
                place += 1
            if link.pruned_by is not None and not place:
                return
            if place < link.rows:
                raise _missing(f"row of link {link.number},", place, link.rows - 1)
            if digest.hexdigest() != link.digest:
                text = f"rows of link {link.number} were changed together with their hashes"
                raise _Broken(f"link {link.number}", "edited", text)
        except _Broken:
            if link.pruned_by is not None or self._links.get(pk=link.pk).pruned_by is None:
                raise
            while rows.next is not None and rows.next.id <= link.last_id:  # pruned meanwhile
                rows.take()
            return
        self.rows += place
        for generation in erased:
            self.erased[generation] += 1
        if aged and link.inputs_erased_by is not None:
            self.aged[link.inputs_erased_by] += aged

    def _rows_of(self, link: LogLink, rows: _Ahead) -> Iterator[_Row]:
        """Yield the rows up to the link's last, but for those that were pruned after they were read, and before it was."""
        while (row := rows.next) is not None and row.id <= link.last_id:
            if link.pruned_by is None or self._predictions.filter(pk=row.id).exists():
                yield row
            rows.take()

    def _check(self, row: _Row, link: LogLink, place: int) -> None:
        name = f"row {row.name} (link {link.number}, place {row.place})"
        if link.pruned_by is not None:
            raise _Broken(name, "inserted", f"{name} is there, though its link was pruned")
        if row.place != place:
            if row.place is not None and row.place > place:
                if self._predictions.filter(
                    pk__gte=link.first_id, pk__lte=link.last_id, link=link.number, place=place
                ).exists():
                    raise _Broken(name, "out of order", f"{name} stands where place {place} belongs")
                raise _missing(f"row of link {link.number},", place, row.place - 1)
            raise _Broken(name, "inserted", f"{name} is there a second time")
        digest = row.digest()
        if row.sha256 != row_sha256(digest, link.number, place):
            belongs = self._place_of(digest, link)
            if belongs is not None:
                raise _Broken(name, "out of order", f"{name} says what place {belongs} of its link said")
            raise _Broken(name, "edited", f"{name} is not what was written")
        if not row.salt and row.erased_by is not None:
            if row.private != NOTHING_PRIVATE:
                raise _Broken(name, "edited", f"{name} has inputs or an entity again, which were erased")
        elif row.erased_by is None and row.inputs_digest:
            self._check_aged(row, link, name)
        elif row.erased_by is not None or row.private_sha256 != private_digest(row.salt, row.private):
            raise _Broken(name, "edited", f"the inputs or the entity of {name} are not what was written")

    def _check_aged(self, row: _Row, link: LogLink, name: str) -> None:
        private = row.private
        if private != NOTHING_PRIVATE._replace(entity_key=private.entity_key, caller_id=private.caller_id):
            raise _Broken(name, "edited", f"{name} has inputs again, which were erased")
        if row.private_sha256 != digest_without_inputs(row.salt, private, row.inputs_digest):
            raise _Broken(name, "edited", f"the entity of {name} is not what was written")
        if link.inputs_erased_by is None:  # erased meanwhile?
            link.inputs_erased_by = self._links.values_list("inputs_erased_by", flat=True).filter(pk=link.pk).first()
        if link.inputs_erased_by is None:
            raise _Broken(name, "edited", f"the inputs of {name} are gone, and no Event tells of it")

    def _place_of(self, digest: bytes, link: LogLink) -> int | None:
        """Return whose place in the link it is that `digest` was sealed for."""
        there = self._predictions.filter(pk__gte=link.first_id, pk__lte=link.last_id, link=link.number)
        for place, sha256 in there.values_list("place", "sha256").iterator(chunk_size=PAGE):
            if place is not None and sha256 == row_sha256(digest, link.number, place):
                return int(place)
        return None

    def _in_order(self, field: str, after: int) -> Iterator[LogLink]:
        """Yield the links by `field`, and those that have it in common by their numbers: after a prune some begin alike."""
        number = FIRST_OF_ALL
        while True:
            later = Q(**{f"{field}__gt": after}) | Q(**{field: after}, number__gt=number)
            page = list(self._links.filter(later, **{f"{field}__gte": after}).order_by(field, "number")[:PAGE])
            yield from page
            if len(page) < PAGE:
                return
            after, number = getattr(page[-1], field), page[-1].number

    def _read(self, after: int) -> Iterator[_Row]:
        columns = len(SAID_COLUMNS)
        while True:
            page = list(
                self._predictions.filter(pk__gt=after).order_by("pk").values_list(*SAID_COLUMNS, *_OTHERS)[:PAGE]
            )
            for values in page:
                own = values[columns:]
                yield _Row._make((values[:columns], *own[:8], Private(*own[8:13]), *own[13:]))
            if len(page) < PAGE:
                return
            after = page[-1][-1]


class _Ahead:
    """Rows, of which the next can be looked at."""

    def __init__(self, rows: Iterator[_Row]) -> None:
        self._rows = rows
        self.next = next(rows, None)

    def take(self) -> None:
        self.next = next(self._rows, None)


def _may_be_older(row: _Row) -> bool:
    """True for a row that a release without the chain may have written: every database counts from 1."""
    return row.link is None and row.id > 0


def _not_sealed(row: _Row) -> _Broken:
    name = f"row {row.name} (id {row.id})"
    if row.link is None:
        text = f"{name} is in no link: a release without the chain wrote it, or somebody else"
        return _Broken(name, "not sealed", text)
    return _Broken(name, "inserted", f"{name} is not where the rows of its link {row.link} are")


def _missing(noun: str, first: int, last: int) -> _Broken:
    which = f"{noun} {first} is gone" if first == last else f"{noun} {first} to {last} are gone"
    return _Broken(f"{noun} {first}", "missing", which)
