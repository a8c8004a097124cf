"""The manifest: a bundle's description of itself. Its canonical bytes, hashed, are the bundle's digest."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import msgspec

from trivet.core.errors import BundleError
from trivet.core.profile.reference import REFERENCE_NAME
from trivet.core.signature import Signature
from trivet.model.bundle.native import Native, check_native
from trivet.model.bundle.packing import Pack, graph_inputs

FORMAT = 1
MANIFEST_NAME = "manifest.json"
MANIFEST_LIMIT = 16 * 1024 * 1024  # bytes; a signature of 4,096 inputs with 10,000 categories each is not a model
FILE_NAMES = frozenset(
    {
        "model.onnx",
        "model.skops",
        "model.json",
        "model.ubj",
        "model.txt",
        "model.cbm",
        "requirements.txt",
        "sample.jsonl",
        "golden.jsonl",
        REFERENCE_NAME,
        "explain.npz",
        "intervals.json",
        "loss.onnx",
    }
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle: its flat name, its size in bytes and its SHA-256."""

    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a bundle says of itself. Nothing in it depends on a clock, a user or a machine's speed."""

    format: int
    runtime: str
    signature: Signature
    files: tuple[FileEntry, ...]
    packs: tuple[Pack, ...] = ()  # how the signature's columns enter the graph
    native: Native | None = None  # how an object that was not compiled is asked
    requires: dict[str, Any] = msgspec.field(default_factory=dict)
    source: dict[str, Any] = msgspec.field(default_factory=dict)
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    compile: dict[str, Any] = msgspec.field(default_factory=dict)
    parity: dict[str, Any] = msgspec.field(default_factory=dict)
    features: dict[str, Any] = msgspec.field(default_factory=dict)
    sample_rows: int = 0
    golden_cases: int = 0

    def file(self, path: str) -> FileEntry | None:
        """Return the entry of `path`, or None when the bundle has no such file."""
        return next((entry for entry in self.files if entry.path == path), None)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the canonical JSON of `manifest`: UTF-8, sorted keys, no spaces. Raises `BundleError` for NaN or infinity."""
    plain = msgspec.to_builtins(manifest)
    _refuse_non_finite(plain)
    return msgspec.json.encode(plain, order="sorted")


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest in `data`. Raises `BundleError` for anything but a known format with legal file entries."""
    if len(data) > MANIFEST_LIMIT:
        raise BundleError(f"manifest.json has {len(data)} bytes; at most {MANIFEST_LIMIT} are read.")
    try:
        probe = msgspec.json.decode(data, type=_FormatProbe)
        if probe.format != FORMAT:
            raise BundleError(f"bundle format {probe.format} is unknown here; this release reads format {FORMAT}.")
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"manifest.json cannot be read: {error}") from None
    _check_files(manifest)
    graph_inputs(manifest.signature, manifest.packs)  # raises where they do not fit each other
    if manifest.native is not None:
        check_native(manifest.native, manifest.signature)
    return manifest


def digest_of(manifest_bytes: bytes) -> str:
    """Return the digest of a bundle: the SHA-256 of its manifest's bytes, which hold the SHA-256 of every other file."""
    return hashlib.sha256(manifest_bytes).hexdigest()


class _FormatProbe(msgspec.Struct):
    format: int


def _check_files(manifest: Manifest) -> None:
    names = [entry.path for entry in manifest.files]
    for entry in manifest.files:
        if entry.path not in FILE_NAMES:
            raise BundleError(f"manifest.json names {entry.path!r}, which is not a file of a bundle.")
        if not _SHA256.fullmatch(entry.sha256) or entry.bytes < 0:
            raise BundleError(f"manifest.json has no valid size and SHA-256 for {entry.path}.")
    if len(names) != len(set(names)):
        raise BundleError("manifest.json names a file twice.")


def _refuse_non_finite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise BundleError("a manifest cannot hold NaN or infinity.")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_non_finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_non_finite(item)
