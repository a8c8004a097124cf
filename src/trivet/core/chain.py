"""A chain of hashes: what a row said, in one form on every database, and how one follows from the one before.

The form is that of the value and not of its text, for a database keeps the value: PostgreSQL orders the names of a JSON
object as it likes, writes 1e16 in full and knows no -0.0. What two databases read back alike has one form here.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NOTHING = "0" * 64  # what the first of a chain follows from
_MAY_HAVE_EXPONENT = re.compile(rb"e[1-9]").search  # begins with a letter, by which Python looks six times as fast
_HAS_EXPONENT = re.compile(rb"[0-9]e[0-9]").search
_HAS_MINUS_NOUGHT = re.compile(rb"-0\.0(?![0-9])").search

_encode = msgspec.json.Encoder(order="sorted").encode


def canonical(value: Any) -> bytes:
    """Return the form of a JSON value: names in order, a number by its exact decimal value, NaN and infinities as null.

    >>> canonical({"b": 1e16, "a": -0.0}) == canonical({"a": 0.0, "b": 10**16})
    True
    """
    try:
        text = _encode(value)
    except OverflowError:  # a number of over 64 bits: a float that a database wrote in full
        text = b""
    return _encode(_exact(value)) if not text or _is_odd(text) else text


def follow(previous: str, content: bytes) -> str:
    """Return the SHA-256 of `content` and of the link before, as 64 hexadecimal digits."""
    return hashlib.sha256(bytes.fromhex(previous) + content).hexdigest()


def instant(moment: datetime) -> int | str:
    """Return `moment` as a chain has it: microseconds since 1970, or as it stands where it knows no zone."""
    return moment.isoformat() if moment.tzinfo is None else (moment - EPOCH) // MICROSECOND


def _is_odd(text: bytes) -> bool:
    """True where a float in `text` may be read back otherwise; a word that looks so costs time only."""
    may_have_exponent = _MAY_HAVE_EXPONENT(text) is not None and _HAS_EXPONENT(text) is not None
    return may_have_exponent or _HAS_MINUS_NOUGHT(text) is not None


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        text = _encode(value)
        if text == b"-0.0":
            return 0.0
        return msgspec.Raw(str(int(Decimal(text.decode()))).encode()) if _HAS_EXPONENT(text) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return msgspec.Raw(str(value).encode())
    if isinstance(value, dict):
        return {str(name): _exact(element) for name, element in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(element) for element in value]
    return value
