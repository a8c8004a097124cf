"""Signing: whose signatures lie beside a bundle, and what is refused without one by a trusted key."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from django.core.exceptions import ImproperlyConfigured

from trivet import conf
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.storage import fetch_bundle, fingerprints_beside, read_signature, store_signature
from trivet.control.registry.trusted_keys import trusted_keys
from trivet.core.errors import BundleError, Refused
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.manifest import MANIFEST_NAME, FileEntry
from trivet.model.signing.statement import Files, files_of, named_files

if TYPE_CHECKING:
    from trivet.model.signing.keys import Signer, TrustedKey


def fetch_to_serve() -> Callable[[str], Bundle]:
    """Return how a process that answers gets a bundle by its digest: verified, and signed where that is required.

    The keys are read now. What a signature names is held against the hashes of the very bytes that the process then
    loads. Raises `ImproperlyConfigured`; what is returned raises `BundleError` and `Unavailable`.
    """
    if not conf.REQUIRE_SIGNATURE():
        return fetch_bundle
    keys = trusted_keys()

    def fetch(digest: str) -> Bundle:
        bundle = fetch_bundle(digest)
        check_signature(files_of(bundle), keys)
        return bundle

    return fetch


def check_signature(files: Files, keys: Collection[TrustedKey]) -> None:
    """Raise `BundleError` unless one of `keys` signed the bundle with these `files`."""
    digest, problems = files[MANIFEST_NAME], []
    for key in keys:
        signature = read_signature(digest, key.fingerprint)
        if signature is None:
            continue
        try:
            key.check(signature, files)
        except BundleError as error:
            problems.append(error.message)
        else:
            return
    raise BundleError(
        f"bundle {digest[:12]}…: {problems[0]}"
        if problems
        else f"bundle {digest[:12]}… is signed by no key of TRIVET_TRUSTED_KEYS, and TRIVET_REQUIRE_SIGNATURE asks for one;"
        " sign it with `trivet sign MODEL@V --key KEY.pem`."
    )


def check_version(version: ModelVersion) -> None:
    """Raise `Refused` where a signature is required and no trusted key signed `version`."""
    if not conf.REQUIRE_SIGNATURE():
        return
    try:
        check_signature(_files_of_row(version), trusted_keys())
    except (BundleError, ImproperlyConfigured) as error:
        raise Refused(f"{version} gets no traffic: {error}") from None


def check_signer(signer: Signer | None) -> None:
    """Raise `Refused` where a signature is required and `signer` is none, or none that is trusted."""
    if not conf.REQUIRE_SIGNATURE():
        return
    keys = trusted_keys()
    if signer is None:
        raise Refused(
            "TRIVET_REQUIRE_SIGNATURE is True: push with --sign KEY.pem, in Python sign='KEY.pem', a key of"
            " TRIVET_TRUSTED_KEYS."
        )
    if signer.key.fingerprint not in {key.fingerprint for key in keys}:
        raise Refused(
            f"the key {signer.key.place} ({signer.key.fingerprint[:12]}…) is none of TRIVET_TRUSTED_KEYS;"
            " sign with one of them, or name its public key there."
        )


def add_signature(files: Files, signature: bytes, key: TrustedKey) -> bool:
    """Keep `signature`, made by `key` or checked, beside the bundle with these `files`; False where a good one was there.

    A good one stays as it is, so nobody who reads it meanwhile finds none. Raises `Unavailable`.
    """
    digest = files[MANIFEST_NAME]
    try:
        if (known := read_signature(digest, key.fingerprint)) is not None:
            key.check(known, files)
            return False
    except BundleError:
        pass  # damaged: the new one takes its place
    store_signature(digest, key.fingerprint, signature)
    return True


def key_of(signature: bytes, files: Files) -> TrustedKey:
    """Return which trusted key made `signature` over the bundle with these `files`; raises `BundleError` where none did."""
    problem = BundleError("TRIVET_TRUSTED_KEYS names no key that the signature could be by.")
    for key in trusted_keys():
        try:
            key.check(signature, files)
        except BundleError as error:
            problem = error
        else:
            return key
    raise problem


@dataclass(frozen=True)
class Found:
    """A signature that lies beside a bundle: whose, where that key is trusted, and what is wrong with it."""

    fingerprint: str
    place: str = ""
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """True where a trusted key made it over the very bundle."""
        return bool(self.place) and not self.problem

    def __str__(self) -> str:
        short = f"{self.fingerprint[:12]}…"
        return f"{Path(self.place).name} ({short})" if self.is_good else f"{short}, not trusted here"


def signatures_of(version: ModelVersion) -> list[Found]:
    """Return the signatures beside a version's bundle, each checked where its key is trusted. They may be of any key."""
    files, keys = _files_of_row(version), {key.fingerprint: key for key in trusted_keys()}
    return [_found(fingerprint, files, keys.get(fingerprint)) for fingerprint in fingerprints_beside(version.digest)]


def _found(fingerprint: str, files: Files, key: TrustedKey | None) -> Found:
    if key is None:
        return Found(fingerprint)
    try:
        key.check(read_signature(files[MANIFEST_NAME], fingerprint) or b"", files)
    except BundleError as error:
        return Found(fingerprint, key.place, error.message)
    return Found(fingerprint, key.place)


def _files_of_row(version: ModelVersion) -> Files:
    """Return the files of a version as its row tells them: the digest binds them, and a load looks at the bytes."""
    return named_files(version.digest, msgspec.convert(version.manifest["files"], tuple[FileEntry, ...]))
