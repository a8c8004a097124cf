"""Opens a trained object: recognised by its first bytes, never by its name. Runs only in a disposable process."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import IO, Any

import joblib
import sklearn
from sklearn.exceptions import InconsistentVersionWarning

from trivet.core.errors import CompileError

HEAD_BYTES = 1024
PICKLE_PROTOCOLS = range(2, 6)
COMPRESSED = {
    b"\x78": "zlib",
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
}
LATER = "Opening these comes in a later release; until then push the estimator as joblib or pickle."
REFUSED = {
    b"PK\x03\x04": f"it is a zip archive (skops, MLflow, PyTorch, Keras). {LATER}",
    b"\x89HDF": "it is a Keras file: opening it can run code. Export it to ONNX through the client.",
    b"tree\n": f"it is a LightGBM text model. {LATER}",
    b"{": f"it is JSON (XGBoost?). {LATER}",
    b"CBM1": f"it is a CatBoost model. {LATER}",
    b"RDX": "it is an R file; R models cannot be served.",
    b"RDA": "it is an R file; R models cannot be served.",
    b"<?xml": "it is XML (PMML?), which is not served.",
    b"\x08": f"it looks like ONNX. {LATER}",
}


@dataclass(frozen=True)
class Opened:
    """A trained object and the library version it was saved with, when that differs from the one here."""

    model: Any
    saved_with: str | None = None


def recognise(head: bytes) -> str:
    """Return "pickle" or the compression around one; raises `CompileError` with the reason for anything else."""
    if len(head) > 1 and head[0] == 0x80 and head[1] in PICKLE_PROTOCOLS:
        return "pickle"
    for magic, name in COMPRESSED.items():
        if head.startswith(magic):
            return name
    for magic, reason in REFUSED.items():
        if head.startswith(magic):
            raise CompileError(f"this file cannot be compiled: {reason}")
    raise CompileError("this file is no trained object: its first bytes are of no known format.")


def open_file(file: IO[bytes]) -> Opened:
    """Return the object in `file`. RUNS CODE the file asks for: call it in a disposable process only.

    Raises `CompileError` when the format is not read, a module is missing, or another library version made it.
    """
    recognise(file.read(HEAD_BYTES))
    file.seek(0)
    saved_with: str | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = joblib.load(file)
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
    return Opened(model, saved_with)


def _versions(caught: list[warnings.WarningMessage]) -> str:
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            saved = warning.message.original_sklearn_version
            return (
                f" It was trained with scikit-learn {saved}; this environment has {sklearn.__version__}. "
                f"Push from an environment with {saved}."
            )
    return ""
