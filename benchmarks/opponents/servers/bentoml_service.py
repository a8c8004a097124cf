"""BentoML: one service with an API for rows."""

from __future__ import annotations

from typing import Any

import bentoml

from benchmarks.opponents.servers.estimators import all_estimators


@bentoml.service(workers=2, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Models:
    """Every model, in each of two workers."""

    def __init__(self) -> None:
        self._models = all_estimators()

    @bentoml.api(route="/predict")
    def predict(self, model: str, rows: list[list[Any]]) -> dict[str, Any]:
        """Answer with probabilities."""
        return {"probabilities": self._models[model].probabilities(rows)}
