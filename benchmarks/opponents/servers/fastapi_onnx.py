"""The honest opponent: a FastAPI view around the very ONNX files that Trivet serves. No key, no log."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

FOLDER = Path(os.environ["BENCH_FOLDER"])
DTYPES: dict[str, Any] = {"tensor(string)": object, "tensor(double)": np.float64, "tensor(float)": np.float32}


class Graph:
    """One ONNX session; columns go to the inputs that hold them."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [(i.name, DTYPES[i.type]) for i in self._session.get_inputs()]
        known = json.loads(path.with_suffix(".json").read_text())
        packs: dict[str, list[str]] = json.loads(path.with_suffix(".packs.json").read_text())
        place = {column: number for number, column in enumerate(known["columns"])}
        self._places = {name: [place[c] for c in packs.get(name, [name])] for name, _ in self._inputs if place}

    def probabilities(self, rows: list[list[Any]]) -> list[list[float]]:
        """Return the graph's probabilities of `rows`."""
        feed = {}
        for name, dtype in self._inputs:
            places = self._places.get(name)
            values = rows if places is None else [[row[place] for place in places] for row in rows]
            feed[name] = np.array(values, dtype=dtype)
        answer: list[list[float]] = self._session.run(["probabilities"], feed)[0].tolist()
        return answer


graphs = {path.stem: Graph(path) for path in FOLDER.glob("*.onnx")}
app = FastAPI()


class Numbers(BaseModel):
    """Rows of numbers."""

    rows: list[list[float]]


class Words(BaseModel):
    """Rows of numbers and words."""

    rows: list[list[float | str]]


@app.post("/pipeline")
async def predict_words(body: Words) -> dict[str, Any]:
    """Answer with probabilities; on the loop, for it takes microseconds."""
    return {"probabilities": graphs["pipeline"].probabilities(body.rows)}


@app.post("/{model}")
async def predict(model: str, body: Numbers) -> dict[str, Any]:
    """Answer with probabilities; on the loop, for it takes microseconds."""
    return {"probabilities": graphs[model].probabilities(body.rows)}
