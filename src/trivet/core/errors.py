"""Every error Trivet raises on purpose, as one tree that knows nothing of HTTP.

TrivetError
├── InvalidRequest            the caller's data does not fit the model's signature
│   └── InvalidRows           the same, for named rows: one problem per row and field
├── Unauthenticated           no key, or one that is not valid here
├── PermissionDenied          known caller, verb not granted
├── NotFound                  no such model, version, alias, key or path
├── Conflict                  somebody changed the registry first
├── Refused                   an action that its rules forbid now (version not ready, ...)
├── ApprovalNeeded            it is written down, and happens when a second person approves it
├── Unavailable               cannot answer at the moment; the same request may succeed later
├── DeadlineExceeded          the answer would have come too late
├── RateExceeded              the caller asked more often than it may
├── UnsupportedMedia          a content type or encoding that is not read here
├── TooLarge                  beyond a stated bound
├── InternalError             a defect of ours; never the caller's or the model's doing
├── BundleError               a bundle on disk is not what its digest says, or cannot be read
└── CompileError              a trained object cannot become a bundle
    ├── ParityFailed          it could, but would answer differently
    └── SlowerCompiled        it could, but would answer later

Each carries `code`, a word of the closed catalogue (protocol, section 8), and a message that names the value, the
place and the remedy. `protocol/` turns codes into statuses, once.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

QUOTE_LIMIT = 40  # characters of a caller's value that a message may repeat
CLOSE_ENOUGH = 0.6  # similarity from which a name is offered as "did you mean"

_brief = reprlib.Repr()  # a caller's value may be deep, or have a million elements
_brief.maxlevel, _brief.maxlist, _brief.maxdict = 3, 12, 6


class TrivetError(Exception):
    """The root of the tree; catch this to catch everything Trivet raises on purpose."""

    default_code: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code

    def __str__(self) -> str:
        return self.message


class InvalidRequest(TrivetError):
    """The data does not fit the signature; nothing was predicted and nothing was recorded."""

    default_code = "WRONG_TYPE"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        row: int | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.field = field
        self.row = row


class InvalidRows(InvalidRequest):
    """One or more named rows do not fit; `problems` lists at most 100 of them."""

    default_code = "INVALID_ROWS"

    def __init__(self, message: str, problems: Sequence[InvalidRequest]) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class Unauthenticated(TrivetError):
    """No key, an unknown one, an expired one or a revoked one; which of these is not told."""

    default_code = "KEY_REQUIRED"

    def __init__(self, message: str, *, code: str | None = None, reason: str = "missing") -> None:
        """`reason` is for who operates the server: missing, malformed, conflicting, invalid or expired."""
        super().__init__(message, code=code)
        self.reason = reason


class PermissionDenied(TrivetError):
    """The caller may see the model but not use this verb on it."""

    default_code = "VERB_NOT_GRANTED"
    reason: ClassVar[str] = "verb"


class NotFound(TrivetError):
    """No such thing, or none that this caller may know of: the two are not told apart."""

    default_code = "NOT_FOUND"


class Conflict(TrivetError):
    """Somebody changed the registry after the caller looked; look again, then decide again."""

    default_code = "CONFLICT"


class Refused(TrivetError):
    """An action whose rules forbid it now; the message says what has to change first."""

    default_code = "REFUSED"


class ApprovalNeeded(TrivetError):
    """Nothing has changed yet: it is written down as a `proposal`, and happens when a second person approves that."""

    default_code = "APPROVAL"

    def __init__(self, message: str, *, proposal: int) -> None:
        super().__init__(message)
        self.proposal = proposal


class Unavailable(TrivetError):
    """Not now; the same request may succeed later."""

    default_code = "MODEL_FAILED"


class DeadlineExceeded(TrivetError):
    """The answer would have come after the deadline."""

    default_code = "DEADLINE"


class RateExceeded(TrivetError):
    """The caller asked more often than it may; after `retry_after` seconds there is room again."""

    default_code = "RATE"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnsupportedMedia(TrivetError):
    """A media type or encoding that is not read here."""

    default_code = "CONTENT_TYPE"


class TooLarge(TrivetError):
    """Beyond a stated bound; the message names the bound and the setting that moves it."""

    default_code = "BODY_TOO_LARGE"


class InternalError(TrivetError):
    """A defect of ours. The message says nothing of its cause; the log does."""

    default_code = "INTERNAL"


class BundleError(TrivetError):
    """A bundle is damaged, incomplete, or of an unknown format. It is never loaded in part."""

    default_code = "BUNDLE"


class CompileError(TrivetError):
    """A trained object cannot become a bundle; the message names the way out."""

    default_code = "COMPILE"


class ParityFailed(CompileError):
    """The compiled graph answers differently from the original; `worst` holds the worst rows, largest first."""

    default_code = "PARITY"

    def __init__(self, message: str, worst: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.worst = tuple(worst)


class SlowerCompiled(CompileError):
    """The compiled graph is right but slower than the original; `compiled` is what it became, for whoever has no other way."""

    def __init__(self, message: str, compiled: Any = None) -> None:
        super().__init__(message)
        self.compiled = compiled


def quoted(value: object) -> str:
    """Return `value` as it may stand in a message: escaped, in single quotes, cut at 40 characters."""
    text = value if isinstance(value, str) else _brief.repr(value) if isinstance(value, list | dict) else repr(value)
    if len(text) > QUOTE_LIMIT:
        text = text[: QUOTE_LIMIT - 1] + "…"
    safe = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in safe) + "'"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `known`, or an empty string when none is close."""
    matches = difflib.get_close_matches(word[:256], list(known), n=1, cutoff=CLOSE_ENOUGH)
    return f" Did you mean {quoted(matches[0])}?" if matches else ""
