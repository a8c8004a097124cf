"""The runtime `xgboost`: a model in the library's own format, JSON or UBJSON."""

from __future__ import annotations

from typing import Any, ClassVar

import xgboost

from trivet.core.errors import BundleError
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.native import Native
from trivet.model.runtimes.native.base import NativeRuntime


class XgboostRuntime(NativeRuntime):
    """A classifier or regressor of XGBoost."""

    name: ClassVar[str] = "xgboost"
    files: ClassVar[tuple[str, ...]] = ("model.ubj", "model.json")

    @classmethod
    def open(cls, data: bytes, name: str, bundle: Bundle, native: Native) -> Any:
        model = xgboost.XGBClassifier() if native.kind == "classifier" else xgboost.XGBRegressor()
        try:
            model.load_model(bytearray(data))
        except Exception as error:  # its exceptions share no base class
            raise BundleError(f"bundle {bundle.digest[:12]}…: XGBoost cannot load {name}: {error}") from error
        model.set_params(n_jobs=1)
        return model
