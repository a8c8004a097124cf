"""Pickles: what one asks for, listed without doing it; then the object itself, which RUNS CODE that the file names."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import IO, Any, cast

import joblib
import sklearn
from sklearn.exceptions import InconsistentVersionWarning

from trivet.core.errors import CompileError
from trivet.model.compile.doors.formats import HEAD_BYTES, PICKLE, Format, recognise
from trivet.model.compile.doors.unpacked import Unpacked
from trivet.model.compile.pickle_names import asked_by

MOST_LISTED = 200
MOST_SCANNED_BYTES = 64 * 1024**2


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
    asked_for = globals_of(file, found)
    stream = _stream(file, found)
    saved_with: str | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = joblib.load(stream)
        except CompileError:
            raise
        except ModuleNotFoundError as error:
            raise CompileError(
                f"the file needs the module {error.name!r}, which is not installed here. Install it, "
                "or push from where the model was trained."
            ) from None
        except AttributeError as error:
            raise CompileError(
                f"the file needs code that is not here: {error}. Functions of a notebook or script do not travel."
            ) from None
        except Exception as error:  # noqa: BLE001  (a damaged pickle raises anything)
            raise CompileError(
                f"the file cannot be opened: {error or type(error).__name__}.{_versions(caught)}"
            ) from None
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            saved_with = str(warning.message.original_sklearn_version)
    if stream.read(1):
        raise CompileError("the file goes on after its end: bytes behind a pickle are not read.")
    return Unpickled(model, asked_for, saved_with)


def globals_of(file: IO[bytes], found: Format) -> tuple[str, ...]:
    """Return the globals that the pickle in `file` names, sorted, at most 200; runs nothing, and rewinds `file`.

    A remark, never a boundary: it follows the first 64 MiB.
    """
    file.seek(0)
    try:
        names = asked_by(_stream(file, found), MOST_SCANNED_BYTES).names
    except CompileError:
        names = ()  # opening it will say why
    file.seek(0)
    return tuple(sorted(names[:MOST_LISTED]))


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
