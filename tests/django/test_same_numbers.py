"""One question, asked in every notation and at every mount: the numbers are the same to the last bit, and so is the log."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import trivet
from tests.django.worlds import live_model
from tests.unit.dataplane.grpc_world import Door, inference
from tests.unit.dataplane.mounts import MOUNTS
from trivet.control.predictions.models import Prediction
from trivet.control.registry import actions
from trivet.serving import process
from trivet.serving.keeper import Keeper, spool_root

pytestmark = [pytest.mark.django_db(transaction=True)]

ROWS = [{"age": 41.3, "city": "Oslo"}, {"age": None, "city": "Lyon"}, {"age": 1 / 3, "city": "Oslo"}]
AGES = [row["age"] for row in ROWS]
CITIES = [row["city"] for row in ROWS]
AGE_BYTES = struct.pack("<3d", *(float("nan") if age is None else age for age in AGES))
CITY_BYTES = b"".join(struct.pack("<I", len(city)) + city.encode() for city in CITIES)
TENSORS = [
    {"name": "age", "datatype": "FP64", "shape": [3, 1], "data": AGES},
    {"name": "city", "datatype": "BYTES", "shape": [3, 1], "data": CITIES},
]
WANTED = {"outputs": [{"name": "probabilities"}]}
CLASSES = ("churned", "stays")
NOTATIONS = ("json", "binary", "rows", "csv", "v1")

Numbers = list[tuple[str, ...]]
"""The probabilities of each row, class by class, as the hexadecimal form of their doubles."""


class Asking:
    """A live model, and this process's plane with a key to it."""

    def __init__(self, plane: Any, key: str) -> None:
        self.plane, self.key = plane, key

    def post(self, mount: str, path: str, body: bytes, **headers: str) -> bytes:
        sent = {b"host": b"testserver", b"authorization": f"Bearer {self.key}".encode()}
        sent |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        sent[b"content-length"] = str(len(body)).encode()
        answer = MOUNTS[mount](self.plane, "POST", path, sent, body)
        assert answer.status == 200, answer.body
        return answer.body

    def json(self, mount: str) -> Numbers:
        body = self.post(mount, "/v2/models/churn/infer", json.dumps(WANTED | {"inputs": TENSORS}).encode())
        return numbers(json.loads(body)["outputs"][0]["data"])

    def binary(self, mount: str) -> Numbers:
        sizes = (len(AGE_BYTES), len(CITY_BYTES))
        inputs = [
            {name: value for name, value in tensor.items() if name != "data"}
            | {"parameters": {"binary_data_size": size}}
            for tensor, size in zip(TENSORS, sizes, strict=True)
        ]
        head = json.dumps(WANTED | {"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        length = {"inference_header_content_length": str(len(head))}
        body = self.post(mount, "/v2/models/churn/infer", head + AGE_BYTES + CITY_BYTES, **length)
        return numbers(struct.unpack("<6d", body[-48:]))

    def rows(self, mount: str) -> Numbers:
        body = self.post(mount, "/v2/models/churn/predict", json.dumps({"rows": ROWS}).encode())
        return [by_class(row["value"]) for row in json.loads(body)["rows"]]

    def csv(self, mount: str) -> Numbers:
        cells = ["" if age is None else repr(age) for age in AGES]
        table = "city,age\n" + "".join(f"{city},{age}\n" for city, age in zip(CITIES, cells, strict=True))
        path = "/v2/models/churn/predict?outputs=probabilities"
        lines = csv.DictReader(io.StringIO(self.post(mount, path, table.encode(), content_type="text/csv").decode()))
        return [tuple(float(line[f"probabilities.{name}"]).hex() for name in CLASSES) for line in lines]

    def v1(self, mount: str) -> Numbers:
        body = json.dumps({"instances": ROWS, "outputs": ["probabilities"]}).encode()
        told = json.loads(self.post(mount, "/v1/models/churn:predict", body))["predictions"]
        return [by_class(prediction["probabilities"]) for prediction in told]

    def grpc(self, *, is_raw: bool) -> Numbers:
        message = inference.ModelInferRequest(model_name="churn")
        age = message.inputs.add(name="age", datatype="FP64", shape=[3, 1])
        city = message.inputs.add(name="city", datatype="BYTES", shape=[3, 1])
        if is_raw:
            message.raw_input_contents.extend([AGE_BYTES, CITY_BYTES])
        else:
            age.contents.fp64_contents.extend(struct.unpack("<3d", AGE_BYTES))
            city.contents.bytes_contents.extend(text.encode() for text in CITIES)
        message.outputs.add(name="probabilities")
        with Door(SimpleNamespace(plane=self.plane, key=self.key)) as door:  # type: ignore[arg-type]  # all it asks of a world
            answer = door.ask("ModelInfer", message)
        if is_raw:
            return numbers(struct.unpack("<6d", answer.raw_output_contents[0]))
        return numbers(answer.outputs[0].contents.fp64_contents)


@pytest.fixture
def asking(settings) -> Iterator[Asking]:
    settings.TRIVET_KEEPER = "external"
    live_model("churn")
    _, key = actions.issue_key(name="doors", grants={"churn": ["predict"]}, actor="user:ana")
    here = process.Process(process.WorkerKind.PROCESS)
    here.step()
    process._process = here
    yield Asking(here.plane, key)
    process._process = None
    here.stop()


def numbers(flat: Any) -> Numbers:
    return [(float(flat[at]).hex(), float(flat[at + 1]).hex()) for at in range(0, len(flat), 2)]


def by_class(value: dict[str, float]) -> tuple[str, ...]:
    return tuple(value[name].hex() for name in CLASSES)


def test_63_every_notation_at_every_mount_by_grpc_and_in_process_gives_the_same_numbers(asking: Asking):
    told = {f"{notation} by {mount}": getattr(asking, notation)(mount) for mount in MOUNTS for notation in NOTATIONS}
    told |= {"typed gRPC": asking.grpc(is_raw=False), "raw gRPC": asking.grpc(is_raw=True)}
    told["in-process"] = [by_class(prediction.value) for prediction in trivet.predict_many("churn", ROWS)]
    expected = told["json by uvicorn"]
    assert len(set(expected)) == len(ROWS), "three rows that tell apart"
    assert {door: answer for door, answer in told.items() if answer != expected} == {}

    Keeper(spool_root()).step()
    logged = Prediction.objects.all()
    assert logged.count() == len(told) * len(ROWS)
    inputs = {json.dumps([row.row, row.inputs, row.version, row.digest]) for row in logged}
    assert len(inputs) == len(ROWS), "each row is in the log as the same values, whoever sent it"
