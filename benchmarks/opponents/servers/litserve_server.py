"""LitServe: one API, two workers."""

from __future__ import annotations

import os
import sys
from typing import Any

import litserve

from benchmarks.opponents.servers.estimators import Estimator


class Api(litserve.LitAPI):  # type: ignore[misc]  # untyped
    """One model."""

    def setup(self, device: str) -> None:  # noqa: ARG002  (named as LitServe calls it)
        """Load it."""
        self.model = Estimator(os.environ["BENCH_MODEL"])

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """Return the rows."""
        rows: list[list[Any]] = request["rows"]
        return rows

    def predict(self, rows: list[list[Any]]) -> list[list[float]]:
        """Return probabilities."""
        return self.model.probabilities(rows)

    def encode_response(self, probabilities: list[list[float]]) -> dict[str, Any]:
        """Return the answer."""
        return {"probabilities": probabilities}


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path=f"/{os.environ['BENCH_MODEL']}"), accelerator="cpu", workers_per_device=2)
    server.run(
        port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="error", num_api_servers=2
    )
