"""MLflow: a scikit-learn model saved for `predict_proba`, behind its scoring server."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import joblib
import mlflow.sklearn

from benchmarks.opponents.servers.estimators import FOLDER

if __name__ == "__main__":
    port, workers = sys.argv[1:3]
    name = os.environ["BENCH_MODEL"]
    path = FOLDER / "mlflow" / name
    shutil.rmtree(path, ignore_errors=True)
    mlflow.sklearn.save_model(
        joblib.load(FOLDER / f"{name}.joblib"),
        str(path),
        pyfunc_predict_fn="predict_proba",
        serialization_format="cloudpickle",
    )
    command = [
        "models",
        "serve",
        "-m",
        str(path),
        "-p",
        port,
        "-h",
        "127.0.0.1",
        "-w",
        workers,
        "--env-manager",
        "local",
    ]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it calls uvicorn by name
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *command])
