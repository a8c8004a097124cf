"""Signatures by digest, remembered: a digest stands for the same bytes for ever."""

from __future__ import annotations

from trivet.control.registry.models import ModelVersion
from trivet.core.signature import Signature

REMEMBERED = 256  # signatures; the oldest goes first

_signatures: dict[str, Signature] = {}


def signature_of(digest: str) -> Signature | None:
    """Return the signature of the version with `digest`, or None when no such version is registered."""
    if digest not in _signatures:
        version = ModelVersion.objects.filter(digest=digest).only("signature").first()
        if version is None:
            return None
        while len(_signatures) >= REMEMBERED:
            _signatures.pop(next(iter(_signatures)), None)
        _signatures[digest] = version.read_signature()
    return _signatures[digest]


def signature_of_version(model: str, number: int) -> Signature | None:
    """Return the signature of a model's version, or None when there is no such version."""
    digests = ModelVersion.objects.of_model(model).filter(number=number).values_list("digest", flat=True)
    digest = digests.first()
    return None if digest is None else signature_of(digest)
