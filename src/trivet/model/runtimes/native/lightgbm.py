"""The runtime `lightgbm`: a model in the library's own text format."""

from __future__ import annotations

from typing import Any, ClassVar

import lightgbm
import numpy as np
import pandas as pd

from trivet.core.errors import BundleError
from trivet.core.signature import Signature
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.native import Native
from trivet.model.runtimes.native.base import NativeRuntime
from trivet.model.runtimes.native.rows import categorised


class LightgbmRuntime(NativeRuntime):
    """A classifier or regressor of LightGBM."""

    name: ClassVar[str] = "lightgbm"
    files: ClassVar[tuple[str, ...]] = ("model.txt",)

    @classmethod
    def open(cls, data: bytes, name: str, bundle: Bundle, native: Native) -> Any:
        try:
            booster = lightgbm.Booster(model_str=data.decode(), params={"num_threads": 1, "verbose": -1})
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
            raise BundleError(f"bundle {bundle.digest[:12]}…: LightGBM cannot load {name}: {error}") from error
        return Classifier(booster, _labels(bundle.signature)) if native.kind == "classifier" else booster

    def rows(self, rows: Any) -> Any:
        return categorised(rows) if isinstance(rows, pd.DataFrame) else rows


class Classifier:
    """A booster that answers as `LGBMClassifier` does: the text format keeps no classes."""

    def __init__(self, booster: lightgbm.Booster, labels: np.ndarray) -> None:
        self._booster = booster
        self._labels = labels

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Return the probabilities, of shape (rows, classes)."""
        given = np.asarray(self._booster.predict(rows))
        return np.vstack((1.0 - given, given)).transpose() if given.ndim == 1 else given

    def predict(self, rows: Any) -> np.ndarray:
        """Return the class with the largest probability; the first wins a tie."""
        labels: np.ndarray = self._labels[np.argmax(self.predict_proba(rows), axis=1)]
        return labels


def _labels(signature: Signature) -> np.ndarray:
    output = signature.output("label")
    if output is None or output.classes is None:
        raise BundleError("a classifier's signature names its classes with the output 'label'.")
    if output.datatype == "BYTES":
        return np.array(output.classes, dtype=object)
    if output.classes == ("False", "True"):
        return np.array([0, 1])
    return np.array([int(name) for name in output.classes])
