"""Keys: elliptic curves that sign a bundle's statement and verify it. The one place that imports `cryptography`."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from trivet.core.errors import BundleError, InvalidRequest
from trivet.model.signing.envelope import Envelope, decode_envelope, encode_envelope, signed_bytes
from trivet.model.signing.statement import Files, check_statement, encode_statement

KEY_LIMIT = 64 * 1024  # bytes of a PEM file
HASHES: dict[str, HashAlgorithm] = {"secp256r1": SHA256(), "secp384r1": SHA384(), "secp521r1": SHA512()}
ANYBODY_ELSE = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class TrustedKey:
    """A public key, and where it came from. Its fingerprint is the SHA-256 of its PEM text, as OpenSSF's tool says it."""

    public: ec.EllipticCurvePublicKey = field(repr=False)
    place: str
    fingerprint: str

    def check(self, signature: bytes, files: Files) -> None:
        """Raise `BundleError` unless `signature`, the bytes of a file, is this key's over exactly these `files`."""
        envelope = decode_envelope(signature)
        if envelope.fingerprint not in {"", self.fingerprint} or not self._verifies(envelope):
            raise BundleError(f"the signature is not by the key {self.place} ({self.fingerprint[:12]}…).")
        check_statement(envelope.payload, files)

    def _verifies(self, envelope: Envelope) -> bool:
        try:
            self.public.verify(envelope.signature, signed_bytes(envelope.payload), _ecdsa(self.public))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key. Nothing shows it."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)
    key: TrustedKey
    others_may_read: bool = False  # the file it was read from: whoever can read it can sign

    def sign(self, files: Files) -> bytes:
        """Return the bytes of a file: this key's signature over a bundle with these `files`."""
        payload = encode_statement(files)
        signature = self.private.sign(signed_bytes(payload), _ecdsa(self.key.public))
        return encode_envelope(payload, signature, self.key.fingerprint)


def read_trusted_key(path: Path) -> TrustedKey:
    """Return the public key in the PEM file `path`. Raises `InvalidRequest` that says what is wrong with it."""
    pem, _ = _read(path)
    if b"PRIVATE KEY" in pem:
        raise _unusable(path, "is a private key, which nobody but its owner should have; name its public key")
    try:
        return _trusted(load_pem_public_key(pem), path)
    except (ValueError, UnsupportedAlgorithm):
        raise _unusable(path, "is no public key in PEM") from None


def read_signer(path: Path, ask: Callable[[Path], bytes]) -> Signer:
    """Return the private key in the PEM file `path`; `ask` gives the passphrase of one that is encrypted.

    Raises `InvalidRequest` that says what is wrong with it, and never repeats what is in it.
    """
    pem, others_may_read = _read(path)
    if b"PRIVATE KEY" not in pem:
        raise _unusable(path, "is no private key in PEM")
    passphrase = ask(path) if b"ENCRYPTED" in pem else None
    try:
        private = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        why = "cannot be opened" if passphrase is None else "cannot be opened with that passphrase"
        raise _unusable(path, why) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise _wrong_kind(path)
    return Signer(private, _trusted(private.public_key(), path), others_may_read)


def _trusted(public: object, path: Path) -> TrustedKey:
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in HASHES:
        raise _wrong_kind(path)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return TrustedKey(public, str(path), hashlib.sha256(pem).hexdigest())


def _ecdsa(public: ec.EllipticCurvePublicKey) -> ec.ECDSA:
    return ec.ECDSA(HASHES[public.curve.name])  # the curve decides; nothing that was sent does


def _read(path: Path) -> tuple[bytes, bool]:
    """Return what is in a key's file, and whether others than its owner may read or change it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            pem = file.read(KEY_LIMIT + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror or 'input/output'}") from None
    if not stat.S_ISREG(mode) or len(pem) > KEY_LIMIT:
        raise _unusable(path, f"is no plain file of at most {KEY_LIMIT} bytes")
    return pem, bool(mode & ANYBODY_ELSE)


def _wrong_kind(path: Path) -> InvalidRequest:
    return _unusable(path, "is no key of the elliptic curves P-256, P-384 or P-521")


def _unusable(path: Path, why: str) -> InvalidRequest:
    return InvalidRequest(f"{path} {why}.", code="BAD_PARAMETER")
