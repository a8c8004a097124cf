"""Authenticate: from what a caller presents to who they are and what they may do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from hmac import compare_digest

from trivet.core.errors import NotFound, PermissionDenied, Unauthenticated, did_you_mean
from trivet.core.keys import ID_LENGTH, PREFIX, hash_secret, parse_key
from trivet.core.snapshot import ANY_MODEL, NO_VERBS, KeyEntry
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.table import LiveModel, Table

_EVERYTHING = {ANY_MODEL: frozenset({"view", "predict", "explain", "label", "promote"})}
KEY_ID = slice(len(PREFIX) + 1, len(PREFIX) + 1 + ID_LENGTH)  # where a key's id stands in its text
_NOT_VALID = "this API key is not valid here: unknown, expired or revoked."  # which of these, only the metrics tell
NAMES_COMPARED = 50  # chosen: what a misspelt name may cost, a millisecond
# Compared with when no such key exists, so that an unknown id costs as much as a wrong secret.
_NO_HASH = bytes(32)
_NOBODYS = KeyEntry("", _NO_HASH, {})


def trusted(name: str) -> Caller:
    """Return a caller that was authenticated elsewhere: code of this process, or a signed-in user of its pages."""
    return Caller(name, _EVERYTHING, is_trusted=True)


def authenticate(table: Table, peppers: Sequence[bytes], key: str | None) -> Caller:
    """Return the caller who holds `key`; without one, the anonymous caller. Raises `Unauthenticated`.

    The hash decides; the check part that catches typing errors is only read to say which kind of wrong a key is. A key
    whose id is unknown is hashed and compared all the same, and as often as one with two secrets, so that time does not
    tell them apart.
    """
    if key is None:
        return table.anonymous
    entry = table.snapshot.keys.get(key[KEY_ID], _NOBODYS)
    for pepper in peppers:
        found = hash_secret(pepper, key)
        if compare_digest(found, entry.hash) and entry is not _NOBODYS:
            return _let_in(table, entry)
        if compare_digest(found, entry.previous_hash or _NO_HASH) and entry is not _NOBODYS:
            if entry.previous_until > time.time():
                return _let_in(table, entry)
            raise Unauthenticated(_NOT_VALID, reason="expired")
    if parse_key(key) is None:
        raise Unauthenticated("this API key is not well-formed; copy it again.", reason="malformed")
    raise Unauthenticated(_NOT_VALID, reason="invalid")


def _let_in(table: Table, entry: KeyEntry) -> Caller:
    if entry.expires_at is None or entry.expires_at > time.time():
        table.used.add(entry.id)
        return table.callers[entry.id]
    raise Unauthenticated(_NOT_VALID, reason="expired")


def authorise(table: Table, caller: Caller, model_name: str, verb: str) -> LiveModel:
    """Return the model if `caller` may use `verb` on it.

    Raises `NotFound` for a model that does not exist and, in the same words, for one the caller may not know of;
    `PermissionDenied` when another verb is granted; `Unauthenticated` when no key was given.
    """
    model = table.models.get(model_name)
    if caller.is_anonymous:
        if model is not None and model.entry.anonymous and verb in ("predict", "view"):
            return model
        raise Unauthenticated("an API key is required: send it as 'Authorization: Bearer <key>'.")
    on_model, on_any = caller.verbs.get(model_name, NO_VERBS), caller.verbs.get(ANY_MODEL, NO_VERBS)
    if model is None or not (on_model or on_any):
        raise NotFound(f"no model {model_name!r} here.{_meant(table, caller, model_name)}", code="UNKNOWN_MODEL")
    if verb not in on_model and verb not in on_any:
        raise PermissionDenied(f"this key may not {verb} on {model_name!r}.")
    return model


def _meant(table: Table, caller: Caller, name: str) -> str:
    """Return the question whether another model was meant, of those that `caller` may know of alone."""
    granted = {name for name, verbs in caller.verbs.items() if verbs and name in table.models}
    known = table.models.keys() if caller.verbs.get(ANY_MODEL) else granted
    return did_you_mean(name, known) if len(known) <= NAMES_COMPARED else ""
