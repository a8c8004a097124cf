"""Trivet: deploy trained models from Django.

The public names resolve on first use, so that importing one room never loads another: the client and the data plane
do not import Django, and `import trivet` loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivet.cli.notebook import push as push
    from trivet.core.errors import TrivetError as TrivetError
    from trivet.features import f as f
    from trivet.features.feature_set import FeatureSet as FeatureSet
    from trivet.features.latest import Latest as Latest
    from trivet.features.outcome import Outcome as Outcome
    from trivet.features.predicted_field import PredictedField as PredictedField
    from trivet.features.predictor import Predictor as Predictor
    from trivet.serving.labels import label as label
    from trivet.serving.predict import (
        apredict as apredict,
        apredict_many as apredict_many,
        predict as predict,
        predict_many as predict_many,
    )
    from trivet.serving.prediction import Prediction as Prediction
    from trivet.serving.scoring.scoring import score as score

__version__ = "0.1.0"

_HOMES = {
    "FeatureSet": "trivet.features.feature_set",
    "Latest": "trivet.features.latest",
    "Outcome": "trivet.features.outcome",
    "PredictedField": "trivet.features.predicted_field",
    "Prediction": "trivet.serving.prediction",
    "Predictor": "trivet.features.predictor",
    "TrivetError": "trivet.core.errors",
    "apredict": "trivet.serving.predict",
    "apredict_many": "trivet.serving.predict",
    "f": "trivet.features",
    "label": "trivet.serving.labels",
    "predict": "trivet.serving.predict",
    "predict_many": "trivet.serving.predict",
    "push": "trivet.cli.notebook",
    "score": "trivet.serving.scoring.scoring",
}

__all__ = [
    "FeatureSet",
    "Latest",
    "Outcome",
    "PredictedField",
    "Prediction",
    "Predictor",
    "TrivetError",
    "apredict",
    "apredict_many",
    "f",
    "label",
    "predict",
    "predict_many",
    "push",
    "score",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        home = import_module(_HOMES[name])
        return getattr(home, name) if hasattr(home, name) else import_module(f"{_HOMES[name]}.{name}")
    raise AttributeError(f"module 'trivet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
