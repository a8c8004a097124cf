"""The history: Events in one chain. Each keeps the SHA-256 of what it says and of the one before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from django.db import router

from trivet.control.registry.models import STATE_ID, Event, RegistryState
from trivet.core.chain import NOTHING, canonical, follow, instant

FORMAT = "trivet event 1"
PAGE = 500  # Events read at once
FIRST_OF_ALL = -(2**62)  # an Event that was put before the first is read as well


class Head(NamedTuple):
    """Where a chain ends: the number of its last link, and that link's SHA-256."""

    number: int
    sha256: str


class Break(NamedTuple):
    """Where a chain does not hold: of what, which, in which way, and in a sentence."""

    place: str
    kind: str  # edited, missing, inserted, out of order, truncated, not sealed, not as expected
    text: str


def sha256_of(event: Event, previous: str) -> str:
    """Return the SHA-256 of what `event` says, chained to `previous`. The same before it is saved and after it is read."""
    said = [
        FORMAT,
        event.generation,
        instant(event.at),
        event.actor,
        event.action,
        event.model,
        event.version,
        event.before,
        event.after,
        event.reason,
    ]
    return follow(previous, canonical(json.loads(json.dumps(said))))  # tuples as lists, keys as texts: as JSON has them


def head_of_history(database: str) -> Head:
    """Return where the chain ends, whoever holds the registry's lock.

    What a release without the chain wrote since is taken into it: the next Event follows from that as well.
    """
    _, (generation, sha256) = _state(database)
    for event in events_after(generation, database):
        generation, sha256 = event.generation, sha256_of(event, sha256)
    return Head(generation, sha256)


class HistoryAudit(NamedTuple):
    """What the chain of Events was found to be. `on_the_way` is its SHA-256 at the number that was asked for."""

    events: int
    head: Head
    broken: Break | None
    on_the_way: str = ""


def audit_history(*, at: int = 0) -> HistoryAudit:
    """Follow the chain from its first Event, and return what was found; at the first break it ends.

    Memory does not grow with the history. Events that are written meanwhile are left out.
    """
    database = router.db_for_write(RegistryState)
    last, (until, stored) = _state(database)
    number, sha256, count, on_the_way = 0, NOTHING, 0, ""

    def ended(broken: Break | None) -> HistoryAudit:
        return HistoryAudit(count, Head(number, sha256), broken, on_the_way)

    for event in events_after(FIRST_OF_ALL, database):
        if event.generation > last:
            if event.generation <= RegistryState.objects.using(database).generation():
                break  # written meanwhile
            return ended(Break(f"Event {event.generation}", "inserted", f"Event {event.generation} is after the last"))
        if event.generation <= number:
            return ended(
                Break(f"Event {event.generation}", "inserted", f"Event {event.generation} is before the first")
            )
        if event.generation != number + 1:
            return ended(_gap(number + 1, event.generation - 1, "Event"))
        sha256 = sha256_of(event, sha256)
        number, count = event.generation, count + 1
        if event.sha256 and event.sha256 != sha256:
            return ended(Break(f"Event {number}", "edited", f"Event {number} ({event}) is not what was written"))
        if number == until and sha256 != stored:
            return ended(
                Break(f"Event {number}", "edited", f"Event {number} is not the one that the registry ended with")
            )
        if number == at:
            on_the_way = sha256
    if number < max(last, until):
        return ended(Break(f"Event {number + 1}", "truncated", f"Events {number + 1} to {max(last, until)} are gone"))
    if number > until and count:
        text = f"Events {until + 1} to {number} are in no chain: a release without one wrote them, or somebody else"
        return ended(Break(f"Event {until + 1}", "not sealed", text))
    return ended(None)


def events_after(generation: int, database: str) -> Iterator[Event]:
    """Yield the Events after `generation`, in order, a page at a time."""
    while True:
        page = list(Event.objects.using(database).filter(generation__gt=generation).order_by("generation")[:PAGE])
        yield from page
        if len(page) < PAGE:
            return
        generation = page[-1].generation


def _state(database: str) -> tuple[int, Head]:
    """Return the registry's generation and where the chain ends, both of one instant."""
    states = RegistryState.objects.using(database).filter(pk=STATE_ID)
    found = states.values_list("generation", "head_generation", "head_sha256").first()
    return (found[0], Head(found[1], found[2] or NOTHING)) if found else (0, Head(0, NOTHING))


def _gap(first: int, last: int, noun: str) -> Break:
    which = f"{noun} {first} is" if first == last else f"{noun}s {first} to {last} are"
    return Break(f"{noun} {first}", "missing", f"{which} gone")
