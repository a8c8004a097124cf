"""The envelope: a statement, one signature over it and whose it says to be, in the JSON of a Sigstore bundle.

The statement lies in a DSSE envelope, whose signature covers the type as well (secure-systems-lab/dsse, protocol 1.0.0).
"""

from __future__ import annotations

from typing import Any

import msgspec

from trivet.core.errors import BundleError, quoted

SIGNATURE_LIMIT = 64 * 1024  # bytes; the signature of a bundle has 2,000 to 5,000
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


class KeyHint(msgspec.Struct, frozen=True):
    """Whose key it is: the fingerprint. Nothing vouches for it, and releases before 1.1 leave it out."""

    hint: str | None = None


class Material(msgspec.Struct, frozen=True, rename="camel"):
    """What to verify with: a key that the reader has. Certificates and transparency logs are read by others."""

    public_key: KeyHint
    tlog_entries: tuple[Any, ...] = ()  # of no use to a key, and not read


class Signed(msgspec.Struct, frozen=True):
    """One signature's bytes."""

    sig: bytes
    keyid: str = ""


class Dsse(msgspec.Struct, frozen=True, rename="camel"):
    """What was signed, and the signatures over it."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signed, ...]


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """The whole file."""

    media_type: str
    verification_material: Material
    dsse_envelope: Dsse

    @property
    def payload(self) -> bytes:
        """What was signed, and is not believed before it was verified."""
        return self.dsse_envelope.payload

    @property
    def signature(self) -> bytes:
        """The one signature."""
        return self.dsse_envelope.signatures[0].sig

    @property
    def fingerprint(self) -> str:
        """Whose signature it says to be; "" where it does not say."""
        return self.verification_material.public_key.hint or ""


def encode_envelope(payload: bytes, signature: bytes, fingerprint: str) -> bytes:
    """Return the file that says `signature`, of the key of `fingerprint`, is over `payload`."""
    dsse = Dsse(payload, PAYLOAD_TYPE, (Signed(signature),))
    return msgspec.json.encode(Envelope(MEDIA_TYPE, Material(KeyHint(fingerprint)), dsse))


def decode_envelope(data: bytes) -> Envelope:
    """Return the envelope in `data`. Raises `BundleError` for anything but one signature of a key over a statement."""
    if len(data) > SIGNATURE_LIMIT:
        raise BundleError(f"the signature has more than {SIGNATURE_LIMIT} bytes; no bundle's has.")
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"the signature is no file of a signature by key (OpenSSF Model Signing): {error}.") from None
    for told, meant in ((envelope.media_type, MEDIA_TYPE), (envelope.dsse_envelope.payload_type, PAYLOAD_TYPE)):
        if told != meant:
            raise BundleError(f"the signature is of type {quoted(told)}; what is read is {quoted(meant)}.")
    if len(envelope.dsse_envelope.signatures) != 1:
        raise BundleError(f"the envelope has {len(envelope.dsse_envelope.signatures)} signatures; exactly one is read.")
    return envelope


def signed_bytes(payload: bytes) -> bytes:
    """Return what the signature is over: DSSE's pre-authentication encoding of the payload and its type."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
