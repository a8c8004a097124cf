"""API keys as text: how one is minted, read back and hashed. Both planes use these functions; neither stores a key.

A key is `trivet_<id>_<secret><check>`: an id of 8 characters that may be shown and logged, a secret of 43 base-62
characters (256 bits), and 6 characters that catch typing errors before anything is looked up. Only the keyed hash of
the whole text is stored.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from typing import NamedTuple

PREFIX = "trivet"
ID_LENGTH = 8
SECRET_LENGTH = 43  # base-62 characters: 256 bits
CHECK_LENGTH = 6  # base-62 characters: room for the 32 bits of a CRC
HASH_BYTES = 32
PEPPER_BYTES = 64  # the longest key BLAKE2b takes

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_ALPHABET = string.digits + string.ascii_lowercase  # lower case, so that no collation takes two ids for one
_KEY = re.compile(rf"{PREFIX}_([0-9a-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH + CHECK_LENGTH}}}", re.ASCII)


class ParsedKey(NamedTuple):
    """A text that has the form of a key and whose check part is right: worth a look-up, not yet trusted."""

    id: str
    plaintext: str


def mint_key(key_id: str | None = None) -> tuple[str, str]:
    """Return a new key as `(id, plaintext)`, with a new id or a new secret for the id that is given.

    The plaintext is shown to its owner once and kept nowhere.
    """
    key_id = key_id or "".join(secrets.choice(_ID_ALPHABET) for _ in range(ID_LENGTH))
    secret = "".join(secrets.choice(_BASE62) for _ in range(SECRET_LENGTH))
    body = f"{PREFIX}_{key_id}_{secret}"
    return key_id, body + check_part(body)


def parse_key(text: str) -> ParsedKey | None:
    """Return the key in `text`, or None when it has not the form of one or its check part is wrong. About 2 µs."""
    match = _KEY.fullmatch(text)
    if match is None or check_part(text[:-CHECK_LENGTH]) != text[-CHECK_LENGTH:]:
        return None
    return ParsedKey(match[1], text)


def derive_pepper(text: str) -> bytes:
    """Return the key of the hash that a configured pepper stands for: 64 bytes, whatever its length."""
    return hashlib.blake2b(text.encode(), digest_size=PEPPER_BYTES, person=b"trivet key").digest()


def hash_secret(pepper: bytes, plaintext: str) -> bytes:
    """Return what is stored of a key: BLAKE2b-256 of its whole text, keyed with `pepper` (see `derive_pepper`).

    The secret has 256 bits of entropy, so a slow password hash would add nothing; about 1 µs. Compare results with
    `hmac.compare_digest`.
    """
    return hashlib.blake2b(plaintext.encode(), digest_size=HASH_BYTES, key=pepper).digest()


def check_part(body: str) -> str:
    """Return the check part of a key whose text before it is `body`: its CRC-32 in base 62, six characters."""
    rest = zlib.crc32(body.encode())
    digits = []
    for _ in range(CHECK_LENGTH):
        rest, place = divmod(rest, len(_BASE62))
        digits.append(_BASE62[place])
    return "".join(reversed(digits))
