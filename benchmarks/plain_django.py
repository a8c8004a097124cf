"""What a team writes by hand: a Django view around the same ONNX session. No key, no validation, no log."""

from __future__ import annotations

import json
import os

import numpy as np
import onnxruntime
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from benchmarks.plain_project import set_up

PACKS = json.loads(os.environ["BENCHMARK_PACKS"])  # name of a graph's input -> the columns in it
DTYPES = {"BYTES": object, "INT64": np.int64, "FP64": np.float64}

set_up(__name__)

_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCHMARK_MODEL"], _options, providers=["CPUExecutionProvider"])
output_names = [output.name for output in session.get_outputs()]


@csrf_exempt
def infer(request: HttpRequest) -> JsonResponse:
    """Answer an OIP body, trusting it."""
    body = json.loads(request.body)
    tensors = {tensor["name"]: tensor for tensor in body["inputs"]}
    feed = {}
    for name, columns in PACKS.items():  # columns that the graph takes side by side
        packed = [tensors.pop(column) for column in columns]
        feed[name] = np.array([tensor["data"] for tensor in packed], dtype=DTYPES[packed[0]["datatype"]]).T
    for name, tensor in tensors.items():
        feed[name] = np.array(tensor["data"], dtype=DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
    arrays = session.run(output_names, feed)
    outputs = [
        {"name": name, "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, array in zip(output_names, arrays, strict=True)
    ]
    return JsonResponse({"model_name": "late", "outputs": outputs})


urlpatterns = [path("v2/models/late/infer", infer)]
application = get_wsgi_application()
