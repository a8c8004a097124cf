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
    if _is_of(model, "keras", "Model"):  # before torch, as whose module it may run
        return _parcel(model, sample, "keras", _from_keras)
    if _is_of(model, "torch.nn", "Module"):
        is_double = any(str(weights.dtype) == "torch.float64" for weights in model.parameters())
        return _parcel(model, sample, "torch", _from_torch, np.float64 if is_double else np.float32)
    return None


def _is_of(model: Any, module: str, name: str) -> bool:
    """True for an instance of a class that its library has loaded already: nothing is imported to find out."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(model, found)


def _parcel(model: Any, sample: Any, library: str, export: Any, floats: type[np.floating] = np.float32) -> Parcel:
    rows, columns = _rows(sample, library, floats)
    try:
        graph, answers = export(model, rows)
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(f"{library} cannot export this {type(model).__name__} to ONNX: {_reason(error)}") from error
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


def _reason(error: BaseException) -> str:
    """Return the first line of what went wrong at the bottom: exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _rows(sample: Any, library: str, floats: type[np.floating]) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Return the rows as the model takes them, numbers in `floats` and whole numbers in int64, and their columns' names."""
    if sample is None or len(sample) == 0:
        raise CompileError(f"a model of {library} does not say what it takes: give a sample of its rows.")
    columns = tuple(str(name) for name in sample.columns) if hasattr(sample, "columns") else None
    if hasattr(sample, "detach"):
        sample = sample.detach().cpu().numpy()
    array = np.asarray(sample)[:MOST_ROWS]
    if array.dtype.kind not in "fiub":
        raise CompileError(f"a model of {library} takes numbers; the sample holds {array.dtype}.")
    return np.ascontiguousarray(array, np.int64 if array.dtype.kind in "iu" and columns is None else floats), columns


def _from_torch(model: Any, rows: np.ndarray) -> tuple[bytes, dict[str, np.ndarray]]:
    import torch

    was_training = model.training
    model.eval()
    try:
        tensor = torch.from_numpy(rows).to(next((p.device for p in model.parameters()), torch.device("cpu")))
        with torch.no_grad():
            outputs = _named(model(tensor))
        program = torch.onnx.export(
            model,
            (tensor[: max(2, min(len(rows), 8))],),
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        answers = {name: output.detach().cpu().numpy() for name, output in outputs.items()}
        return program.model_proto.SerializeToString(), answers
    finally:
        model.train(was_training)


def _named(answered: Any) -> dict[str, Any]:
    """Return a model's outputs by name: its own where it answers with a mapping."""
    if isinstance(answered, Mapping):
        return dict(answered)
    outputs = list(answered) if isinstance(answered, tuple | list) else [answered]
    return {OUTPUT if len(outputs) == 1 else f"{OUTPUT}_{place}": output for place, output in enumerate(outputs)}


def _from_keras(model: Any, rows: np.ndarray) -> tuple[bytes, dict[str, np.ndarray]]:
    answers = {name: np.asarray(output) for name, output in _named(model.predict(rows, verbose=0)).items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        model.export(str(path), format="onnx", verbose=False)
        graph = path.read_bytes()
    session = open_session(graph)
    given = [entry.name for entry in session.get_inputs()] + [output.name for output in session.get_outputs()]
    return _renamed(graph, dict(zip(given, [INPUT, *answers], strict=True))), answers


def _renamed(graph: bytes, names: Mapping[str, str]) -> bytes:
    """Return `graph` with its inputs and outputs called as ours; done with onnx, which an exporter has brought."""
    from importlib import import_module

    onnx = import_module("onnx")
    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
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
