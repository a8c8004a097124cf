"""The runtime `catboost`: a model in the library's own binary format."""

from __future__ import annotations

from typing import Any, ClassVar

import catboost

from trivet.core.errors import BundleError
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.native import Native
from trivet.model.runtimes.native.base import NativeRuntime


class CatboostRuntime(NativeRuntime):
    """A classifier or regressor of CatBoost."""

    name: ClassVar[str] = "catboost"
    files: ClassVar[tuple[str, ...]] = ("model.cbm",)

    @classmethod
    def open(cls, data: bytes, name: str, bundle: Bundle, native: Native) -> Any:
        kind = catboost.CatBoostClassifier if native.kind == "classifier" else catboost.CatBoostRegressor
        model = kind(thread_count=1)
        try:
            return model.load_model(blob=data)
        except catboost.CatBoostError as error:
            raise BundleError(f"bundle {bundle.digest[:12]}…: CatBoost cannot load {name}: {error}") from error
