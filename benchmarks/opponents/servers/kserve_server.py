"""KServe's Python server: a custom model as its documentation shows, in two workers."""

from __future__ import annotations

import sys
from typing import Any

import kserve

from benchmarks.opponents.servers.estimators import NAMES, Estimator


class Model(kserve.Model):  # type: ignore[misc]  # untyped
    """One model behind the V1 protocol."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._model: Estimator | None = None

    def load(self) -> bool:
        """Load it, in the worker."""
        self._model = Estimator(self.name)
        self.ready = True
        return True

    def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
        """Answer with probabilities."""
        if self._model is None:
            self.load()
        return {"predictions": self._model.probabilities(payload["instances"])}  # type: ignore[union-attr]


if __name__ == "__main__":
    models = [Model(name) for name in NAMES]
    for model in models:
        model.load()
    kserve.ModelServer(
        http_port=int(sys.argv[1]), enable_grpc=False, workers=2, enable_docs_url=False, access_log_format=None
    ).start(models)
