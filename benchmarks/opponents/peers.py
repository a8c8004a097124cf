"""Model servers, each as its own documentation would have it for scikit-learn models, with two workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.opponents.handwritten import SCIKIT_LEARN, HandWritten
from benchmarks.opponents.opponent import SERVERS, WORKERS, Known, Opponent, Question, plain_question, rows_of, tensors

MODELS = ("linear", "forest", "boosting", "pipeline")


class MlServer(Opponent):
    """Seldon MLServer with its scikit-learn runtime and two inference workers."""

    name = "MLServer"
    requirements: ClassVar[tuple[str, ...]] = (
        "mlserver==1.7.1",
        "mlserver-sklearn==1.7.1",
        "uvloop<0.22",
        *SCIKIT_LEARN,
    )

    def prepare(self) -> None:
        home = self.folder / "mlserver"
        home.mkdir(exist_ok=True)
        for name in MODELS:
            (home / name).mkdir(exist_ok=True)
            settings = {
                "name": name,
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": str(self.folder / f"{name}.joblib")},
            }
            (home / name / "model-settings.json").write_text(json.dumps(settings))

    def command(self, python: str, port: int) -> list[str]:
        settings = {
            "http_port": port,
            "grpc_port": port + 1,
            "metrics_port": port + 2,
            "host": "127.0.0.1",
            "parallel_workers": WORKERS,
            "debug": False,
        }
        (self.folder / "mlserver" / "settings.json").write_text(json.dumps(settings))
        return [str(Path(python).with_name("mlserver")), "start", str(self.folder / "mlserver")]

    def question(self, known: Known, rows: int) -> Question:
        body: dict[str, Any] = {"inputs": tensors(known, rows), "outputs": [{"name": "predict_proba"}]}
        if known.columns:
            body["parameters"] = {"content_type": "pd"}
            for tensor in body["inputs"]:
                if tensor["datatype"] == "BYTES":
                    tensor["parameters"] = {"content_type": "str"}
        return Question(f"/v2/models/{known.name}/infer", json.dumps(body).encode())

    def probabilities(self, answer: Any, rows: int) -> list[list[float]]:
        return rows_of(answer["outputs"][0]["data"], rows)


class BentoMl(HandWritten):
    """BentoML with two workers."""

    name = "BentoML"
    requirements: ClassVar[tuple[str, ...]] = ("bentoml==1.4.39", *SCIKIT_LEARN)

    def command(self, python: str, port: int) -> list[str]:
        program = str(Path(python).with_name("bentoml"))
        service = "benchmarks.opponents.servers.bentoml_service:Models"
        return [program, "serve", service, "--port", str(port), "--host", "127.0.0.1"]

    def environment(self, model: str) -> dict[str, str]:
        more = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(self.folder / "bentoml")}
        return {**super().environment(model), **more}

    def question(self, known: Known, rows: int) -> Question:
        return Question("/predict", json.dumps({"model": known.name, "rows": known.rows[:rows]}).encode())


class LitServe(HandWritten):
    """LitServe with two workers."""

    name = "LitServe"
    requirements: ClassVar[tuple[str, ...]] = ("litserve==0.2.19", *SCIKIT_LEARN)
    is_per_model = True

    def command(self, python: str, port: int) -> list[str]:
        return [python, "-m", "benchmarks.opponents.servers.litserve_server", str(port)]


class RayServe(HandWritten):
    """Ray Serve with two replicas."""

    name = "Ray Serve"
    requirements: ClassVar[tuple[str, ...]] = ("ray[serve]==2.60.0", *SCIKIT_LEARN)

    def command(self, python: str, port: int) -> list[str]:
        return [python, "-m", "benchmarks.opponents.servers.ray_server", str(port)]

    def environment(self, model: str) -> dict[str, str]:
        return {**super().environment(model), "RAY_USAGE_STATS_ENABLED": "0"}

    def question(self, known: Known, rows: int) -> Question:
        return plain_question(known, rows)


class MlFlow(Opponent):
    """MLflow's scoring server with two workers."""

    name = "MLflow"
    requirements: ClassVar[tuple[str, ...]] = ("mlflow==3.17.2", *SCIKIT_LEARN)
    is_per_model = True

    def command(self, python: str, port: int) -> list[str]:
        return [python, "-m", "benchmarks.opponents.servers.mlflow_server", str(port), str(WORKERS)]

    def environment(self, model: str) -> dict[str, str]:
        return {**super().environment(model), "MLFLOW_DISABLE_TELEMETRY": "true"}

    def question(self, known: Known, rows: int) -> Question:
        asked = known.rows[:rows]
        body = {"dataframe_split": {"columns": known.columns, "data": asked}} if known.columns else {"inputs": asked}
        return Question("/invocations", json.dumps(body).encode())

    def probabilities(self, answer: Any, rows: int) -> list[list[float]]:
        found: list[list[float]] = answer["predictions"]
        assert len(found) == rows
        return found


class KServe(HandWritten):
    """KServe's Python server with two workers."""

    name = "KServe"
    requirements: ClassVar[tuple[str, ...]] = ("kserve==0.21.0", *SCIKIT_LEARN)

    def command(self, python: str, port: int) -> list[str]:
        return [python, str(SERVERS / "kserve_server.py"), str(port)]

    def question(self, known: Known, rows: int) -> Question:
        return Question(f"/v1/models/{known.name}:predict", json.dumps({"instances": known.rows[:rows]}).encode())

    def probabilities(self, answer: Any, rows: int) -> list[list[float]]:
        found: list[list[float]] = answer["predictions"]
        assert len(found) == rows
        return found


class Triton(Opponent):
    """NVIDIA Triton with the models as Python callables."""

    name = "Triton (PyTriton)"
    requirements: ClassVar[tuple[str, ...]] = ("nvidia-pytriton==0.7.0", *SCIKIT_LEARN)
    interpreter = (
        "/usr/bin/python3.11"  # its stub embeds 3.11.2, which the standard library of a later 3.11 does not fit
    )

    def command(self, python: str, port: int) -> list[str]:
        return [python, "-m", "benchmarks.opponents.servers.triton_server", str(port)]

    def question(self, known: Known, rows: int) -> Question:
        return Question(
            f"/v2/models/{known.name}/infer",
            json.dumps({"inputs": tensors(known, rows)}).encode(),
        )

    def probabilities(self, answer: Any, rows: int) -> list[list[float]]:
        return rows_of(answer["outputs"][0]["data"], rows)
