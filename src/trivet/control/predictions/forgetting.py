"""Who was forgotten: what spools still hold of them is shipped without inputs and entity."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from django.utils import timezone

from trivet import conf
from trivet.control.predictions.models import ForgottenEntity
from trivet.core.records import PredictionRecord

CLOCKS_DIFFER = timedelta(
    minutes=1
)  # a record made so long after, by the clock of its host, is taken to be from before
FORGOTTEN = "whom it was about was forgotten."  # of a label that is refused for that
NOTHING_SAID = ""  # in place of its value
ASKED_AT_ONCE = 500


def digest_of(entity_key: str, pepper: bytes) -> str:
    """Return what stands for an entity key where that must not be kept."""
    return hmac.digest(pepper, b"trivet forgotten\0" + entity_key.encode(), "sha256").hex()


def forgotten_rows(records: Iterable[PredictionRecord], database: str) -> Mapping[int, list[int]]:
    """Return which rows are of somebody who was forgotten after they were made: by the record's place among `records`."""
    keyed = [
        (place, row, key, record.made_at)
        for place, record in enumerate(records)
        for row, key in enumerate(record.entity_keys or [record.entity_key] * record.rows)
        if key
    ]
    until = forgotten_until({key for _, _, key, _ in keyed}, database)
    found: dict[int, list[int]] = {}
    for place, row, key, made_at in keyed:
        if made_at <= until.get(key, 0):
            found.setdefault(place, []).append(row)
    return found


def forgotten_until(keys: Collection[str], database: str) -> dict[str, int]:
    """Return until when, in nanoseconds since 1970, predictions of each of `keys` are forgotten; not for the others."""
    of_digest = {digest_of(key, pepper): key for key in keys for pepper in conf.peppers()}
    digests = list(of_digest)
    until: dict[str, int] = {}
    for start in range(0, len(digests), ASKED_AT_ONCE):
        rows = ForgottenEntity.objects.using(database).filter(pk__in=digests[start : start + ASKED_AT_ONCE])
        for digest, at in rows.values_list("digest", "at"):
            moment = at if timezone.is_aware(at) else timezone.make_aware(at)
            until[of_digest[digest]] = int((moment + CLOCKS_DIFFER).timestamp() * 1e9)
    return until
