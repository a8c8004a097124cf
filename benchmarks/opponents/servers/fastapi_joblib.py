"""What a team writes by hand with FastAPI: the joblib file behind a typed body. No key, no log."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.opponents.servers.estimators import all_estimators

models = all_estimators()
app = FastAPI()


class Numbers(BaseModel):
    """Rows of numbers."""

    rows: list[list[float]]


class Words(BaseModel):
    """Rows of numbers and words."""

    rows: list[list[float | str]]


@app.post("/pipeline")
def predict_words(body: Words) -> dict[str, Any]:
    """Answer with probabilities; in a thread, as a plain function is."""
    return {"probabilities": models["pipeline"].probabilities(body.rows)}


@app.post("/{model}")
def predict(model: str, body: Numbers) -> dict[str, Any]:
    """Answer with probabilities; in a thread, as a plain function is."""
    return {"probabilities": models[model].probabilities(body.rows)}
