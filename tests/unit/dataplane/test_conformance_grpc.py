"""Values of a tensor over gRPC, typed and raw, as REST's binary tensors have them: items 11, 13, 17 and 18 of the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.unit.dataplane.echo import EchoWorld, binary, column, parts
from tests.unit.dataplane.grpc_world import Door, inference
from trivet.core.datatypes import ACCEPTED, DATATYPES, INTEGER_BOUNDS, NO_JSON, NUMPY_DTYPES
from trivet.dataplane.frontends.grpc.codec import CONTENTS

FLOATS = {
    "FP16": [-65504.0, 0.25],
    "BF16": [-1.5, 0.25],
    "FP32": [-3.4028234663852886e38, 1e-45],
    "FP64": [-1.7e308, 0.1],
}
VALUES: dict[str, list[Any]] = {name: list(bounds) for name, bounds in INTEGER_BOUNDS.items()} | FLOATS
VALUES |= {"BOOL": [True, False], "BYTES": ["", "a\x00b é"]}


def asked(datatype: str, values: list[Any], raw: bytes | None = None) -> Any:
    """Return a request for `values` of the input `x`, typed unless given `raw`."""
    message = inference.ModelInferRequest(model_name="churn")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=[len(values), 1])
    if raw is not None:
        message.raw_input_contents.append(raw)
    else:
        sent = [value.encode() if isinstance(value, str) else value for value in values]
        getattr(tensor.contents, CONTENTS[datatype]).extend(sent)
    return message


def code_of(door: Door, message: Any) -> str:
    """Return the error code of a request, "" for one that is answered."""
    try:
        door.ask("ModelInfer", message)
    except grpc.RpcError as error:
        return str(dict(error.trailing_metadata())["trivet-error"])
    return ""


def as_bytes(datatype: str, values: list[Any]) -> tuple[dict, bytes]:
    return binary("x", datatype, np.array([[value] for value in values], dtype=NUMPY_DTYPES[datatype]))


@pytest.mark.parametrize("datatype", sorted(DATATYPES))
def test_11_17_18_each_datatype_comes_back_by_grpc_as_the_same_bytes_as_by_rest(tmp_path: Path, datatype: str):
    world, values = EchoWorld(tmp_path, column("x", datatype)), VALUES[datatype]
    head, data = as_bytes(datatype, values)
    _, by_rest = parts(world.mixed({"inputs": [head], "parameters": {"binary_data_output": True}}, data))
    with Door(world) as door:
        answer = door.ask("ModelInfer", asked(datatype, values, data))
        assert list(answer.raw_output_contents) == [data] == [by_rest["x"]]
        assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (datatype, [2, 1])
        if datatype in NO_JSON:
            return  # it has no typed contents
        typed = door.ask("ModelInfer", asked(datatype, values))
        assert not typed.raw_output_contents
        told = list(getattr(typed.outputs[0].contents, CONTENTS[datatype]))
        assert as_bytes(datatype, [value.decode() if isinstance(value, bytes) else value for value in told])[1] == data


@pytest.mark.parametrize("wanted", sorted(DATATYPES))
def test_13_what_widens_without_loss_is_taken_by_grpc_and_the_rest_is_refused(tmp_path: Path, wanted: str):
    world = EchoWorld(tmp_path, column("x", wanted))
    with Door(world) as door:
        for given in sorted(DATATYPES):
            value = {"BYTES": "a", "BOOL": True}.get(given, 1)
            expected = "" if given in ACCEPTED[wanted] else "BAD_DATATYPE"
            assert code_of(door, asked(given, [value], as_bytes(given, [value])[1])) == expected, given
            if given not in NO_JSON and wanted not in NO_JSON:
                assert code_of(door, asked(given, [value])) == expected, given
