"""A stock tritonclient over gRPC, in a process of its own: `python -m tests.acceptance.triton_grpc ADDRESS KEY BODY`.

It prints as JSON what it was answered. BODY is an OIP request for `churn`, as JSON.
"""

from __future__ import annotations

import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype


def main(address: str, key: str, body: str) -> dict[str, Any]:
    """Return what the client was told."""
    with triton.InferenceServerClient(address) as client:
        headers = {"authorization": f"Bearer {key}"}
        inputs = [tensor(spec) for spec in json.loads(body)["inputs"]]
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready("churn", headers=headers),
            "server": client.get_server_metadata(headers=headers, as_json=True),
            "model": client.get_model_metadata("churn", headers=headers, as_json=True),
            "config": client.get_model_config("churn", headers=headers, as_json=True)["config"],
            "statistics": client.get_inference_statistics("churn", headers=headers, as_json=True)["model_stats"],
            "infer": told(client.infer("churn", inputs, headers=headers, request_id="a1")),
            "compressed": told(client.infer("churn", inputs, headers=headers, compression_algorithm="gzip")),
            "one_output": told(
                client.infer("churn", inputs, headers=headers, outputs=[triton.InferRequestedOutput("probabilities")])
            ),
            "async": asked_async(client, inputs, headers),
            "stream": streamed(client, inputs, headers),
            "failures": {
                "no key": failure(client, inputs, headers={}),
                "no model": failure(client, inputs, model_name="nobody", headers=headers),
                "no version": failure(client, inputs, model_version="9", headers=headers),
                "too late": failure(client, inputs, timeout=1, headers=headers),
                "an input missing": failure(client, inputs[1:], headers=headers),
            },
        }


def tensor(spec: dict[str, Any]) -> triton.InferInput:
    """Return one input, with its values as the client sends them: raw."""
    made = triton.InferInput(spec["name"], spec["shape"], spec["datatype"])
    dtype = np.object_ if spec["datatype"] == "BYTES" else triton_to_np_dtype(spec["datatype"])
    return made.set_data_from_numpy(np.array(spec["data"], dtype).reshape(spec["shape"]))


def told(result: triton.InferResult) -> dict[str, Any]:
    """Return an answer's parts; numbers as the hexadecimal text of their bits."""
    response = result.get_response()
    values = {}
    for output in response.outputs:
        array = result.as_numpy(output.name)
        flat = array.ravel().tolist()
        values[output.name] = [v.decode() if isinstance(v, bytes) else float(v).hex() for v in flat]
    return {"id": response.id, "version": response.model_version, "outputs": values}


def asked_async(client: triton.InferenceServerClient, inputs: list, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Ask five times at once; return the answers."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(5):
        client.async_infer("churn", inputs, lambda result, error: answers.put(error or result), headers=headers)
    return [told(answers.get(timeout=30)) for _ in range(5)]


def streamed(client: triton.InferenceServerClient, inputs: list, headers: dict[str, str]) -> list[Any]:
    """Ask for the model, for one that is not there, and again, on one stream; return what came, in order."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    for number, model in enumerate(("churn", "nobody", "churn")):
        client.async_stream_infer(model, inputs, request_id=f"s{number}", enable_empty_final_response=True)
    came = [answers.get(timeout=30) for _ in range(3)]
    client.stop_stream()
    return [str(error) if error else told(result) for result, error in came]


def failure(client: triton.InferenceServerClient, inputs: list, *, model_name: str = "churn", **options: Any) -> str:
    """Return the status that a call ends with."""
    try:
        client.infer(model_name, inputs, **options)
    except InferenceServerException as error:
        return str(error.status())
    return "answered"


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
