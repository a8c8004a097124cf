"""Where bundles lie: in Django's `STORAGES["trivet"]`, under their digest, else in the folder of `TRIVET_HOME`."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, Storage, storages

from trivet import conf
from trivet.core.errors import BundleError, Unavailable, quoted
from trivet.model.bundle.bundle import Bundle, verify_bundle
from trivet.model.bundle.manifest import FILE_NAMES, MANIFEST_LIMIT, MANIFEST_NAME, decode_manifest
from trivet.model.environments.environment import FOLDER_NAME as ENVIRONMENTS
from trivet.model.signing.envelope import SIGNATURE_LIMIT

STORAGE_ALIAS = "trivet"
DEFAULT_FOLDER = "bundles"
SIGNATURE_SUFFIX = ".sig"
SCRATCH = "."  # begins the name of a file that is being written
STORE_ATTEMPTS = 2  # a second one heals what another process, storing the same bundle, was in the middle of
NO_PLAIN_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # a link, a folder, a socket
_DIGEST = re.compile(r"[0-9a-f]{64}")


def environments_folder() -> Path:
    """Return the folder of the environments that versions have of their own, on this machine."""
    return conf.HOME() / ENVIRONMENTS


def store_bundle(bundle: Bundle) -> None:
    """Store `bundle` under its digest, once. The manifest comes last, so half a bundle is none; then all is read back.

    Storing what is there already changes nothing. Raises `Unavailable` when the storage cannot be written.
    """
    if _is_stored(bundle):
        return
    for attempt in range(STORE_ATTEMPTS):
        _write(bundle)
        try:
            fetch_bundle(bundle.digest)
        except BundleError:
            if attempt + 1 == STORE_ATTEMPTS:
                raise
        else:
            return


def fetch_bundle(digest: str) -> Bundle:
    """Return the bundle of `digest`, every file checked against it.

    Raises `BundleError` naming the file that is missing or changed, and `Unavailable` when the storage cannot be read.
    """
    storage = bundle_storage()
    found = _found(storage, digest) if isinstance(storage, BundleFolder) else None  # elsewhere a listing is a request
    return _verified(digest, found)


def audit_bundle(digest: str) -> Bundle:
    """Return the bundle of `digest` as `fetch_bundle` does, after looking for what does not belong there as well.

    Raises `BundleError` for a file that is missing, extra, linked or changed, and `Unavailable`.
    """
    return _verified(digest, _found(bundle_storage(), digest))


def store_signature(digest: str, fingerprint: str, signature: bytes) -> None:
    """Keep a key's signature beside the bundle of `digest`: outside of it, so signing changes no digest."""
    _write_file(bundle_storage(), signature_name(digest, fingerprint), signature)


def read_signature(digest: str, fingerprint: str) -> bytes | None:
    """Return what lies where that key's signature of the bundle of `digest` belongs; None where nothing does."""
    try:
        return _content(signature_name(digest, fingerprint), SIGNATURE_LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in NO_PLAIN_FILE:
            raise BundleError(f"bundle {digest[:12]}…: its signature is not a plain file.") from None
        raise _away("read", error) from error


def fingerprints_beside(digest: str) -> list[str]:
    """Return whose signatures of the bundle of `digest` there seem to be; none where the storage cannot list."""
    folder, _, start = stored_name(digest, "").rstrip("/").rpartition("/")
    try:
        _, files = bundle_storage().listdir(folder)
    except (FileNotFoundError, NotImplementedError):
        return []
    except OSError as error:
        raise _away("read", error) from error
    middles = (name.removeprefix(f"{start}.").removesuffix(SIGNATURE_SUFFIX) for name in sorted(files))
    return [middle for middle in middles if _DIGEST.fullmatch(middle)]


def stored_digests(storage: Storage) -> Iterator[tuple[str, datetime]]:
    """Yield what bundles there are, and what is left of some, with when they were stored; none where the storage cannot list.

    That is when their manifest was; of half a bundle, which has none, when the last file was.
    """
    try:
        for first in storage.listdir("sha256")[0]:
            for second in storage.listdir(f"sha256/{first}")[0]:
                for digest in storage.listdir(f"sha256/{first}/{second}")[0]:
                    if _DIGEST.fullmatch(digest) and (since := _stored_at(storage, digest)) is not None:
                        yield digest, since
    except (FileNotFoundError, NotImplementedError):
        return
    except OSError as error:
        raise _away("read", error) from error


def _stored_at(storage: Storage, digest: str) -> datetime | None:
    """Return when the bundle of `digest` was stored; None where another removes it at this moment."""
    manifest = stored_name(digest, MANIFEST_NAME)
    try:
        if storage.exists(manifest):
            return storage.get_modified_time(manifest)
        folder = stored_name(digest, "").rstrip("/")
        files = [f"{folder}/{file}" for file in storage.listdir(folder)[1]]
        return max(map(storage.get_modified_time, files or [folder]))
    except FileNotFoundError:
        return None


def remove_bundle(storage: Storage, digest: str) -> None:
    """Delete what lies in the place of `digest`, the manifest first, so that half a bundle is none; and the signatures beside.

    The folder goes last, where the storage has some: a removal that was killed can be found, and done again.
    """
    folder = stored_name(digest, "").rstrip("/")
    try:
        storage.delete(stored_name(digest, MANIFEST_NAME))
        for fingerprint in fingerprints_beside(digest):
            storage.delete(signature_name(digest, fingerprint))
        for file in _files_in(storage, folder):
            storage.delete(f"{folder}/{file}")
        storage.delete(folder)
    except OSError as error:
        raise _away("written", error) from error


def _files_in(storage: Storage, folder: str) -> list[str]:
    """Return all that lies there, what was being written included; of a storage that cannot list, what a bundle may have."""
    try:
        return sorted(storage.listdir(folder)[1])
    except FileNotFoundError:
        return []
    except NotImplementedError:
        return sorted(FILE_NAMES)


def _verified(digest: str, found: set[str] | None) -> Bundle:
    """Return the bundle; each file is opened once, and the bytes that were hashed are those that are returned."""
    encoded = _read(digest, MANIFEST_NAME, MANIFEST_LIMIT)
    names = found or {MANIFEST_NAME, *(entry.path for entry in decode_manifest(encoded).files)}
    return verify_bundle(encoded, names, lambda entry: _read(digest, entry.path, entry.bytes), expected_digest=digest)


def _found(storage: Storage, digest: str) -> set[str] | None:
    """Return what lies in a bundle's place, without what is being written; None where that cannot be told."""
    try:
        folders, files = storage.listdir(stored_name(digest, ""))
    except (FileNotFoundError, NotImplementedError):
        return None
    except OSError as error:
        raise _away("read", error) from error
    return {name for name in (*folders, *files) if not name.startswith(SCRATCH)}


def bundle_storage() -> Storage:
    """Return the storage in force."""
    if STORAGE_ALIAS in settings.STORAGES:
        return storages[STORAGE_ALIAS]
    return BundleFolder(location=conf.HOME() / DEFAULT_FOLDER)


def make_private(folder: Path) -> None:
    """Make `folder`, and what is missing above it, so that nobody but its owner may enter."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


class BundleFolder(FileSystemStorage):
    """A folder in which a file appears whole and synced, or not at all, whoever else is writing it."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:  # noqa: ARG002  (Django's contract)
        """Return `name`: under a digest, every writer of a name writes the same."""
        return name

    def _open(self, name: str, mode: str = "rb") -> File:
        """Open a plain file, and never what a link points to or waits on."""
        return File(open(self.path(name), mode, opener=_open_plain))

    def _save(self, name: str, content: File) -> str:
        path = Path(self.path(name))
        make_private(path.parent)
        scratch = path.with_name(f"{SCRATCH}{path.name}.{secrets.token_hex(8)}")
        try:
            with scratch.open("xb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
        return name


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def stored_name(digest: str, file: str) -> str:
    """Return the name of one file of a bundle in the storage. No text that a caller chose becomes part of it."""
    if not _DIGEST.fullmatch(digest):
        raise BundleError(f"{quoted(digest)} is not a digest.")
    return f"sha256/{digest[:2]}/{digest[2:4]}/{digest}/{file}"


def signature_name(digest: str, fingerprint: str) -> str:
    """Return the name of a key's signature of a bundle in the storage: beside the bundle's folder."""
    if not _DIGEST.fullmatch(fingerprint):
        raise BundleError(f"{quoted(fingerprint)} is not the fingerprint of a key.")
    return f"{stored_name(digest, '').rstrip('/')}.{fingerprint}{SIGNATURE_SUFFIX}"


def _is_stored(bundle: Bundle) -> bool:
    try:
        fetch_bundle(bundle.digest)
    except BundleError:
        return False
    return True


def _write(bundle: Bundle) -> None:
    storage = bundle_storage()
    for file, data in bundle.files.items():
        _write_file(storage, stored_name(bundle.digest, file), data)
    _write_file(storage, stored_name(bundle.digest, MANIFEST_NAME), bundle.manifest_bytes)


def _write_file(storage: Storage, name: str, data: bytes) -> None:
    try:
        if storage.exists(name):
            if _holds(storage, name, data):
                return
            storage.delete(name)  # damaged, or the rest of an attempt that did not end
        saved_as = storage.save(name, ContentFile(data))
        if saved_as != name:  # another process stored the same file meanwhile
            storage.delete(saved_as)
    except OSError as error:
        raise _away("written", error) from error


def _holds(storage: Storage, name: str, data: bytes) -> bool:
    try:
        with storage.open(name) as file:
            return bool(file.read(len(data) + 1) == data)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in NO_PLAIN_FILE:
            return False
        raise


def _read(digest: str, file: str, limit: int) -> bytes:
    try:
        return _content(stored_name(digest, file), limit)
    except FileNotFoundError:
        raise BundleError(f"bundle {digest[:12]}…: file {file!r} is missing from the storage.") from None
    except OSError as error:
        if error.errno in NO_PLAIN_FILE:
            raise BundleError(f"bundle {digest[:12]}…: {file} is not a plain file.") from None
        raise _away("read", error) from error


def _content(name: str, limit: int) -> bytes:
    with bundle_storage().open(name) as stored:
        return bytes(stored.read(limit + 1))


def _away(verb: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"the bundle storage cannot be {verb}: {error.strerror or type(error).__name__}.", code="MANAGEMENT_AWAY"
    )
