"""Seals: what makes the log show that somebody changed it. They cost an answer nothing, for they are made when it is shipped.

A row keeps the SHA-256 of its record, in which what may have to be erased stands as a digest with a salt of its own; a link
of the chain, one for each shipped batch, keeps that of its rows' and follows from the link before. Erasure takes inputs,
entity and salt of a row, retention the rows of whole links: what is left still fits the chain.

Inputs may go before the entity does. They have a digest of their own within that digest, and a salt from which the one of the
rest follows but not back: a row whose inputs are old keeps that digest and the other salt.

Everything is computed over what the log holds, so that it can be computed again from there (`core.chain` has the form).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.utils import timezone

from trivet.control.predictions.models import LogHead, LogLink
from trivet.core.chain import canonical, follow, instant

FORMAT = 1  # of a row's record and of a link
SALT_BYTES = 16
SALT_LENGTH = 2 * SALT_BYTES  # in hexadecimal
SAID_COLUMNS = (
    "kind",
    "model",
    "version",
    "digest",
    "generation",
    "route",
    "caller",
    "door",
    "request_id",
    "latency_us",
    "cached",
    "fallback_from",
)
SEAL_COLUMNS = ("salt", "private_sha256", "sha256", "link", "place")

_encode = msgspec.json.Encoder().encode
_sha256 = hashlib.sha256


class Private(NamedTuple):
    """What of a row may have to be erased. `inputs` and `parameters` are JSON values."""

    entity_key: str
    caller_id: str
    inputs_sha256: str
    inputs: Any
    parameters: Any


NOTHING_PRIVATE = Private("", "", "", None, None)


class Line(NamedTuple):
    """A row on its way into the log, sealed but for its place in the chain."""

    values: tuple[Any, ...]  # as the database takes them
    salt: str
    private_sha256: str
    digest: bytes  # of its record
    prediction_id: UUID
    row: int
    made_at: datetime


def private_digest(salt: str, private: Private) -> str:
    """Return the digest that stands in a record for what may have to be erased."""
    return digest_without_inputs(salt_without_inputs(salt), private, inputs_digest(salt, private))


def inputs_digest(salt: str, private: Private) -> str:
    """Return the digest that stands in that one for inputs and parameters."""
    texts = _encode((salt, private.inputs_sha256))
    return _sha256(texts + canonical((private.inputs, private.parameters))).hexdigest()


def salt_without_inputs(salt: str) -> str:
    """Return the salt of what is left once the inputs are gone: nobody can guess them by it."""
    return _sha256(b"without inputs\0" + salt.encode()).hexdigest()[:SALT_LENGTH]


def digest_without_inputs(salt: str, private: Private, inputs: str) -> str:
    """Return `private_digest`, where of the inputs only their digest is left; `salt` is `salt_without_inputs`."""
    return _sha256(_encode((salt, private.entity_key, private.caller_id, inputs))).hexdigest()


def content_of_request(
    said: Sequence[Any],  # Any: what `SAID_COLUMNS` hold
    prediction_id: UUID,
    made_at: int | str,
    shadow_of: UUID | None,
) -> bytes:
    """Return what all rows of a request have in common, as it is hashed; `made_at` as `core.chain.instant` tells it."""
    return _encode((FORMAT, *said, prediction_id.hex, made_at, None if shadow_of is None else shadow_of.hex))


def content_of_row(row: int, decision: str, output: Any, score: float | None, flags: Any) -> bytes:
    """Return what is a row's own, as it is hashed."""
    return _encode((row, decision)) + canonical((output, score, flags))


def record_digest(request: bytes, row: bytes, private_sha256: str) -> bytes:
    """Return the SHA-256 of a row's record."""
    return _sha256(b"%b%b%b" % (request, row, private_sha256.encode())).digest()


def row_sha256(digest: bytes, link: int, place: int) -> str:
    """Return the SHA-256 that a row keeps: of its record, and of its place in the chain."""
    return _sha256(b"%d/%d/%b" % (link, place, digest)).hexdigest()


def sealed(lines: Iterable[Line], link: int) -> tuple[list[tuple[Any, ...]], str]:
    """Return the rows of `lines` with their seals, as the database takes them, and the digest of them all."""
    rows, all_of_them = [], _sha256()
    for place, line in enumerate(lines):
        sha256 = row_sha256(line.digest, link, place)
        all_of_them.update(sha256.encode())
        rows.append((*line.values, line.salt, line.private_sha256, sha256, link, place))
    return rows, all_of_them.hexdigest()


def link_of(
    head: LogHead,
    cursor: tuple[str, int, int],
    *,
    ids: tuple[int, int],
    rows: int,
    until: datetime,
    digest: str,
) -> LogLink:
    """Return the link that follows `head`, not saved. `ids` are the first and the last that its rows may have."""
    worker, segment, offset = cursor
    link = LogLink(
        number=head.links + 1,
        format=FORMAT,
        at=timezone.now(),
        worker=worker,
        segment=segment,
        offset=offset,
        first_id=ids[0],
        last_id=ids[1],
        rows=rows,
        until=until,
        digest=digest,
    )
    link.sha256 = link_sha256(link, head.sha256)
    return link


def link_sha256(link: LogLink, previous: str) -> str:
    """Return the SHA-256 of what `link` says, chained to `previous`."""
    said = (
        link.format,
        link.number,
        instant(link.at),
        link.worker,
        link.segment,
        link.offset,
        link.first_id,
        link.last_id,
        link.rows,
        instant(link.until),
        link.digest,
    )
    return follow(previous, _encode(said))
