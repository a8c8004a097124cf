"""Trains a small torch network and pushes it from memory, where torch is installed: `python torch_pusher.py`, in a project.

It prints as JSON what the push came to, the rows, and what the network itself says of them.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import torch

import trivet

torch.manual_seed(3)
network = torch.nn.Sequential(
    torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2), torch.nn.Softmax(dim=1)
)
rows = np.random.default_rng(3).normal(size=(20, 3)).astype(np.float32)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the exporter has to say of itself
    pushed = trivet.push(network, "torch", sample=rows)
with torch.no_grad():
    answers = network.eval()(torch.from_numpy(rows)).numpy()
manifest = pushed.compiled.bundle.manifest
print(
    json.dumps(
        {
            "torch": torch.__version__,
            "alias": pushed.alias,
            "runtime": manifest.runtime,
            "source": manifest.source["kind"],
            "rows": rows.tolist(),
            "answers": answers.tolist(),
        }
    )
)
