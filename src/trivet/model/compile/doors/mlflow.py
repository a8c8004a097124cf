"""MLflow: a model directory as an archive. MLmodel is read as plain YAML; mlflow itself is never imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import yaml

from trivet.core.errors import CompileError, quoted
from trivet.model.compile.doors.archive import Archive

MEMBER = "MLmodel"
MOST_YAML_BYTES = 1024**2
MOST_EXAMPLE_BYTES = 16 * 1024**2
FILE_OF_FLAVOR = {
    "sklearn": "pickled_model",
    "xgboost": "data",
    "lightgbm": "data",
    "catboost": "data",
    "onnx": "data",
}
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)==([\w.]+)")
_NUMPY = {"boolean": "bool", "integer": "int64", "long": "int64", "float": "float64", "double": "float64"}


class _Plain(yaml.SafeLoader):
    """Plain values only: an alias may make a small file a huge document."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("it holds an alias")
        return super().compose_node(parent, index)


@dataclass(frozen=True)
class Directory:
    """What a model directory says: the flavor, the file that holds its model, and what it knows of rows and versions."""

    flavor: str
    file: str
    columns: tuple[tuple[str, str], ...]  # name and type of MLflow, in order
    example: pd.DataFrame | np.ndarray | None
    trained_with: Mapping[str, str]


def read_directory(archive: Archive) -> Directory:
    """Return what MLmodel in `archive` says. Raises `CompileError` for a flavor that is not served, or a path in it."""
    nested = next((name for name in archive.names if "/" in name.rstrip("/")), None)
    if nested is not None:
        raise CompileError(
            f"this MLflow model holds a file in a folder, {quoted(nested)}: only one whose files lie side by side is read."
        )
    described = _described(archive)
    flavors = described.get("flavors")
    if not isinstance(flavors, dict):
        raise CompileError("MLmodel names no flavors: this is no model directory of MLflow.")
    flavor = next((name for name in FILE_OF_FLAVOR if isinstance(flavors.get(name), dict)), None)
    if flavor is None:
        raise CompileError(
            f"this MLflow model has the flavors {', '.join(sorted(map(str, flavors)))}; served are "
            f"{', '.join(FILE_OF_FLAVOR)}. Push the model itself instead: trivet.push(model, ...)."
        )
    file = flavors[flavor].get(FILE_OF_FLAVOR[flavor])
    if not isinstance(file, str) or "/" in file or file not in archive:
        raise CompileError(f"MLmodel says its {flavor} model is in {quoted(file)}, which is no file beside it.")
    return Directory(
        flavor=flavor,
        file=file,
        columns=_columns(described.get("signature")),
        example=_example(archive, described.get("saved_input_example_info")),
        trained_with=_versions(archive, described),
    )


def _described(archive: Archive) -> dict[str, Any]:
    data = archive.read(MEMBER, MOST_YAML_BYTES)
    try:
        described = yaml.load(data, Loader=_Plain)  # noqa: S506  (a SafeLoader, without aliases)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CompileError(f"MLmodel is no plain YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(described, dict):
        raise CompileError("MLmodel is no mapping: this is no model directory of MLflow.")
    return described


def _columns(signature: Any) -> tuple[tuple[str, str], ...]:
    """Return names and types of a column signature; empty for tensors and where there is none."""
    written = signature.get("inputs") if isinstance(signature, dict) else None
    if not isinstance(written, str):
        return ()
    try:
        columns = msgspec.json.decode(written, type=list[dict[str, Any]])
    except msgspec.DecodeError:
        raise CompileError("the signature in MLmodel cannot be read: its inputs are no JSON list.") from None
    if any("name" not in column or column.get("type") == "tensor" for column in columns):
        return ()
    return tuple((str(column["name"]), str(column.get("type", ""))) for column in columns)


def _example(archive: Archive, info: Any) -> pd.DataFrame | np.ndarray | None:
    """Return the saved input example, or None where there is none that is a table."""
    path = info.get("artifact_path") if isinstance(info, dict) else None
    if not isinstance(path, str) or path not in archive:
        return None
    try:
        rows = msgspec.json.decode(archive.read(path, MOST_EXAMPLE_BYTES))
    except msgspec.DecodeError:
        raise CompileError(f"the input example {quoted(path)} is no JSON.") from None
    if isinstance(rows, dict) and "dataframe_split" in rows:
        rows = rows["dataframe_split"]
    try:
        if isinstance(rows, dict) and "data" in rows:
            return pd.DataFrame(rows["data"], columns=rows.get("columns"))
        if isinstance(rows, dict) and "inputs" in rows:
            rows = rows["inputs"]
        array = np.asarray(rows)
    except (ValueError, TypeError) as error:
        raise CompileError(f"the input example {quoted(path)} is no table: {error}.") from None
    return array if array.ndim == 2 and array.dtype.kind in "fiub" else None


def _versions(archive: Archive, described: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions the model was trained with, as its requirements and its flavors say."""
    found: dict[str, str] = {}
    if "requirements.txt" in archive:
        for line in archive.read("requirements.txt", MOST_YAML_BYTES).decode("utf-8", "replace").splitlines():
            if (match := _REQUIREMENT.match(line.strip())) and len(found) < 200:
                found[match[1].lower()] = match[2]
    flavors = described["flavors"]
    for flavor, key, package in (
        ("sklearn", "sklearn_version", "scikit-learn"),
        ("xgboost", "xgb_version", "xgboost"),
        ("lightgbm", "lgb_version", "lightgbm"),
        ("catboost", "catboost_version", "catboost"),
    ):
        version = flavors[flavor].get(key) if isinstance(flavors.get(flavor), dict) else None
        if isinstance(version, str):
            found.setdefault(package, version)
    python = flavors.get("python_function", {})
    if isinstance(python, dict) and isinstance(python.get("python_version"), str):
        found["python"] = python["python_version"]
    return found


def typed_sample(
    directory: Directory, made_up: pd.DataFrame | np.ndarray | None
) -> tuple[pd.DataFrame | np.ndarray | None, bool]:
    """Return rows for the gate with the signature's columns and types, and whether they were made up.

    The saved example where it has two rows or more; else `made_up`, rows from the fitted steps, with the types of the
    signature and the example's row in front.
    """
    example = directory.example
    if example is not None and len(example) > 1:
        return (_typed(example, directory.columns) if isinstance(example, pd.DataFrame) else example), False
    if not directory.columns or not isinstance(made_up, pd.DataFrame):
        return made_up, True
    frame = made_up
    if isinstance(example, pd.DataFrame) and set(frame.columns) <= set(example.columns):
        frame = pd.concat([example[list(frame.columns)], frame], ignore_index=True)
    return _typed(frame, directory.columns), True


def _typed(frame: pd.DataFrame, columns: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    frame = frame.copy()
    for name, kind in columns:
        if name not in frame.columns:
            raise CompileError(f"the MLflow signature has the column {quoted(name)}, which its input example lacks.")
        if kind == "string":
            continue
        dtype = _NUMPY.get(kind)
        if dtype is None:
            raise CompileError(
                f"the MLflow signature says {quoted(name)} is a {kind}: derive a number from it before training."
            )
        if dtype == "int64" and frame[name].isna().any():
            dtype = "float64"
        try:
            frame[name] = (frame[name].round() if dtype == "int64" else frame[name]).astype(dtype)
        except (TypeError, ValueError):
            raise CompileError(f"the rows of {quoted(name)} are no {kind}, as the MLflow signature says.") from None
    return frame
