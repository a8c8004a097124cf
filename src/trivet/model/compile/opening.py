"""Opens a trained object: recognised by its first bytes, never by its name. Runs only in a disposable process."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
import pandas as pd

from trivet.core.errors import CompileError, quoted
from trivet.model.compile.doors import formats, mlflow, skops_file
from trivet.model.compile.doors.archive import Archive
from trivet.model.compile.doors.boosters import load_catboost, load_lightgbm, load_xgboost_json, load_xgboost_ubj
from trivet.model.compile.doors.formats import HEAD_BYTES, recognise
from trivet.model.compile.doors.pickles import unpickle
from trivet.model.compile.handing import Handed, is_handed
from trivet.model.compile.parcel import Parcel, decode_parcel
from trivet.model.compile.synthetic import synthetic_sample

SKOPS, MLFLOW = "skops", "mlflow"
_TORCH = ("data.pkl", "constants.pkl", "byteorder")
_KERAS = ("config.json", "model.weights.h5")


@dataclass(frozen=True)
class Opened:
    """A trained object, or the graph that the file is, and what the file says besides.

    `sample` and `labels` came with it; where nobody gives others, they are used. `is_synthetic`: they were made up.
    """

    model: Any
    saved_with: str | None = None  # the version of scikit-learn, where it is another than here
    kind: str = formats.PICKLE
    given_graph: bytes | None = None  # ONNX taken as it is; then there is no model
    parcel: Parcel | None = None  # the graph's rows and answers from where it was trained
    sample: pd.DataFrame | np.ndarray | None = None
    labels: Any = None
    is_synthetic: bool = False
    asked_for: tuple[str, ...] = ()  # globals that a pickle names: a remark, never a boundary
    trained_with: Mapping[str, str] = field(default_factory=dict)


def open_file(file: IO[bytes]) -> Opened:
    """Return the object in `file`. RUNS CODE the file asks for: call it in a disposable process only.

    Raises `CompileError` when the format is not read, a module is missing, or another library version made it.
    """
    found = recognise(_head(file))
    if found.name == formats.ZIP:
        return _open_archive(Archive(file))
    if found.name in _WHOLE:
        return _WHOLE[found.name](file.read())
    done = unpickle(file, found)
    opened = Opened(done.model, done.saved_with, kind=formats.PICKLE, asked_for=done.asked_for)
    return _unpacked(opened, done.model) if is_handed(done.model) else opened


def _head(file: IO[bytes]) -> bytes:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head


def _open_archive(archive: Archive) -> Opened:
    if skops_file.MEMBER in archive and mlflow.MEMBER not in archive:
        return Opened(skops_file.load_skops(archive.whole()), kind=SKOPS)
    if mlflow.MEMBER in archive:
        return _open_mlflow(archive)
    raise CompileError(f"this file cannot be compiled: {_why_not(archive)}")


def _why_not(archive: Archive) -> str:
    names = {name.rpartition("/")[2] for name in archive.names}
    export = "Export it to ONNX where it was trained: trivet.push(model, ...) does that from a notebook."
    if any(name in names for name in _TORCH):
        return f"it is a PyTorch file (.pt, .pth, TorchScript), and opening it can run code. {export}"
    if all(name in names for name in _KERAS):
        return f"it is a Keras file (.keras), and opening it can run code. {export}"
    if any(name.endswith("/MLmodel") for name in archive.names):
        return "its MLmodel lies in a folder: zip the files of the model directory themselves, not the directory."
    if any(name.endswith((".npy", ".npz")) for name in names):
        return "it is an archive of NumPy arrays: push the estimator that was trained, as joblib."
    return "it is a zip archive, but neither skops nor a model directory of MLflow."


def _open_mlflow(archive: Archive) -> Opened:
    directory = mlflow.read_directory(archive)
    data = archive.read(directory.file)
    inner = io.BytesIO(data)
    if recognise(data[:HEAD_BYTES]).name == formats.ZIP and skops_file.MEMBER not in Archive(inner):
        raise CompileError(f"{quoted(directory.file)} is an archive inside an archive, which is not opened.")
    opened = open_file(io.BytesIO(data))
    if opened.given_graph is not None:
        rows, is_synthetic = directory.example, False
    else:
        needs_rows = directory.example is None or len(directory.example) < 2
        made_up = synthetic_sample(opened.model) if needs_rows else None
        rows, is_synthetic = mlflow.typed_sample(directory, made_up)
    return replace(opened, sample=rows, is_synthetic=is_synthetic, trained_with=directory.trained_with)


def _open_parcel(data: bytes) -> Opened:
    parcel = decode_parcel(data)
    return Opened(None, kind=formats.PARCEL, given_graph=parcel.graph, parcel=parcel)


def _unpacked(opened: Opened, handed: Handed) -> Opened:
    return replace(opened, model=handed.model, sample=handed.sample, labels=handed.labels, kind="object")


_WHOLE: dict[str, Callable[[bytes], Opened]] = {
    formats.ONNX: lambda data: Opened(None, kind=formats.ONNX, given_graph=data),
    formats.PARCEL: _open_parcel,
    formats.XGBOOST_JSON: lambda data: Opened(load_xgboost_json(data), kind=formats.XGBOOST_JSON),
    formats.XGBOOST_UBJ: lambda data: Opened(load_xgboost_ubj(data), kind=formats.XGBOOST_UBJ),
    formats.LIGHTGBM: lambda data: Opened(load_lightgbm(data), kind=formats.LIGHTGBM),
    formats.CATBOOST: lambda data: Opened(load_catboost(data), kind=formats.CATBOOST),
}
