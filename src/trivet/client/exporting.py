"""Exporting: a torch module or a Keras model as ONNX, in the environment it was trained in. No server ever sees either."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from trivet.core.errors import CompileError, ParityFailed
from trivet.model.compile.parcel import Parcel, tensors_of
from trivet.model.runtimes.onnx import open_session

OPSET = 18  # what every exporter of today writes, and ONNX Runtime 1.20 reads
TOLERANCE = 1e-5
MOST_ROWS = 1_000
INPUT, OUTPUT = "X", "output"


def exported(model: Any, sample: Any) -> Parcel | None:
    """Return `model` as a parcel with up to 1,000 rows of `sample` and its answers; None for another kind of object.

    A torch `nn.Module` is exported in evaluation mode and left as it was; a Keras model by its own export. The batch
    dimension is free. Raises `CompileError` without a sample or where the library cannot export it, and `ParityFailed`
    where the graph answers otherwise than the model does here.
    """
    if _is_of(model, "torch.nn", "Module"):
        return _parcel(model, sample, "torch", _from_torch)
    if _is_of(model, "keras", "Model"):
        return _parcel(model, sample, "keras", _from_keras)
    return None


def _is_of(model: Any, module: str, name: str) -> bool:
    """True for an instance of a class that its library has loaded already: nothing is imported to find out."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(model, found)


def _parcel(model: Any, sample: Any, library: str, export: Any) -> Parcel:
    rows, columns = _rows(sample, library)
    try:
        graph, answers = export(model, rows)
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(
            f"{library} cannot export this {type(model).__name__} to ONNX: {str(error).strip() or type(error).__name__}"
        ) from error
    _compare(graph, rows, answers)
    kind = type(model)
    source = {
        "kind": library,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "trained_with": _versions("python", library, "numpy", "onnx", "onnxscript"),
    }
    return Parcel(
        graph=graph, inputs=tensors_of({INPUT: rows}), answers=tensors_of(answers), source=source, columns=columns
    )


def _rows(sample: Any, library: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Return the rows as the model takes them, numbers in float32 and whole numbers in int64, and their columns' names."""
    if sample is None or len(sample) == 0:
        raise CompileError(f"a model of {library} does not say what it takes: give a sample of its rows.")
    columns = tuple(str(name) for name in sample.columns) if hasattr(sample, "columns") else None
    if hasattr(sample, "detach"):
        sample = sample.detach().cpu().numpy()
    array = np.asarray(sample)[:MOST_ROWS]
    if array.dtype.kind not in "fiub":
        raise CompileError(f"a model of {library} takes numbers; the sample holds {array.dtype}.")
    return np.ascontiguousarray(
        array, np.int64 if array.dtype.kind in "iu" and columns is None else np.float32
    ), columns


def _from_torch(model: Any, rows: np.ndarray) -> tuple[bytes, dict[str, np.ndarray]]:
    import torch

    was_training = model.training
    model.eval()
    try:
        tensor = torch.from_numpy(rows).to(next((p.device for p in model.parameters()), torch.device("cpu")))
        with torch.no_grad():
            answered = model(tensor)
        outputs = list(answered) if isinstance(answered, tuple | list) else [answered]
        names = [OUTPUT] if len(outputs) == 1 else [f"{OUTPUT}_{place}" for place in range(len(outputs))]
        program = torch.onnx.export(
            model,
            (tensor[: max(2, min(len(rows), 8))],),
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        answers = {name: output.detach().cpu().numpy() for name, output in zip(names, outputs, strict=True)}
        return program.model_proto.SerializeToString(), answers
    finally:
        model.train(was_training)


def _from_keras(model: Any, rows: np.ndarray) -> tuple[bytes, dict[str, np.ndarray]]:
    answered = model.predict(rows, verbose=0)
    outputs = list(answered) if isinstance(answered, tuple | list) else [answered]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        model.export(str(path), format="onnx", verbose=False)
        graph = path.read_bytes()
    session = open_session(graph)
    [entry] = session.get_inputs()
    if entry.name != INPUT:
        graph = _with_input(graph, entry.name)
    names = [output.name for output in session.get_outputs()]
    return graph, {name: np.asarray(output) for name, output in zip(names, outputs, strict=True)}


def _with_input(graph: bytes, name: str) -> bytes:
    """Return `graph` with its input called as ours; done with onnx, which an exporter has brought."""
    from importlib import import_module

    onnx = import_module("onnx")
    model = onnx.load_from_string(graph)
    for value in model.graph.input:
        if value.name == name:
            value.name = INPUT
    for node in model.graph.node:
        for place, used in enumerate(node.input):
            if used == name:
                node.input[place] = INPUT
    data: bytes = model.SerializeToString()
    return data


def _compare(graph: bytes, rows: np.ndarray, answers: Mapping[str, np.ndarray]) -> None:
    """Raise `ParityFailed` where the graph, in ONNX Runtime, answers the rows otherwise than the model did."""
    names = list(answers)
    try:
        found = open_session(graph).run(names, {INPUT: rows})
    except Exception as error:
        raise CompileError(f"the exported graph refuses the sample: {str(error).strip()}") from error
    for name, answer in zip(names, found, strict=True):
        expected = answers[name]
        if answer.shape != expected.shape:
            raise ParityFailed(
                f"the exported graph answers {name} in shape {answer.shape}, the model {expected.shape}."
            )
        off = np.abs(answer.astype(np.float64) - expected)
        if not (off <= TOLERANCE * (1 + np.abs(expected))).all():
            raise ParityFailed(f"the exported graph is off by {off.max():.2g} from the model in {name}.")


def _versions(*names: str) -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    for name in names[1:]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
