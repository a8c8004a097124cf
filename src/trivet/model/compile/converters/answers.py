"""What an estimator answers, as tensors of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trivet.core.errors import CompileError

if TYPE_CHECKING:  # it imports onnx, which what runs unchanged does not need
    from trivet.model.compile.graph import Graph


@dataclass(frozen=True)
class Answer:
    """The tensors of one estimator's answer, all FP64 but `label`.

    `prediction` has shape (rows, 1), or (rows, targets). `probabilities` have (rows, classes), `scores` (rows, classes) or,
    for two classes and for outliers, (rows, 1): the score of the second, or of being no outlier. `distances` of a cluster
    model have (rows, clusters). `label` has shape (rows,) and the datatype of `class_labels`; of outliers it is -1 or 1
    and of clusters their number, INT64. Several targets with classes have an answer each, in `targets`, and nothing else.
    """

    prediction: str | None = None
    probabilities: str | None = None
    scores: str | None = None
    distances: str | None = None
    label: str | None = None
    targets: tuple[Answer, ...] = ()


def class_labels(classes: Any) -> np.ndarray:
    """Return `classes` as they travel: strings (object) or int64. Raises `CompileError` for other kinds.

    Booleans become 0 and 1, whole floats integers.
    """
    array = np.asarray(classes)
    if array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool(np.all(array == np.round(array)))):
        return array.astype(np.int64)
    if all(isinstance(value, str) for value in array.tolist()):
        return array.astype(object)
    raise CompileError(f"classes of type {array.dtype} cannot travel; train on strings, whole numbers or booleans.")


def class_names(classes: Any) -> tuple[str, ...]:
    """Return the names of `classes` for people: `True`, `1`, `late`."""
    array = np.asarray(classes)
    if array.dtype.kind == "b":
        return tuple(str(bool(value)) for value in array.tolist())
    return tuple(str(value) for value in class_labels(array).tolist())


def classification(
    graph: Graph, classes: Any, *, probabilities: str | None = None, scores: str | None = None
) -> Answer:
    """Return the answer of a classifier whose label is the class with the largest value; the first wins a tie."""
    labels = class_labels(classes)
    if probabilities is None and len(labels) == 2:
        assert scores is not None  # noqa: S101  (one of the two is given)
        flat = graph.add("Reshape", scores, graph.constant([-1], np.int64))
        place = graph.cast(graph.add("Greater", flat, graph.constant(0.0, np.float64)), "INT64")
    else:
        place = graph.add("ArgMax", probabilities or scores or "", axis=1, keepdims=0)
    label = graph.add("Gather", graph.constant(labels), place, axis=0)
    return Answer(probabilities=probabilities, scores=scores, label=label)


def two_classes(graph: Graph, second: str) -> str:
    """Return probabilities (rows, 2) from `second`, the second class's, of shape (rows, 1)."""
    return graph.add("Concat", graph.add("Sub", graph.constant(1.0, np.float64), second), second, axis=1)


def label_is_set(graph: Graph, values: str, place: int, threshold: float, *, are_probabilities: bool = True) -> Answer:
    """Return the answer of one label of several: 1 where column `place` of `values` lies above `threshold`, else 0."""
    column = graph.add("Gather", values, graph.constant([place], np.int64), axis=1)
    flat = graph.add("Reshape", column, graph.constant([-1], np.int64))
    label = graph.cast(graph.add("Greater", flat, graph.constant(threshold, np.float64)), "INT64")
    if are_probabilities:
        return Answer(probabilities=two_classes(graph, column), label=label)
    return Answer(scores=column, label=label)


def votes_of_pairs(graph: Graph, second: str, classes: int) -> str:
    """Return how many pairs of classes each class wins; `second` is 1 where a pair's second class does and 0 elsewhere.

    Pairs are in the order (0, 1), (0, 2), ..., (1, 2); both tensors are FP64, with a column for each pair or class.
    """
    towards = _towards(classes)
    won = graph.add("MatMul", second, graph.constant(towards))  # as a second class, less those lost as a first one
    return graph.add("Add", won, graph.constant((towards < 0).sum(axis=0).astype(np.float64).reshape(1, -1)))


def pairs_as_scores(graph: Graph, votes: str, confidences: str, classes: int) -> str:
    """Return one score a class: its `votes`, and less than a vote of confidence. The formula is scikit-learn's.

    `confidences` says for each pair how much speaks for the second class.
    """
    sums = graph.add("MatMul", confidences, graph.constant(_towards(classes)))
    bound = graph.add("Add", graph.add("Abs", sums), graph.constant(1.0, np.float64))
    share = graph.add("Div", sums, graph.add("Mul", bound, graph.constant(3.0, np.float64)))
    return graph.add("Add", votes, share)


def _towards(classes: int) -> np.ndarray:
    """Return -1 for the first class of a pair and 1 for the second, shape (pairs, classes)."""
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    towards = np.zeros((len(pairs), classes))
    for place, (i, j) in enumerate(pairs):
        towards[place, i], towards[place, j] = -1.0, 1.0
    return towards
