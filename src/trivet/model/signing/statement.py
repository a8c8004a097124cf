"""The statement: the text that is signed. It names every file of a bundle with its SHA-256, as in-toto does.

Its predicate is that of OpenSSF Model Signing, v1.0, over the files of a folder: whoever has the bundle's folder, the
signature and the public key may check it with that project's own command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from trivet.core.errors import BundleError, quoted
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.manifest import MANIFEST_NAME, FileEntry

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
ALGORITHM = "sha256"
METHOD = "files"  # each file is hashed whole; the other method hashes parts of files

Files = Mapping[str, str]  # the SHA-256 of each file of a bundle, in hexadecimal, by its name; the manifest among them


class Subject(msgspec.Struct, frozen=True):
    """What the statement is about: a folder's name, and the hash of the hashes of its files."""

    name: str
    digest: dict[str, str]


class Resource(msgspec.Struct, frozen=True):
    """One file."""

    name: str
    algorithm: str
    digest: str


class Serialization(msgspec.Struct, frozen=True):
    """How the files of the folder were hashed."""

    method: str
    hash_type: str
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()


class Predicate(msgspec.Struct, frozen=True):
    """What is said of the subject."""

    serialization: Serialization
    resources: tuple[Resource, ...]


class Statement(msgspec.Struct, frozen=True, rename={"type": "_type", "predicate_type": "predicateType"}):
    """The whole text, as JSON."""

    type: str
    subject: tuple[Subject, ...]
    predicate_type: str
    predicate: Predicate


def files_of(bundle: Bundle) -> Files:
    """Return what a statement has to say of `bundle`, whose bytes have those hashes: it was verified."""
    return named_files(bundle.digest, bundle.manifest.files)


def named_files(digest: str, entries: Iterable[FileEntry]) -> Files:
    """Return the files of the bundle of `digest`, whose manifest has `entries`."""
    return {MANIFEST_NAME: digest, **{entry.path: entry.sha256 for entry in entries}}


def encode_statement(files: Files) -> bytes:
    """Return the statement about the bundle with these `files`; it is called by its digest, as its folder is."""
    resources = tuple(Resource(name, ALGORITHM, files[name]) for name in sorted(files))
    statement = Statement(
        STATEMENT_TYPE,
        (Subject(files[MANIFEST_NAME], {ALGORITHM: _digest_of_all(resources)}),),
        PREDICATE_TYPE,
        Predicate(Serialization(METHOD, ALGORITHM), resources),
    )
    return msgspec.json.encode(statement)


def check_statement(payload: bytes, files: Files) -> None:
    """Raise `BundleError` unless `payload` is a statement about exactly these `files`."""
    try:
        statement = msgspec.json.decode(payload, type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"what was signed is no statement about files: {error}.") from None
    for told, meant in ((statement.type, STATEMENT_TYPE), (statement.predicate_type, PREDICATE_TYPE)):
        if told != meant:
            raise BundleError(f"what was signed is a {quoted(told)}; a bundle's is a {quoted(meant)}.")
    _check_hashes(statement)
    _check_files({resource.name: resource.digest for resource in statement.predicate.resources}, files)


def _check_hashes(statement: Statement) -> None:
    resources, how = statement.predicate.resources, statement.predicate.serialization
    algorithms = {how.hash_type, *(resource.algorithm for resource in resources)}
    if how.method != METHOD or algorithms != {ALGORITHM}:
        raise BundleError(
            f"the signature is over {quoted(how.method)} by {quoted(min(algorithms))}, not files by SHA-256."
        )
    if len({resource.name for resource in resources}) != len(resources):
        raise BundleError("the signature names a file twice.")
    is_whole = len(statement.subject) == 1 and statement.subject[0].digest == {ALGORITHM: _digest_of_all(resources)}
    if not is_whole:
        raise BundleError("the signature's subject is not the files that it names.")


def _check_files(signed: Files, files: Files) -> None:
    digest = files[MANIFEST_NAME]
    if signed.get(MANIFEST_NAME) != digest:
        raise BundleError(f"the signature is of another bundle than {digest[:12]}….")
    for name in sorted({*signed, *files}):
        if signed.get(name) != files.get(name):
            raise BundleError(f"the signature says of {quoted(name)} something else than the bundle {digest[:12]}….")


def _digest_of_all(resources: Iterable[Resource]) -> str:
    try:
        return hashlib.sha256(b"".join(bytes.fromhex(resource.digest) for resource in resources)).hexdigest()
    except ValueError:
        raise BundleError("the signature has a digest that is not hexadecimal.") from None
