"""Pickles: what one asks for, listed without doing it; then the object itself, which RUNS CODE that the file names."""

from __future__ import annotations

import io
import pkgutil
import re
import warnings
from dataclasses import dataclass
from typing import IO, Any, cast

import joblib
import sklearn
from sklearn.exceptions import InconsistentVersionWarning

from trivet.core.errors import CompileError, quoted
from trivet.model.compile.asked_names import library_of
from trivet.model.compile.doors.formats import HEAD_BYTES, PICKLE, Format, recognise
from trivet.model.compile.doors.unpacked import Unpacked
from trivet.model.compile.pickle_names import Asked, asked_by
from trivet.model.runtimes.native.base import installed

MOST_LISTED = 200
MOST_SCANNED_BYTES = 64 * 1024**2


_MODULE_SHOWN = re.compile(r"<module '([\w.]{1,200})'[^>]{0,1000}>")  # bounded, for the names are the file's
_VERSION = re.compile(r"[\w.+]{1,32}")


class AnotherVersion(CompileError):
    """A library that is here lacks a name that the file asks for: another version of it trained the model."""

    def __init__(self, missing: str, library: str, here: str, trained: str) -> None:
        is_told = _VERSION.fullmatch(trained) is not None and trained != here
        self.fact = (
            f"the file needs {quoted(missing.rpartition('.')[2])}, which {library} {here} here does not have: it was trained "
            f"with {trained if is_told else 'another version'}."
        )
        super().__init__(
            f"{self.fact} Push it with --requirements that name {trained if is_told else 'that version'}: it then runs in an"
            " environment of its own, which `trivet environments make` makes."
        )


@dataclass(frozen=True)
class Unpickled:
    """The object, the globals its pickle named, and the version of scikit-learn that saved it where it is another."""

    model: Any
    asked_for: tuple[str, ...]
    saved_with: str | None = None


def unpickle(file: IO[bytes], found: Format) -> Unpickled:
    """Return the object in `file`, a pickle or joblib, perhaps compressed. RUNS CODE the file asks for.

    Raises `CompileError` when a module is missing, another library version made it, or the file goes on after its end.
    """
    if found.is_compressed:
        _check_inside(file, found)
    asked = asked_of(file, found)
    stream = _stream(file, found)
    saved_with: str | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = joblib.load(stream)
        except CompileError:
            raise
        except (AttributeError, ImportError) as error:
            raise _not_here(error, asked, caught) from None
        except Exception as error:  # noqa: BLE001  (a damaged pickle raises anything)
            raise CompileError(f"the file cannot be opened: {_without_paths(error)}.{_versions(caught)}") from None
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            saved_with = str(warning.message.original_sklearn_version)
    if stream.read(1):
        raise CompileError("the file goes on after its end: bytes behind a pickle are not read.")
    return Unpickled(model, tuple(sorted(asked.names[:MOST_LISTED])), saved_with)


def asked_of(file: IO[bytes], found: Format) -> Asked:
    """Return what the pickle in `file` asks for by name; runs nothing, and rewinds `file`.

    A remark, never a boundary: it follows the first 64 MiB.
    """
    file.seek(0)
    try:
        asked = asked_by(_stream(file, found), MOST_SCANNED_BYTES)
    except CompileError:
        asked = Asked((), {})  # opening it will say why
    file.seek(0)
    return asked


def _not_here(error: Exception, asked: Asked, caught: list[warnings.WarningMessage]) -> CompileError:
    """Return why a file does not open that asks for what is not here: another version, a module, a function of its author."""
    missing = next((name for name in asked.names if not _is_here(name)), "")
    library = library_of(missing)
    here = installed(library) if library else None
    if here is not None:
        return AnotherVersion(missing, library, here, asked.libraries.get(library, ""))
    if isinstance(error, ModuleNotFoundError):
        return CompileError(
            f"the file needs the module {error.name!r}, which is not installed here. Install it, "
            "or push from where the model was trained."
        )
    if missing:
        return CompileError(
            f"the file needs code that is not here: {quoted(missing)}. Functions of a notebook or script do not travel: "
            "put them into a package that is installed here."
        )
    return CompileError(f"the file cannot be opened: {_without_paths(error)}.{_versions(caught)}")


def _is_here(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError, ValueError):
        return False
    return True


def _without_paths(error: Exception) -> str:
    """Return what `error` says, with modules by their name alone: where they lie is this machine's business."""
    return _MODULE_SHOWN.sub(r"\1", str(error)) or type(error).__name__


def _stream(file: IO[bytes], found: Format) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(Unpacked(file, found.name))) if found.is_compressed else file


def _check_inside(file: IO[bytes], found: Format) -> None:
    """Raise `CompileError` unless the compression holds a pickle; rewinds `file`."""
    head = _stream(file, found).read(HEAD_BYTES)
    file.seek(0)
    try:
        inside = recognise(head).name
    except CompileError as error:
        raise CompileError(f"inside its {found.name} compression, {error.message}") from None
    if inside != PICKLE:
        raise CompileError(
            f"the file is {inside} inside {found.name}: only a pickle is read from compression. Unpack it first."
        )


def _versions(caught: list[warnings.WarningMessage]) -> str:
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            saved = warning.message.original_sklearn_version
            return (
                f" It was trained with scikit-learn {saved}; this environment has {sklearn.__version__}. "
                f"Push from an environment with {saved}, or give it one of its own with --requirements."
            )
    return ""
