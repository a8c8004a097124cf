"""Trusted keys: whose signatures of bundles count, as the settings say.

`cryptography` is imported where a key is read: where none is named, no process needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from trivet import conf
from trivet.core.errors import InvalidRequest

if TYPE_CHECKING:
    from trivet.model.signing.keys import TrustedKey

INSTALL = "pip install 'trivet[signing]'"


def trusted_keys() -> tuple[TrustedKey, ...]:
    """Return the keys of TRIVET_TRUSTED_KEYS. Raises `ImproperlyConfigured` for one that is none, or none where required."""
    places = conf.TRUSTED_KEYS()
    if not places:
        if conf.REQUIRE_SIGNATURE():
            raise ImproperlyConfigured(
                "TRIVET_REQUIRE_SIGNATURE is True, but TRIVET_TRUSTED_KEYS names no key; name a file of a public key."
            )
        return ()
    try:
        from trivet.model.signing.keys import read_trusted_key
    except ImportError:
        raise ImproperlyConfigured(f"TRIVET_TRUSTED_KEYS needs cryptography: {INSTALL}.") from None
    try:
        return tuple(map(read_trusted_key, places))
    except InvalidRequest as error:
        raise ImproperlyConfigured(f"TRIVET_TRUSTED_KEYS: {error.message}") from None
