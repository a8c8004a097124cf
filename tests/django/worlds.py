"""Tiny worlds for the tests of the control plane: bundles, versions, records."""

from functools import cache
from typing import Any

import msgspec
import numpy as np

from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion
from trivet.core.ids import new_prediction_id
from trivet.core.records import PredictionRecord
from trivet.core.signature import Input, Output, Signature
from trivet.model.bundle.bundle import Bundle, make_bundle
from trivet.model.bundle.manifest import Manifest

CHURN = Signature(
    inputs=(
        Input(name="age", datatype="FP64", shape=(-1, 1), nullable=True),
        Input(name="plan", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,)),
        Output(name="probabilities", datatype="FP32", shape=(-1, 2), classes=("stays", "churned")),
    ),
    task="classification",
)
FREE = msgspec.structs.replace(CHURN, outputs=(Output(name="label", datatype="BYTES", shape=(-1,)),), task="tensors")
MADE_AT = 1_700_000_000_123_456_789  # nanoseconds since 1970


def bundle(content: str = "graph 1", signature: Signature = CHURN) -> Bundle:
    manifest = Manifest(format=1, runtime="onnx", signature=signature, files=(), parity={"max": 2e-7})
    return make_bundle(manifest, {"model.onnx": content.encode(), "sample.jsonl": b"{}\n"})


def registered(content: str = "graph 1", *, model: str = "churn", signature: Signature = CHURN) -> ModelVersion:
    return actions.register_version(name=model, bundle=bundle(content, signature), actor="cli:ana")


def ready(count: int = 1, *, model: str = "churn") -> list[ModelVersion]:
    """Register and ready `count` versions of `model`, numbered from 1 when it is new."""
    versions = [registered(f"{model} graph {i}", model=model) for i in range(1, count + 1)]
    return [actions.mark_ready(model=model, version=version.number, actor="process:probe") for version in versions]


def ready_of(*classes: str, model: str = "churn") -> ModelVersion:
    """Register and ready a version with other classes."""
    label, probabilities = CHURN.outputs
    probabilities = msgspec.structs.replace(probabilities, shape=(-1, len(classes)), classes=classes)
    signature = msgspec.structs.replace(CHURN, outputs=(label, probabilities))
    version = registered(f"{model} of {len(classes)}", model=model, signature=signature)
    return actions.mark_ready(model=model, version=version.number, actor="process:probe")


def turned_out(truth: Any) -> Any:
    """Return the label of a version that CHURN describes: of a truth the word for it."""
    return ("stays", "churned")[int(truth)] if isinstance(truth, bool | np.bool_) else truth


def ready_free(model: str = "churn") -> ModelVersion:
    """Register and ready a version without classes, of which anything may turn out true."""
    version = registered(f"{model} free", model=model, signature=FREE)
    return actions.mark_ready(model=model, version=version.number, actor="process:probe")


def record(version: ModelVersion, rows: int = 1, **changes) -> PredictionRecord:
    """Return a record of `rows` rows answered by `version`, as the data plane would append it."""
    values = {
        "id": new_prediction_id(),
        "made_at": MADE_AT,
        "model": version.model.name,
        "version": version.number,
        "digest": version.digest,
        "generation": 5,
        "route": "only",
        "caller": "key:abcdefgh",
        "door": "rest",
        "rows": rows,
        "inputs": [[41.0 + i for i in range(rows)], ["pro"] * rows],
        "outputs": [["churned"] * rows, [0.25, 0.75] * rows],
        "output_names": ["label", "probabilities"],
        "latency_us": 120,
    }
    return PredictionRecord(**{**values, **changes})


@cache
def trained_bundle() -> Bundle:
    """Return a bundle that really runs: a small pipeline over `age` (may be missing) and `city`, compiled once."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    from trivet.model.compile.compiler import compile_model

    random = np.random.default_rng(1)
    rows = pd.DataFrame({"age": random.uniform(18, 90, 120), "city": random.choice(["Lyon", "Oslo"], 120)})
    rows.loc[::10, "age"] = np.nan
    churned = np.where(rows.age.fillna(50) + (rows.city == "Oslo") * 20 > 60, "churned", "stays")
    prepare = ColumnTransformer([("age", SimpleImputer(), ["age"]), ("city", OneHotEncoder(), ["city"])])
    return compile_model(make_pipeline(prepare, LogisticRegression()).fit(rows, churned), sample=rows).bundle


def live_model(name: str) -> ModelVersion:
    """Register and promote the model that really runs."""
    version = actions.register_version(name=name, bundle=trained_bundle(), actor="cli:ana")
    actions.mark_ready(model=name, version=version.number, actor="process:probe")
    actions.promote(model=name, version=version.number, actor="cli:ana")
    return version
