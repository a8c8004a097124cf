"""A stock kserve client, with its defaults, in an environment of its own: `python kserve_client.py URL GRPC KEY BODY ROW`.

It prints as JSON what it was answered. BODY is an OIP request for `churn`, ROW the same row by its fields, both as JSON.
It imports nothing of Trivet or its tests: where kserve is installed, they are not.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig

MODEL = "churn"
DTYPES = {"FP64": np.float64, "INT64": np.int64, "BYTES": np.object_}


async def main(url: str, grpc: str, key: str, body: str, row: str) -> dict[str, Any]:
    """Return what the client was told by each of its three ways."""
    authorization = ("authorization", f"Bearer {key}")
    async with InferenceRESTClient() as client:  # its default is KServe V1
        rest_v1 = {
            "ready": await client.is_model_ready(url, MODEL, headers=dict([authorization])),
            "infer": await client.infer(url, {"instances": [json.loads(row)]}, MODEL, headers=dict([authorization])),
        }
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        rest_v2 = {
            "live": await client.is_server_live(url),
            "server": await client.is_server_ready(url),
            "ready": await client.is_model_ready(url, MODEL, headers=dict([authorization])),
            "infer": [
                answered(await client.infer(url, made, MODEL, headers=dict([authorization]))) for made in requests(body)
            ],
        }
    async with InferenceGRPCClient(grpc) as client:
        by_grpc = {
            "live": await client.is_server_live(),
            "server": await client.is_server_ready(),
            "ready": await client.is_model_ready(MODEL, headers=[authorization]),
            "infer": [answered(await client.infer(made, headers=[authorization])) for made in requests(body)],
        }
    return {"rest_v1": rest_v1, "rest_v2": rest_v2, "grpc": by_grpc}


def requests(body: str) -> list[InferRequest]:
    """Return the request twice: from lists, and from arrays, which the client sends as binary tensors."""
    specs = json.loads(body)["inputs"]
    from_lists = [InferInput(**spec) for spec in specs]
    from_arrays = [InferInput(spec["name"], spec["shape"], spec["datatype"]) for spec in specs]
    for tensor, spec in zip(from_arrays, specs, strict=True):
        tensor.set_data_from_numpy(np.array(spec["data"], DTYPES[spec["datatype"]]).reshape(spec["shape"]))
    return [InferRequest(MODEL, from_lists), InferRequest(MODEL, from_arrays)]


def answered(response: InferResponse) -> dict[str, Any]:
    """Return an answer's outputs by name, numbers to the bit."""
    return {output.name: [exact(value) for value in output.as_numpy().ravel().tolist()] for output in response.outputs}


def exact(value: Any) -> str:
    """Return a text as it is, and a number to the bit."""
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else float(value).hex()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
