"""A world whose model gives back what it was given, for what the wire does to values; and bodies as clients send them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.dataplane.world import ByHand, ByHandEngine, World
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.frontends.rest import Response
from trivet.dataplane.plane import Limits
from trivet.dataplane.protocol.raw import raw_bytes
from trivet.model.bundle.bundle import Bundle

Answers = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class Echo(ByHand):
    """Answers what `answers` makes of its inputs; `seen` is what it was given last."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = answers
        self.seen: Mapping[str, np.ndarray] = {}

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float = math.inf
    ) -> list[np.ndarray]:
        self.runs += 1
        self.seen = inputs
        answers = self.answers(inputs)
        return [answers[name] for name in outputs]


class EchoEngine(ByHandEngine):
    """Loads every bundle as one Echo."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.version = Echo(answers)

    def load(self, bundle: Bundle) -> Echo:
        return self.version


class EchoWorld(World):
    """A World of one model, `churn`: each input comes back as the output of its name, unless told otherwise."""

    engine: EchoEngine

    def __init__(
        self,
        folder: Path,
        *inputs: Input,
        outputs: tuple[Output, ...] | None = None,
        answers: Answers = lambda inputs: inputs,
        **options: Any,
    ) -> None:
        given = outputs or tuple(Output(name=i.name, datatype=i.datatype, shape=i.shape) for i in inputs)
        signature = Signature(inputs=inputs, outputs=given)
        super().__init__(folder, signature=signature, engine=EchoEngine(answers), limits=Limits(), **options)

    @property
    def seen(self) -> Mapping[str, np.ndarray]:
        """What the model was given last."""
        return self.engine.version.seen

    def code(self, body: dict | bytes, **options: Any) -> str:
        """Return the error code of a request that is refused, "" for one that is answered."""
        response = self.send(body=body, **options)
        return header(response, "trivet-error") or "" if response.status != 200 else ""

    def mixed(self, body: dict, *tensors: bytes, length: object = None, **headers: str) -> Response:
        """Send `body` as JSON and `tensors` behind it."""
        head = json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["inference-header-content-length"] = str(len(head) if length is None else length)
        return self.send(body=head + b"".join(tensors), headers=named)


def column(name: str, datatype: str, **rules: Any) -> Input:
    """Return an input of one value a row."""
    return Input(name=name, datatype=datatype, shape=(-1, 1), **rules)


def tensor(name: str, datatype: str, data: Any, shape: Sequence[int] | None = None, **parameters: Any) -> dict:
    """Return a tensor of a JSON body."""
    made = {"name": name, "datatype": datatype, "shape": list([len(data), 1] if shape is None else shape), "data": data}
    return made | ({"parameters": parameters} if parameters else {})


def binary(name: str, datatype: str, array: Any, **parameters: Any) -> tuple[dict, bytes]:
    """Return a tensor without data, and its data as bytes."""
    values = np.asarray(array)
    data = raw_bytes(values, datatype)
    parameters = {"binary_data_size": len(data)} | parameters
    return {"name": name, "datatype": datatype, "shape": list(values.shape), "parameters": parameters}, data


def header(response: Response, name: str) -> str | None:
    """Return a header of `response`."""
    return next((value.decode() for key, value in response.headers if key.decode() == name), None)


def parts(response: Response) -> tuple[dict, dict[str, bytes]]:
    """Return the JSON of an answer, and the bytes of its binary outputs by name."""
    assert response.status == 200, response.body
    length = header(response, "inference-header-content-length")
    end = int(length) if length is not None else len(response.body)
    body = json.loads(response.body[:end])
    tensors = {}
    for output in body["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            assert "data" not in output
            tensors[output["name"]] = response.body[end : end + size]
            end += size
    assert end == len(response.body)
    return body, tensors
