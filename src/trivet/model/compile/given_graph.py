"""A given graph: somebody's ONNX becomes a bundle as it is, after the checks that every graph passes. It is its own original."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import inliner

from trivet.core.datatypes import FLOATS, NUMPY_DTYPES
from trivet.core.errors import CompileError, ParityFailed, quoted
from trivet.core.signature import Input, Output, Signature, Task
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.manifest import Manifest
from trivet.model.bundle.sample import SAMPLE_NAME, SAMPLE_ROWS, encode_sample
from trivet.model.compile.checks import MOST_BYTES, check_graph
from trivet.model.compile.graph import ELEMENT_TYPES
from trivet.model.compile.parcel import Parcel, arrays_of
from trivet.model.compile.parity import check_tolerance
from trivet.model.compile.preparing import Compiled, check_truths, environment, truths_of
from trivet.model.compile.proving import OLDEST_RUNTIME
from trivet.model.compile.reference import reference_of_answers
from trivet.model.compile.report import DEFAULT_TOLERANCE, ParityReport, Speed
from trivet.model.compile.wire import GraphFacts
from trivet.model.runtimes.onnx import MODEL_FILE, OnnxRuntime

RECIPE = "given-1"
MADE_UP_ROWS = 64
MOST_SAMPLE_ELEMENTS = 200_000  # of all recorded rows: one image is a row of 150,000 numbers
SIZES_TRIED = (1, 3, 8, 32, 224)  # for free dimensions, where no sample says
ROWS_ALONE = 16
SPEED_CALLS = 50
SEED = 7
_DATATYPES = {element: name for name, element in ELEMENT_TYPES.items()}
_READS_MISSING = {
    "IsNaN",
    "ai.onnx.ml.Imputer",
    "ai.onnx.ml.TreeEnsembleClassifier",
    "ai.onnx.ml.TreeEnsembleRegressor",
}
_SINGULAR, _REPEATED = frozenset(range(1, 8)), frozenset({8, 14, 20, 25, 26})  # fields of ModelProto

Arrays = dict[str, np.ndarray]


def bundle_given_graph(
    data: bytes,
    *,
    sample: pd.DataFrame | np.ndarray | None = None,
    labels: Any = None,
    parcel: Parcel | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    source: Mapping[str, Any] | None = None,
    uncounted: Collection[str] = (),
) -> Compiled:
    """Return the ONNX model `data` as a bundle; its signature is that of the graph.

    `sample`: rows whose columns are the graph's inputs, or the columns of its one matrix; without them, rows are made up
    and the report says so. `labels`, one per row, say what turned out true. `parcel`: rows and answers from where the graph
    was exported: then the graph must give those answers. Rows that were not made up go along as counts, as `compile_model`
    says, without inputs called `uncounted`. Raises `CompileError` for a graph that is not served, `ParityFailed` where it
    answers otherwise.
    """
    check_tolerance(tolerance)
    model = _plain_model(data)
    is_made_up = sample is None and parcel is None
    inputs, rows = _inputs_and_rows(model, sample, parcel)
    signature, shipped, facts = _shipped(model, inputs, rows)
    runtime = OnnxRuntime.load(_draft(signature, shipped))
    names = [output.name for output in signature.outputs]
    count = len(next(iter(rows.values())))
    truths = truths_of(labels, None if is_made_up else count)
    check_truths(_chosen_from(signature), truths)
    answers = _answers(runtime, rows, names)
    _check_answers(answers, count, signature, is_made_up=is_made_up)
    if signature.has_rows:
        _check_alone(runtime, rows, answers, count, tolerance)
    parity = _parity(answers, parcel, count, tolerance, is_made_up=is_made_up)
    cost = _cost(runtime, _first(rows, 1) if signature.has_rows else rows, names)
    kept = _kept_rows(rows, answers, signature)
    manifest = Manifest(
        format=1,
        runtime=OnnxRuntime.name,
        signature=signature,
        files=(),
        requires={
            "onnxruntime": OLDEST_RUNTIME,
            "opset": {opset.domain: opset.version for opset in model.opset_import},
        },
        source=_source(model) | (parcel.source if parcel is not None else {}) | dict(source or {}),
        environment=environment(),
        compile={"recipe": RECIPE, "operators": list(facts.operators), "may_run_inline": facts.may_run_inline},
        parity=parity.as_manifest(),
        sample_rows=kept,
    )
    files = {MODEL_FILE: shipped, SAMPLE_NAME: encode_sample(signature, _first(rows, kept), _first(answers, kept))}
    if not is_made_up:
        files |= reference_of_answers(signature, rows, answers, truths, uncounted=uncounted)
    return Compiled(make_bundle(manifest, files), parity, Speed(cost, cost))


def _chosen_from(signature: Signature) -> tuple[str, ...]:
    """Return the classes of which the graph chooses one; none where it chooses nothing."""
    found = (output.classes for output in signature.outputs if output.classes)
    return next(found, ()) if signature.task == "classification" else ()


def _inputs_and_rows(
    model: onnx.ModelProto, sample: pd.DataFrame | np.ndarray | None, parcel: Parcel | None
) -> tuple[list[Input], Arrays]:
    """Return the graph's inputs and rows for them: the parcel's, else the sample's, else made up."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [_input(value) for value in model.graph.input if value.name not in constants]
    if not inputs:
        raise CompileError("model.onnx has no inputs: it answers the same for every request.")
    if parcel is not None:
        rows = _rows_of_parcel(inputs, arrays_of(parcel.inputs))
        return [_with_columns(inputs[0], parcel.columns)] if len(inputs) == 1 else inputs, rows
    if sample is not None:
        return _rows_of_sample(inputs, sample)
    return inputs, _made_up_rows(model, inputs)


def _shipped(model: onnx.ModelProto, inputs: list[Input], rows: Arrays) -> tuple[Signature, bytes, GraphFacts]:
    """Return the signature, the graph as it is shipped, and what the checks of it found."""
    outputs = tuple(_output(value, model) for value in model.graph.output)
    signature = Signature(inputs=tuple(inputs), outputs=outputs, task=_task(outputs))
    shipped = model.SerializeToString(deterministic=True)
    facts = check_graph(shipped, signature)
    if _READS_MISSING & set(facts.operators):
        signature = Signature(inputs=_nullable(signature, shipped, rows), outputs=outputs, task=signature.task)
    return signature, shipped, facts


def _plain_model(data: bytes) -> onnx.ModelProto:
    """Return the model with functions inlined; raises `CompileError` for what is no ONNX, or more than one."""
    if len(data) > MOST_BYTES:
        raise CompileError(f"model.onnx has {len(data)} bytes; at most {MOST_BYTES} are served.")
    _check_fields(data)
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model, full_check=True)
        if model.functions:
            model = _inlined(model)
    except Exception as error:
        raise CompileError(f"model.onnx is not a valid graph: {(str(error).splitlines() or [''])[0]}") from error
    return model


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` without functions of its own, nor their domains."""
    own = {function.domain for function in model.functions}
    inlined: onnx.ModelProto = inliner.inline_local_functions(model)
    kept = [opset for opset in inlined.opset_import if opset.domain not in own]
    del inlined.opset_import[:]
    inlined.opset_import.extend(kept)
    return inlined


def _check_fields(data: bytes) -> None:
    """Raise unless `data` is one ModelProto from end to end: protobuf itself merges whatever is appended."""
    seen: set[int] = set()
    for number in _field_numbers(data):
        if number not in _SINGULAR | _REPEATED or (number in _SINGULAR and number in seen):
            raise CompileError(
                "model.onnx goes on after its end, or holds what ONNX does not know: such a file is not read."
            )
        seen.add(number)
    if 7 not in seen:
        raise CompileError("model.onnx holds no graph.")


def _field_numbers(data: bytes) -> Iterator[int]:
    """Give the number of each field of a protobuf message (Protocol Buffers, encoding); raises `CompileError`."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            _, place = _varint(data, place)
        elif kind == 2:
            size, place = _varint(data, place)
            place += size
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise CompileError("model.onnx is damaged, or something else than ONNX.")
        if place > len(data):
            raise CompileError("model.onnx is cut short.")
        yield tag >> 3


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise CompileError("model.onnx is cut short.")


def _input(value: onnx.ValueInfoProto) -> Input:
    datatype, shape = _tensor_type(value, "input")
    if not shape:
        raise CompileError(
            f"the input {quoted(value.name)} has no row dimension: export it with a dynamic batch dimension."
        )
    return Input(name=value.name, datatype=datatype, shape=shape)


def _output(value: onnx.ValueInfoProto, model: onnx.ModelProto) -> Output:
    datatype, shape = _tensor_type(value, "output")
    classes = _classes(model, shape[-1]) if value.name in ("probabilities", "scores") and len(shape) == 2 else None
    return Output(name=value.name, datatype=datatype, shape=shape, classes=classes)


def _tensor_type(value: onnx.ValueInfoProto, kind: str) -> tuple[str, tuple[int, ...]]:
    if value.type.WhichOneof("value") != "tensor_type":
        remedy = (
            "convert with options={'zipmap': False}, so that probabilities are a tensor"
            if kind == "output"
            else "export the model with tensors"
        )
        raise CompileError(f"the {kind} {quoted(value.name)} is a sequence or a map, which is not served: {remedy}.")
    tensor = value.type.tensor_type
    datatype = _DATATYPES.get(tensor.elem_type)
    if datatype is None:
        element = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise CompileError(
            f"the {kind} {quoted(value.name)} holds {element}, which is not served: cast it in the graph."
        )
    return datatype, tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)


def _classes(model: onnx.ModelProto, width: int) -> tuple[str, ...] | None:
    """Return the class names that the graph's own classifier has, where there is one of that width."""
    found = [
        tuple(text.decode("utf-8", "replace") for text in attribute.strings) or tuple(map(str, attribute.ints))
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name in ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
    ]
    fitting = {classes for classes in found if len(classes) == width}
    return fitting.pop() if len(fitting) == 1 else None


def _task(outputs: tuple[Output, ...]) -> Task:
    """Return the task where the names of the outputs leave no doubt, else "tensors"."""
    names = {output.name: output for output in outputs}
    if set(names) in ({"label", "probabilities"}, {"label", "scores"}):
        return "classification"
    if len(outputs) == 1 and outputs[0].name in ("prediction", "variable") and outputs[0].datatype in FLOATS:
        return "regression"
    return "tensors"


def _rows_of_parcel(inputs: list[Input], arrays: Arrays) -> Arrays:
    if set(arrays) != {spec.name for spec in inputs}:
        raise CompileError("the parcel's rows are for other inputs than the graph has.")
    return {spec.name: arrays[spec.name].astype(NUMPY_DTYPES[spec.datatype]) for spec in inputs}


def _with_columns(spec: Input, columns: tuple[str, ...] | None) -> Input:
    if columns is None or len(spec.shape) != 2 or spec.shape[1] != len(columns):
        return spec
    return Input(name=spec.name, datatype=spec.datatype, shape=spec.shape, columns=columns)


def _rows_of_sample(inputs: list[Input], sample: pd.DataFrame | np.ndarray) -> tuple[list[Input], Arrays]:
    """Return the inputs, with what the sample says of them, and its rows: one column each, or all in one matrix."""
    if len(sample) == 0:
        raise CompileError("the sample has no rows.")
    if len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].shape[1] != 1:
        spec = inputs[0]
        table = sample if isinstance(sample, pd.DataFrame) else pd.DataFrame(np.asarray(sample))
        if spec.shape[1] not in (-1, table.shape[1]):
            raise CompileError(f"the graph takes {spec.shape[1]} columns, the sample has {table.shape[1]}.")
        if isinstance(sample, pd.DataFrame) and spec.shape[1] > 0:
            names = tuple(str(column) for column in table.columns)
            spec = Input(name=spec.name, datatype=spec.datatype, shape=spec.shape, columns=names)
        return [spec], {spec.name: _cast(table.to_numpy(), spec)}
    if not isinstance(sample, pd.DataFrame) or any(spec.shape not in ((-1, 1), (-1,)) for spec in inputs):
        raise CompileError(
            "a table of rows does not fit this graph's inputs: push without a sample, or with trivet.push(model, ...) "
            "where it was trained."
        )
    found: list[Input] = []
    rows: Arrays = {}
    for spec in inputs:
        if spec.name not in sample.columns:
            raise CompileError(f"the sample lacks the column {quoted(spec.name)}, which is an input of the graph.")
        rows[spec.name] = _cast(sample[spec.name].to_numpy(), spec).reshape(-1, *spec.shape[1:])
        found.append(_bounded(spec, rows[spec.name]))
    return found, rows


def _cast(values: np.ndarray, spec: Input) -> np.ndarray:
    try:
        if spec.datatype == "BYTES":
            return np.array([[str(value) for value in np.atleast_1d(row)] for row in values], object)
        return np.ascontiguousarray(values.astype(NUMPY_DTYPES[spec.datatype]))
    except (TypeError, ValueError) as error:
        raise CompileError(
            f"the sample does not fit the input {quoted(spec.name)} ({spec.datatype}): {error}."
        ) from None


def _bounded(spec: Input, values: np.ndarray) -> Input:
    numbers = values[np.isfinite(values)] if values.dtype.kind in "fiu" else values[:0]
    if not len(numbers):
        return spec
    low, high = float(numbers.min()), float(numbers.max())
    return Input(name=spec.name, datatype=spec.datatype, shape=spec.shape, low=low, high=high)


def _made_up_rows(model: onnx.ModelProto, inputs: list[Input]) -> Arrays:
    """Return rows that the graph takes: free dimensions are tried in a few sizes."""
    fixed = {spec.shape[0] for spec in inputs} - {-1}
    if len(fixed) > 1:
        raise CompileError(
            "the graph's inputs have different numbers of rows: export it with one dynamic batch dimension."
        )
    count = fixed.pop() if fixed else MADE_UP_ROWS
    data = model.SerializeToString()
    reason = ""
    is_free = any(-1 in spec.shape[1:] for spec in inputs)
    for size in SIZES_TRIED if is_free else SIZES_TRIED[:1]:
        rng = np.random.default_rng(SEED)
        rows = {
            spec.name: _made_up(spec, (count, *[size if n == -1 else n for n in spec.shape[1:]]), rng)
            for spec in inputs
        }
        try:
            signature = Signature(inputs=tuple(inputs), outputs=())
            OnnxRuntime.load(_draft(signature, data)).run(rows, [output.name for output in model.graph.output])
        except Exception as error:  # noqa: BLE001  (onnxruntime's errors share no base class)
            reason = (str(error).splitlines() or [""])[0]
        else:
            return rows
    raise CompileError(f"the graph takes none of the rows made up for it ({reason[:200]}): push it with a sample.")


def _made_up(spec: Input, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if spec.datatype == "BYTES":
        return rng.choice(np.array(["a", "b"], object), size=shape)
    if spec.datatype in FLOATS:
        return rng.normal(size=shape).astype(NUMPY_DTYPES[spec.datatype])
    return rng.integers(0, 2, size=shape).astype(NUMPY_DTYPES[spec.datatype])  # also a valid index, where it is one


def _nullable(signature: Signature, data: bytes, rows: Arrays) -> tuple[Input, ...]:
    """Return the inputs; those whose missing numbers the graph answers with numbers are nullable."""
    runtime = OnnxRuntime.load(_draft(signature, data))
    names = [output.name for output in signature.outputs]
    found = []
    for spec in signature.inputs:
        if spec.datatype not in FLOATS:
            found.append(spec)
            continue
        gaps = {**rows, spec.name: np.full_like(rows[spec.name], np.nan)}
        answers = runtime.run(gaps, names)
        finite = all(np.isfinite(answer).all() for answer in answers if answer.dtype.kind == "f")
        found.append(_with(spec, nullable=finite))
    return tuple(found)


def _with(spec: Input, *, nullable: bool) -> Input:
    return Input(
        name=spec.name,
        datatype=spec.datatype,
        shape=spec.shape,
        nullable=nullable,
        low=spec.low,
        high=spec.high,
        columns=spec.columns,
    )


def _draft(signature: Signature, data: bytes) -> Any:  # a Bundle
    return make_bundle(Manifest(format=1, runtime=OnnxRuntime.name, signature=signature, files=()), {MODEL_FILE: data})


def _answers(runtime: OnnxRuntime, rows: Arrays, names: list[str]) -> Arrays:
    try:
        return dict(zip(names, runtime.run(rows, names), strict=True))
    except Exception as error:
        raise CompileError(f"the graph refuses the sample: {(str(error).splitlines() or [''])[0]}") from error


def _check_answers(answers: Arrays, count: int, signature: Signature, *, is_made_up: bool) -> None:
    for output in signature.outputs:
        answer = answers[output.name]
        if answer.ndim == 0 or len(answer) != count:
            raise CompileError(
                f"the output {quoted(output.name)} has not one answer for each row: export with a dynamic batch dimension."
            )
        if answer.dtype.kind == "f" and not np.isfinite(answer).all():
            raise CompileError(f"the graph answers NaN or infinity to rows of the sample ({output.name}).")
    if not is_made_up and count > 1 and all((answer == answer[:1]).all() for answer in answers.values()):
        raise CompileError("constant output: it answers the same for every row of the sample. Nothing to serve.")


def _check_alone(runtime: OnnxRuntime, rows: Arrays, answers: Arrays, count: int, tolerance: float) -> None:
    """Raise unless a row alone is answered as among its neighbours."""
    for place in range(min(count, ROWS_ALONE)):
        alone = _answers(runtime, {name: values[place : place + 1] for name, values in rows.items()}, list(answers))
        for name, answer in answers.items():
            if alone[name].shape != answer[place : place + 1].shape or not _close(
                alone[name], answer[place], tolerance
            ):
                raise CompileError(f"the graph's answers depend on their neighbours: {name} of a row alone is another.")


def _close(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    if one.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True))
    return bool((one == other).all())


def _parity(answers: Arrays, parcel: Parcel | None, count: int, tolerance: float, *, is_made_up: bool) -> ParityReport:
    """Return the report: against the answers of the original where a parcel has them; else there is nothing to compare."""
    largest = p999 = 0.0
    differ = 0
    if parcel is not None:
        for name, expected in arrays_of(parcel.answers).items():
            answer = answers.get(name)
            if answer is None or answer.shape != expected.shape:
                raise CompileError(f"the parcel's answers to {quoted(name)} are of another shape than the graph's.")
            if answer.dtype.kind != "f":
                differ += int((answer != expected).sum())
                continue
            off = np.abs(answer - expected)
            largest = max(largest, float(off.max(initial=0.0)))
            p999 = max(p999, float(np.quantile(off, 0.999, method="higher")) if off.size else 0.0)
            if not (off <= tolerance * (1 + np.abs(expected))).all():
                raise ParityFailed(
                    f"parity failed: {name} of the graph is off by {off.max():.2g} from what the original answered, "
                    f"tolerance {tolerance:g}."
                )
        if differ:
            raise ParityFailed(
                f"parity failed: the graph decides {differ} of {count} rows otherwise than the original."
            )
    compared = count if parcel is not None and parcel.answers else 0
    return ParityReport(
        rows=compared,
        by_kind={"sample": compared} if compared else {},
        synthetic=is_made_up,
        largest=largest,
        p999=p999,
        labels_differ=0,
        ties=0,
        failed_rows=0,
        tolerance=tolerance,
    )


def _cost(runtime: OnnxRuntime, row: Arrays, names: list[str]) -> float:
    costs = []
    for _ in range(SPEED_CALLS):
        before = time.perf_counter_ns()
        runtime.run(row, names)
        costs.append((time.perf_counter_ns() - before) / 1_000)
    return statistics.median(costs)


def _kept_rows(rows: Arrays, answers: Arrays, signature: Signature) -> int:
    count = len(next(iter(rows.values())))
    if not signature.has_rows:
        return count
    a_row = sum(values[:1].size for values in (*rows.values(), *answers.values()))
    return max(1, min(count, SAMPLE_ROWS, MOST_SAMPLE_ELEMENTS // max(a_row, 1)))


def _first(arrays: Arrays, count: int) -> Arrays:
    return {name: values[:count] for name, values in arrays.items()}


def _source(model: onnx.ModelProto) -> dict[str, Any]:
    made_by = f"{model.producer_name} {model.producer_version}".strip()
    return {"kind": "onnx"} | ({"producer": made_by[:200]} if made_by else {})
