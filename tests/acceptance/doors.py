"""One trained file of each kind that may be pushed, with the rows it is asked about and what its own library says of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pandas as pd
import skl2onnx
import skops.io
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ASKED = 20  # rows
SMALL = {"n_estimators": 5, "max_depth": 3}
CAT = {"iterations": 5, "depth": 3, "verbose": 0, "allow_writing_files": False, "thread_count": 1}


@dataclass(frozen=True)
class Case:
    """A file, what `push` is given besides, the rows to ask about, and the answers that must come."""

    path: Path
    rows: pd.DataFrame | np.ndarray
    answers: Mapping[str, Any]
    options: tuple[str, ...] = ()
    state: str = "compiled"
    tolerance: float = 1e-6  # of a graph in float32; what runs unchanged is equal


def customers() -> pd.DataFrame:
    """Return 200 rows: a number with gaps, a whole number, a word."""
    rng = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "age": np.where(rng.random(200) < 0.1, np.nan, rng.normal(40, 9, 200).round(1)),
            "visits": rng.integers(0, 30, 200),
            "plan": rng.choice(["free", "pro", "team"], 200),
        }
    )


CUSTOMERS = customers()
NUMBERS = CUSTOMERS[["age", "visits"]].astype(float)  # a file without rows or types beside it takes doubles
WHOLE = CUSTOMERS.fillna({"age": 40.0})
STAYS = np.where((WHOLE.age > 38) ^ (WHOLE.plan == "pro"), "stays", "leaves")
OFTEN = (NUMBERS.visits > 12).to_numpy().astype(int)


def _pipeline() -> Any:
    columns = (StandardScaler(), ["age", "visits"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"])
    return make_pipeline(make_column_transformer(*columns), LogisticRegression()).fit(WHOLE, STAYS)


def _said(model: Any, rows: Any) -> dict[str, Any]:
    """Return what a classifier says of some rows, by the names of our outputs."""
    return {"probabilities": model.predict_proba(rows), "label": np.ravel(model.predict(rows))}


def joblib_file(folder: Path) -> Case:
    model, rows = _pipeline(), WHOLE.head(ASKED)
    joblib.dump(model, folder / "model.joblib")
    WHOLE.to_csv(folder / "sample.csv", index=False)
    return Case(folder / "model.joblib", rows, _said(model, rows), (f"--sample={folder / 'sample.csv'}",))


def skops_file(folder: Path) -> Case:
    model, rows = _pipeline(), WHOLE.head(ASKED).astype({"visits": float})
    skops.io.dump(model, folder / "model.skops")
    return Case(folder / "model.skops", rows, _said(model, rows))


def xgboost_file(folder: Path, ending: str) -> Case:
    model, rows = xgboost.XGBClassifier(**SMALL).fit(NUMBERS, OFTEN), NUMBERS.head(ASKED)
    model.save_model(folder / f"model.{ending}")
    return Case(folder / f"model.{ending}", rows, _said(model, rows))


def lightgbm_file(folder: Path) -> Case:
    model, rows = lightgbm.LGBMRegressor(**SMALL, verbose=-1).fit(NUMBERS, NUMBERS.visits * 1.5), NUMBERS.head(ASKED)
    model.booster_.save_model(folder / "model.txt")
    return Case(folder / "model.txt", rows, {"prediction": model.predict(rows)})


def catboost_file(folder: Path) -> Case:
    """String classes, a column of words, a number with gaps: nothing compiles that, so it must be equal to the last bit."""
    model, rows = catboost.CatBoostClassifier(**CAT, cat_features=["plan"]).fit(CUSTOMERS, STAYS), CUSTOMERS.head(ASKED)
    model.save_model(folder / "model.cbm")
    CUSTOMERS.to_csv(folder / "sample.csv", index=False)
    options = (f"--sample={folder / 'sample.csv'}",)
    return Case(folder / "model.cbm", rows, _said(model, rows), options, "native", 0.0)


def onnx_file(folder: Path) -> Case:
    matrix = WHOLE[["age", "visits"]].to_numpy(np.float32)
    model = LogisticRegression().fit(matrix, OFTEN)
    options = {"zipmap": False}
    graph = skl2onnx.to_onnx(model, matrix[:1], options=options, target_opset={"": 21, "ai.onnx.ml": 3})
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return Case(folder / "model.onnx", matrix[:ASKED], _said(model, matrix[:ASKED]))


def mlflow_directory(folder: Path) -> Case:
    """A pipeline as `mlflow.sklearn.save_model` keeps it: in skops."""
    model, rows = _pipeline(), WHOLE.head(ASKED)
    skops.io.dump(model, folder / "model.skops")
    directory = _with_mlmodel(folder, "model.skops", SKLEARN_FLAVOR, WHOLE)
    return Case(directory, rows, _said(model, rows))


def mlflow_zip(folder: Path) -> Case:
    """A booster as `mlflow.xgboost.save_model` keeps it, and the directory zipped."""
    table = WHOLE[["age", "visits"]]
    model, rows = xgboost.XGBClassifier(**SMALL).fit(table, OFTEN), table.head(ASKED)
    model.save_model(folder / "model.ubj")
    directory = _with_mlmodel(folder, "model.ubj", XGBOOST_FLAVOR, table)
    return Case(Path(shutil.make_archive(str(folder / "zipped"), "zip", directory)), rows, _said(model, rows))


def _with_mlmodel(folder: Path, file: str, flavor: str, table: pd.DataFrame) -> Path:
    """Return the directory that mlflow 3.17 writes around the model in `file`: the same files, keys and order."""
    directory = folder / "model"
    directory.mkdir()
    (folder / file).rename(directory / file)
    types = {"f": "double", "i": "long"}
    columns = [
        {"type": types.get(column.dtype.kind, "string"), "name": name, "required": True}
        for name, column in table.items()
    ]
    (directory / "MLmodel").write_text(MLMODEL.format(flavor=flavor, columns=json.dumps(columns)))
    (directory / "input_example.json").write_text(json.dumps(table.head(5).to_dict(orient="split", index=False)))
    (directory / "requirements.txt").write_text("mlflow==3.17.2\npandas==3.1.1\nscikit-learn==1.9.1")
    (directory / "serving_input_example.json").write_text("{}")
    for name in ("conda.yaml", "python_env.yaml"):
        (directory / name).write_text("dependencies: []\n")
    return directory


MLMODEL = """\
flavors:
{flavor}
is_signature_from_type_hint: false
mlflow_version: 3.17.2
model_id: null
model_size_bytes: 12435
model_uuid: a605c39a301647be864653b71c926d4c
prompts: null
saved_input_example_info:
  artifact_path: input_example.json
  pandas_orient: split
  serving_input_path: serving_input_example.json
  type: dataframe
signature:
  inputs: '{columns}'
  outputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "int64", "shape": [-1]}}}}]'
  params: null
type_hint_from_example: false
utc_time_created: '2026-11-29 22:32:11.162953'
"""
SKLEARN_FLAVOR = """\
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    model_path: model.skops
    predict_fn: predict
    python_version: 3.11.7
  sklearn:
    code: null
    pickled_model: model.skops
    serialization_format: skops
    sklearn_version: 1.9.1
    skops_trusted_types: null"""
XGBOOST_FLAVOR = """\
  python_function:
    data: model.ubj
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.xgboost
    python_version: 3.11.7
  xgboost:
    code: null
    data: model.ubj
    model_class: xgboost.sklearn.XGBClassifier
    model_format: ubj
    xgb_version: 3.2.0"""

DOORS: dict[str, Callable[[Path], Case]] = {
    "joblib": joblib_file,
    "skops": skops_file,
    "xgboost-json": lambda folder: xgboost_file(folder, "json"),
    "xgboost-ubj": lambda folder: xgboost_file(folder, "ubj"),
    "lightgbm": lightgbm_file,
    "catboost": catboost_file,
    "onnx": onnx_file,
    "mlflow": mlflow_directory,
    "mlflow-zip": mlflow_zip,
}
