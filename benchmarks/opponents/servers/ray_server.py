"""Ray Serve: one deployment a model, two replicas each where they fit on two cores."""

from __future__ import annotations

import signal
import sys
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.opponents.servers.estimators import NAMES, Estimator


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=100)
class Model:
    """One model."""

    def __init__(self, name: str) -> None:
        self._model = Estimator(name)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer with probabilities."""
        return {"probabilities": self._model.probabilities((await request.json())["rows"])}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"enable_access_log": False}
    )
    for name in NAMES:
        serve.run(Model.bind(name), name=name, route_prefix=f"/{name}")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
