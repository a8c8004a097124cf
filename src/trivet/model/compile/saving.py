"""Saves a trained object in a format that is data: a boosting library's own, or skops; the same object, the same bytes."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from skops import io as skops_io
from skops.io.exceptions import UnsupportedTypeException

from trivet.core.errors import CompileError
from trivet.model.runtimes.native.base import installed, minor
from trivet.model.runtimes.native.types import unlisted_types

LIBRARIES = {"sklearn": "scikit-learn", "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost"}
SCHEMA = "schema.json"
NEVER_CHANGES = (1980, 1, 1, 0, 0, 0)  # the date of every entry of a zip: nothing in a bundle depends on a clock
ROOT_OF_A_TYPE = re.compile(r'"__module__": "(\w+)')


class UnlistedTypes(CompileError):
    """The object holds types that are on no list and that nobody accepted; `types` names them."""

    def __init__(self, types: Collection[str]) -> None:
        asked = " ".join(f"--accept-types {name}" for name in types)
        super().__init__(
            f"it holds types that are on no list of allowed ones: {', '.join(types)}. Where you know what they do, push it"
            f" with {asked}; the history says who accepted them."
        )
        self.types = tuple(types)


@dataclass(frozen=True)
class Saved:
    """An object as data: its runtime, the file's name and bytes, the libraries it needs, and what it holds unlisted."""

    runtime: str
    name: str
    data: bytes
    requires: Mapping[str, str]
    kind: str | None = None
    accepted_types: tuple[str, ...] = ()


def saved(model: Any, accepted_types: Collection[str] = ()) -> Saved:
    """Return `model` as data. Raises `UnlistedTypes`, or `CompileError` for what no format here can hold."""
    library, kind = type(model).__module__.partition(".")[0], type(model).__name__
    what = "classifier" if kind.endswith("Classifier") else "regressor"
    if kind in ("XGBClassifier", "XGBRegressor"):
        return Saved("xgboost", "model.ubj", bytes(model.get_booster().save_raw("ubj")), _pinned(library), what)
    if kind in ("LGBMClassifier", "LGBMRegressor"):
        text = model.booster_.model_to_string()
        return Saved("lightgbm", "model.txt", text.encode(), _pinned(library), what)
    if kind in ("CatBoostClassifier", "CatBoostRegressor"):
        return Saved("catboost", "model.cbm", bytes(model._serialize_model()), _pinned(library), what)
    return _as_skops(model, accepted_types)


def _as_skops(model: Any, accepted_types: Collection[str]) -> Saved:
    try:
        data = canonical(skops_io.dumps(model))
        types = skops_io.get_untrusted_types(data=data)
    except UnsupportedTypeException as error:
        raise CompileError(f"skops cannot save it: {error}") from error
    except Exception as error:  # whatever an object raises when it is taken apart
        raise CompileError(f"skops cannot save it: {error or type(error).__name__}") from error
    if strange := unlisted_types(types, accepted_types):
        raise UnlistedTypes(strange)
    needed = {"sklearn"} | set(ROOT_OF_A_TYPE.findall(_schema(data)))
    accepted = unlisted_types(types)
    return Saved("skops", "model.skops", data, _pinned(*sorted(needed)), accepted_types=tuple(accepted))


def canonical(data: bytes) -> bytes:
    """Return the skops file `data` with nothing in it of memory addresses and clocks."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        schema = json.loads(source.read(SCHEMA))
        names: dict[str, str] = {}
        numbers: dict[int, int] = {}
        _renumber(schema, set(source.namelist()), names, numbers)
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as target:
            for old, new in names.items():
                target.writestr(zipfile.ZipInfo(new, NEVER_CHANGES), source.read(old))
            target.writestr(zipfile.ZipInfo(SCHEMA, NEVER_CHANGES), json.dumps(schema, separators=(",", ":")))
    return written.getvalue()


def _renumber(node: Any, files: Collection[str], names: dict[str, str], numbers: dict[int, int]) -> None:
    """Replace each address in `node` by its turn, and each file's name by the turn in which it is first read."""
    if isinstance(node, list):
        for item in node:
            _renumber(item, files, names, numbers)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "__id__" and isinstance(value, int):
                node[key] = numbers.setdefault(value, len(numbers) + 1)
            elif key == "file" and isinstance(value, str) and value in files:
                ending = value.rpartition(".")[2]
                node[key] = names.setdefault(value, f"{len(names) + 1}.{ending}")
            else:
                _renumber(value, files, names, numbers)


def _schema(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return file.read(SCHEMA).decode()


def _pinned(*roots: str) -> dict[str, str]:
    """Return the minor versions of the libraries called `roots` as they are here: what will read the file must have them."""
    found = {LIBRARIES[root]: installed(LIBRARIES[root]) for root in roots if root in LIBRARIES}
    return {library: minor(release) for library, release in found.items() if release is not None}
