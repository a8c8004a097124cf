"""Bundle: the first of the three values that cross between the planes (what to run)."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from trivet.core.errors import BundleError
from trivet.core.signature import Signature
from trivet.model.bundle.manifest import (
    FORMAT,
    MANIFEST_LIMIT,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    decode_manifest,
    digest_of,
    encode_manifest,
)
from trivet.model.bundle.packing import pack_columns

FILE_LIMIT = 2 * 1024**3  # bytes of one file of a bundle


@dataclass(frozen=True)
class Bundle:
    """One version's files in memory, verified: every byte here hashed to what the digest says when it was read."""

    digest: str
    manifest: Manifest
    files: Mapping[str, bytes]
    manifest_bytes: bytes  # as they were hashed; another release might write the same manifest differently

    @property
    def signature(self) -> Signature:
        """What the version takes and gives."""
        return self.manifest.signature

    def feed(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return `tensors`, by the signature's names, as this bundle's graph takes them."""
        return pack_columns(self.manifest.packs, tensors)


def make_bundle(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Return a bundle of `files`, with the file entries of `manifest` computed from them. Nothing is written."""
    entries = tuple(
        FileEntry(path=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in sorted(files.items())
    )
    encoded = encode_manifest(msgspec.structs.replace(manifest, format=FORMAT, files=entries))
    return Bundle(
        digest=digest_of(encoded), manifest=decode_manifest(encoded), files=dict(files), manifest_bytes=encoded
    )


def write_bundle(bundle: Bundle, folder: Path) -> None:
    """Write `bundle` into the empty or new `folder`, synced: the manifest comes last, so half a bundle is none."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BundleError(f"{folder.name} is not empty; a bundle is written once.")
    for name, data in bundle.files.items():
        _write_synced(folder / name, data)
    _write_synced(folder / MANIFEST_NAME, bundle.manifest_bytes)


def read_bundle(folder: Path, expected_digest: str | None = None) -> Bundle:
    """Read and verify the bundle in `folder`; each file is opened once, and what was hashed is what is returned.

    Raises `BundleError` naming the file that is missing, extra, linked, of the wrong size or changed, or saying that
    the manifest is not the one of `expected_digest`.
    """
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except OSError:
        raise BundleError(f"the bundle's folder {folder.name!r} cannot be read.") from None
    encoded = _read_regular(folder / MANIFEST_NAME, MANIFEST_LIMIT)
    return verify_bundle(encoded, names, lambda entry: _read_regular(folder / entry.path, entry.bytes), expected_digest)


def verify_bundle(
    encoded_manifest: bytes,
    names: Collection[str],
    read: Callable[[FileEntry], bytes],
    expected_digest: str | None = None,
) -> Bundle:
    """Return the bundle of `encoded_manifest` after checking every file that `read` gives; raises `BundleError`.

    `names` are the names found where the bundle lies, its manifest included; one too many is an error, as is a missing one.
    """
    digest = digest_of(encoded_manifest)
    if expected_digest is not None and digest != expected_digest:
        raise BundleError(f"manifest.json was changed: its digest is {digest[:12]}…, not {expected_digest[:12]}….")
    manifest = decode_manifest(encoded_manifest)
    expected_names = {MANIFEST_NAME, *(entry.path for entry in manifest.files)}
    if extra := set(names) - expected_names:
        raise BundleError(f"bundle {digest[:12]}…: extra file {min(extra)!r}.")
    if missing := expected_names - set(names):
        raise BundleError(f"bundle {digest[:12]}…: file {min(missing)!r} is missing.")
    files = {}
    for entry in manifest.files:
        data = read(entry)
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(f"bundle {digest[:12]}…: {entry.path} was changed: it is not what its manifest says.")
        files[entry.path] = data
    return Bundle(digest=digest, manifest=manifest, files=files, manifest_bytes=encoded_manifest)


def _read_regular(path: Path, limit: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        raise BundleError(f"{path.name} cannot be opened as a plain file.") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(f"{path.name} is not a plain file.")
        return file.read(min(limit, FILE_LIMIT) + 1)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
