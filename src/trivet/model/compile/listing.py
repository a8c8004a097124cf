"""What is in a trained file, read without loading it: its format by content, its libraries, what it would ask for.

A pickle is a program. What is found here is for people to read: it never decides whether a file is safe, the sandbox does.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec

from trivet.core.errors import CompileError, quoted
from trivet.model.compile.asked_names import dangerous_among, unknown_among
from trivet.model.compile.doors import formats
from trivet.model.compile.doors.archive import MOST_MEMBER_BYTES, MOST_MEMBERS
from trivet.model.compile.doors.unpacked import Unpacked
from trivet.model.compile.pickle_names import MOST_NAMES, TEXT_KEPT, asked_by

MOST_SCHEMA_BYTES = 64 * 1024**2
MLFLOW, SKOPS, SCHEMA = "MLflow model", "skops", "schema.json"
UNREADABLE_ZIP = (
    *(zipfile.BadZipFile, zlib.error, ValueError, RecursionError),
    *(NotImplementedError, RuntimeError, OSError, EOFError, KeyError),
)

_PROTOCOL_0 = re.compile(rb"c[\w.]+\n[\w.]+\n|\(i?[cldtSVIN]")
IN_ZIP: tuple[tuple[str, str], ...] = (
    ("MLmodel", MLFLOW),
    (SCHEMA, SKOPS),
    ("data.pkl", "PyTorch"),
    ("model.weights.h5", "Keras"),
)


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself. `names` are what it asks for by name when it is loaded, the first one first."""

    format: str
    bytes: int
    compression: str = ""
    libraries: dict[str, str] = {}  # version it was made with, where the file says
    names: tuple[str, ...] = ()
    problem: str = ""  # why there may be more than is listed

    @property
    def dangerous(self) -> tuple[str, ...]:
        """Names that reach beyond a model: programs, files, the network, code."""
        return dangerous_among(self.names)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of modules that no trained model of a known library needs: the author's own, or worse."""
        return unknown_among(self.names)

    @property
    def kind(self) -> str:
        """The class of what is in the file, as far as its first name tells."""
        return next((name for name in self.names if not name.startswith("copyreg.")), "")


def list_trained(file: IO[bytes]) -> Listing:
    """Return what is in `file`, from its beginning. Runs nothing; takes memory as the largest text in the file does."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(formats.HEAD_BYTES)
    file.seek(0)
    try:
        found = formats.recognise(head)
    except CompileError:  # the verdict says why, and what to do instead
        if _PROTOCOL_0.match(head):
            return _list_pickle(file, size, "")
        return Listing(format=formats.name_of_refused(head) or "unknown", bytes=size)
    if found.name == formats.ZIP:
        return _list_zip(file, size)
    return _list_found(file, found, head, size)


def _list_found(file: IO[bytes], found: formats.Format, head: bytes, size: int) -> Listing:
    """Return what is in `file`, which begins with `head` and is no archive."""
    if found.is_compressed:
        try:
            unpacked = io.BufferedReader(Unpacked(file, found.name))
        except CompileError as error:  # its library is not installed here
            return Listing(format="pickle", bytes=size, compression=found.name, problem=error.message)
        return _list_pickle(unpacked, size, found.name)
    if found.name == formats.PICKLE:
        return _list_pickle(file, size, "")
    versions = _VERSIONS.get(found.name)
    return Listing(
        format=_WORDS.get(found.name, found.name), bytes=size, libraries=versions(file, head, size) if versions else {}
    )


def _lightgbm_versions(_: IO[bytes], head: bytes, __: int) -> dict[str, str]:
    found = re.search(rb"version=v(\d+)", head)
    return {"lightgbm": found[1].decode()} if found else {}


def _xgboost_versions(file: IO[bytes], head: bytes, size: int) -> dict[str, str]:
    file.seek(max(0, size - formats.HEAD_BYTES))
    found = re.search(rb'"version":\s*\[(\d+),\s*(\d+),\s*(\d+)\]', head + file.read(formats.HEAD_BYTES))
    return {"xgboost": b".".join(found.groups()).decode()} if found else {}


def _list_zip(file: IO[bytes], size: int) -> Listing:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name.rpartition("/")[2]: name for name in archive.namelist()[:MOST_NAMES]}
            kind = next((kind for member, kind in IN_ZIP if member in members), "zip archive")
            if kind == MLFLOW:
                return _list_mlflow(archive, size)
            if kind != SKOPS:
                return Listing(format=kind, bytes=size)
            return _list_skops(archive, members[SCHEMA], size)
    except UNREADABLE_ZIP as error:
        return Listing(format="zip archive", bytes=size, problem=f"it cannot be read: {error}")


def _list_mlflow(archive: zipfile.ZipFile, size: int) -> Listing:
    """Return what the files of a model directory hold together: whichever of them MLmodel says is the model."""
    names: dict[str, None] = {}
    libraries: dict[str, str] = {}
    problems = []
    members = archive.infolist()
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_MEMBER_BYTES:
        return Listing(format=MLFLOW, bytes=size, problem="its files are too many or too large to list")
    for member in members:
        try:
            with archive.open(member) as file:
                inside = _list_member(file, member.file_size)
        except UNREADABLE_ZIP as error:
            inside = Listing(format="", bytes=member.file_size, problem=f"it cannot be read: {error}")
        names |= dict.fromkeys(inside.names)
        libraries |= inside.libraries
        problems += [f"{quoted(member.filename)}: {inside.problem}"] if inside.problem else []
    return Listing(
        format=MLFLOW,
        bytes=size,
        libraries=libraries,
        names=tuple(names)[:MOST_NAMES],
        problem="; ".join(problems)[:TEXT_KEPT],
    )


def _list_member(file: IO[bytes], size: int) -> Listing:
    """Return what is in a file of an archive; of an archive in it, only what is skops is opened later, and listed here."""
    head = file.read(formats.HEAD_BYTES)
    file.seek(0)
    try:
        found = formats.recognise(head)
    except CompileError:  # it is not opened
        return Listing(format="", bytes=size)
    if found.name != formats.ZIP:
        return _list_found(file, found, head, size)
    with zipfile.ZipFile(file) as archive:
        return _list_skops(archive, SCHEMA, size) if SCHEMA in archive.namelist() else Listing(format="", bytes=size)


def _list_skops(archive: zipfile.ZipFile, name: str, size: int) -> Listing:
    with archive.open(name) as member:
        text = member.read(MOST_SCHEMA_BYTES + 1)
    if len(text) > MOST_SCHEMA_BYTES:
        return Listing(format=SKOPS, bytes=size, problem="its schema is too large to list")
    schema = json.loads(text)
    names: dict[str, None] = {}
    libraries: dict[str, str] = {}
    for node in _nodes(schema):
        if isinstance(module := node.get("__module__"), str) and isinstance(kind := node.get("__class__"), str):
            names.setdefault(f"{module}.{kind}"[:TEXT_KEPT])
        said = node.get("_sklearn_version")
        if isinstance(said, dict) and isinstance(content := said.get("content"), str):
            libraries.setdefault("scikit-learn", content.strip('"')[:TEXT_KEPT])
    if isinstance(schema, dict) and isinstance(said := schema.get("_skops_version"), str):
        libraries["skops"] = said[:TEXT_KEPT]
    return Listing(format=SKOPS, bytes=size, libraries=libraries, names=tuple(names)[:MOST_NAMES])


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += reversed(one.values())
        elif isinstance(one, list):
            left += reversed(one)


def _list_pickle(file: IO[bytes], size: int, compression: str) -> Listing:
    asked = asked_by(file)
    return Listing(
        format="joblib" if "joblib.numpy_pickle.NumpyArrayWrapper" in asked.names else "pickle",
        bytes=size,
        compression=compression,
        libraries=asked.libraries,
        names=asked.names,
        problem=asked.problem,
    )


_WORDS = {
    formats.XGBOOST_JSON: "XGBoost JSON",
    formats.XGBOOST_UBJ: "XGBoost UBJSON",
    formats.LIGHTGBM: "LightGBM text",
    formats.CATBOOST: "CatBoost",
    formats.ONNX: "ONNX",
    formats.PARCEL: "Trivet parcel",
}
_VERSIONS: dict[str, Callable[[IO[bytes], bytes, int], dict[str, str]]] = {
    formats.LIGHTGBM: _lightgbm_versions,
    formats.XGBOOST_JSON: _xgboost_versions,
}
