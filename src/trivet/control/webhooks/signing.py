"""The signature of a message: HMAC-SHA256 over its time and its body, so that a receiver knows whose it is and how old."""

from __future__ import annotations

import hashlib
import hmac

TIME_HEADER = "Trivet-Timestamp"
SIGNATURE_HEADER = "Trivet-Signature"
SCHEME = "v1="


def signature(secret: str, at: int, body: bytes) -> str:
    """Return the value of the header `Trivet-Signature` for `body`, sent `at` so many seconds since 1970."""
    return SCHEME + hmac.new(secret.encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
