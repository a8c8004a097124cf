"""An unmodified tritonclient over HTTP, with its defaults: each of its calls against a real server (conformance item 59)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tritonclient import http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import serving, trivet

pytestmark = pytest.mark.slow


def tensors(body: bytes, *, binary: bool) -> list[http.InferInput]:
    """Return the inputs of an OIP body as the client's own."""
    made = []
    for spec in json.loads(body)["inputs"]:
        dtype = np.object_ if spec["datatype"] == "BYTES" else triton_to_np_dtype(spec["datatype"])
        tensor = http.InferInput(spec["name"], spec["shape"], spec["datatype"])
        tensor.set_data_from_numpy(np.array(spec["data"], dtype).reshape(spec["shape"]), binary_data=binary)
        made.append(tensor)
    return made


def told(result: http.InferResult) -> dict[str, list[str]]:
    """Return the outputs; numbers as the text of their bits."""
    return {
        output["name"]: [
            value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else float(value).hex()
            for value in result.as_numpy(output["name"]).ravel().tolist()
        ]
        for output in result.get_response()["outputs"]
    }


def test_59_each_call_of_a_stock_tritonclient_does_over_http_what_it_says(churn: Churn):
    made = trivet(
        *("keys", "create", "triton", "--model=*", "--verb=predict", "--verb=view", "--verb=promote", "--json"),
        project=churn.project,
    )
    key = json.loads(made.stdout)["key"]

    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}  # anew each time: the client writes its own into what it is given

    with serving(churn.project, workers=1) as server, http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("churn", headers=headers())
        assert client.get_server_metadata(headers=headers())["name"] == "trivet"
        metadata = client.get_model_metadata("churn", headers=headers())
        assert {spec["name"] for spec in metadata["inputs"]} == {
            spec["name"] for spec in json.loads(churn.body)["inputs"]
        }
        assert client.get_model_config("churn", headers=headers())["name"] == "churn"

        inputs = tensors(churn.body, binary=True)
        first = client.infer("churn", inputs, headers=headers(), request_id="a1")
        assert first.get_response()["id"] == "a1"
        expected = told(first)
        assert set(expected) == {"label", "probabilities"}
        as_json = tensors(churn.body, binary=False)
        asked = [http.InferRequestedOutput(name, binary_data=False) for name in expected]
        assert told(client.infer("churn", as_json, headers=headers(), outputs=asked)) == expected
        for algorithm in ("gzip", "deflate"):
            squeezed = client.infer(
                "churn",
                inputs,
                headers=headers(),
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            assert told(squeezed) == expected, algorithm
        waiting = [client.async_infer("churn", inputs, headers=headers()) for _ in range(5)]
        assert [told(one.get_result()) for one in waiting] == [expected] * 5

        index = client.get_model_repository_index(headers=headers())
        assert ("churn", "1", "READY") in {(entry["name"], entry["version"], entry["state"]) for entry in index}
        client.load_model("churn", headers=headers())
        statistics = client.get_inference_statistics("churn", headers=headers())["model_stats"]
        assert sum(entry["inference_count"] for entry in statistics) == 9
        with pytest.raises(InferenceServerException, match="nobody"):
            client.infer("nobody", inputs, headers=headers())
