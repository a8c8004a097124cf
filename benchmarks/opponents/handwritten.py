"""What teams write by hand."""

from __future__ import annotations

from typing import Any, ClassVar

from benchmarks.opponents.opponent import WORKERS, Known, Opponent, Question, plain_question

SERVERS = "benchmarks.opponents.servers"
SCIKIT_LEARN = ("scikit-learn==1.9.1", "pandas", "joblib")


class HandWritten(Opponent):
    """A view that takes rows and gives probabilities."""

    def question(self, known: Known, rows: int) -> Question:
        return plain_question(known, rows)

    def probabilities(self, answer: Any, rows: int) -> list[list[float]]:
        assert len(answer["probabilities"]) == rows
        found: list[list[float]] = answer["probabilities"]
        return found


class FastApi(HandWritten):
    """FastAPI under uvicorn; `module` is the application."""

    requirements: ClassVar[tuple[str, ...]] = ("fastapi", "uvicorn[standard]", "onnxruntime", *SCIKIT_LEARN)
    module: ClassVar[str]

    def command(self, python: str, port: int) -> list[str]:
        options = ["--port", str(port), "--workers", str(WORKERS), "--log-level", "error", "--no-access-log"]
        return [python, "-m", "uvicorn", f"{SERVERS}.{self.module}:app", *options]


class FastApiJoblib(FastApi):
    """The joblib file behind FastAPI."""

    name = "FastAPI view, joblib"
    module = "fastapi_joblib"


class FastApiOnnx(FastApi):
    """Trivet's own ONNX files behind FastAPI."""

    name = "FastAPI view, the same ONNX"
    module = "fastapi_onnx"


class DjangoJoblib(HandWritten):
    """The joblib file behind a Django view."""

    name = "Django view, joblib"
    requirements: ClassVar[tuple[str, ...]] = ("django", "gunicorn", *SCIKIT_LEARN)

    def command(self, python: str, port: int) -> list[str]:
        options = [f"--bind=127.0.0.1:{port}", f"--workers={WORKERS}", "--worker-class=gthread", "--threads=8"]
        application = f"{SERVERS}.django_joblib:application"
        return [python, "-m", "gunicorn", application, *options, "--log-level=error", "--keep-alive=60"]


class EmptyPost(HandWritten):
    """The limit: uvicorn reading the body and answering an empty object."""

    name = "an empty POST, uvicorn"
    is_limit = True

    def command(self, python: str, port: int) -> list[str]:
        return [python, "-m", "benchmarks.empty_post", str(port), str(WORKERS)]
