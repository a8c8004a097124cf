"""From output tensors to what a person reads of each row: its value, its score, its decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trivet.core.signature import Output, Signature

LABEL = "label"
PROBABILITIES = "probabilities"
SCORES = "scores"
LABEL_OF_A_TARGET = "label_"  # and its number, where a model has several

Flat = Sequence[Any]  # one tensor's elements, row-major: numbers, strings, None
Value = float | int | dict[str, Any] | None


class Decision(NamedTuple):
    """What one row's outputs amount to.

    `value`: the prediction of a regression, `{class: probability}` of a classification, or its second class's
    probability alone where the signature has a threshold (then that class is what is asked about), `{output:
    prediction}` or `{output: label}` of several targets. `score` is the one number of it that is monitored: the
    prediction, the probability of the second of two classes, or the largest of more. `decision` is the label in words,
    empty where there is none.
    """

    value: Value
    score: float | None
    decision: str


def decide(signature: Signature, outputs: Mapping[str, Flat], rows: int) -> list[Decision]:
    """Return one Decision per row. `outputs` maps names to flat, row-major lists of `rows` rows; some may be missing.

    What cannot be told from the outputs given is None or empty. NaN and infinities become None.
    """
    columns = {name: split(flat, rows) for name, flat in outputs.items()}
    if signature.task == "classification":
        several = [o.name for o in signature.outputs if o.name.startswith(LABEL_OF_A_TARGET)]
        return _several(several, columns, rows) if several else _classification(signature, columns, rows)
    if signature.task == "outlier":
        return _labelled(columns, columns.get(SCORES), rows)
    if signature.task == "cluster":
        return _labelled(columns, columns.get(LABEL), rows)
    return _numbers(signature, columns, rows)


def gives_score(signature: Signature) -> bool:
    """True where a row's outputs amount to one number: `decide` gives each a score, unless it is not finite."""
    names = {output.name for output in signature.outputs}
    if signature.task == "classification":
        is_of_several = any(name.startswith(LABEL_OF_A_TARGET) for name in names)
        return not is_of_several and not names.isdisjoint((PROBABILITIES, SCORES))
    if signature.task in ("outlier", "cluster"):
        return (SCORES if signature.task == "outlier" else LABEL) in names
    numbers = [output for output in signature.outputs if output.datatype != "BYTES" and set(output.shape[1:]) <= {1}]
    return len(numbers) == 1


def split(flat: Flat, rows: int) -> list[Flat]:
    """Return a flat tensor as one list per row; a tensor that does not divide belongs to the first row."""
    if len(flat) == rows:
        return [(element,) for element in flat]
    width, rest = divmod(len(flat), rows) if rows else (0, 1)
    if rest:
        return [flat, *([()] * (rows - 1))] if rows else []
    return [flat[start : start + width] for start in range(0, len(flat), width)] if width else [()] * rows


def named_outputs(signature: Signature, outputs: Mapping[str, Flat], rows: int) -> list[dict[str, Any]]:
    """Return each row's outputs by name: a plain value, `{class: number}` where classes are known, else a list."""
    named: list[dict[str, Any]] = [{} for _ in range(rows)]
    for name, flat in outputs.items():
        output = signature.output(name)
        classes = output.classes if output else None
        for row, elements in zip(named, split(flat, rows), strict=True):
            if len(elements) == 1 and not (output and len(output.shape) > 1 and output.shape[-1] != 1):
                row[name] = plain(elements[0])
            elif classes is not None and len(classes) == len(elements):
                row[name] = dict(zip(classes, map(plain, elements), strict=True))
            else:
                row[name] = [plain(element) for element in elements]
    return named


def plain(element: Any) -> Any:
    """Return an element as JSON can hold it: NaN and infinities are None."""
    return None if isinstance(element, float) and not math.isfinite(element) else element


def in_words(label: Any) -> str:
    """Return a label as text: `true` and `false` for booleans, no decimals for a whole number."""
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return "" if label is None else str(label)


def _classification(signature: Signature, columns: Mapping[str, list[Flat]], rows: int) -> list[Decision]:
    chances = columns.get(PROBABILITIES) or columns.get(SCORES)
    labels = columns.get(LABEL)
    classes = _classes(signature, len(chances[0]) if chances else 0)
    is_probability = PROBABILITIES in columns
    decisions = []
    for row in range(rows):
        shares = [plain(share) for share in chances[row]] if chances else []
        label = in_words(labels[row][0]) if labels and labels[row] else None
        if label is None:
            label = _chosen(shares, classes, signature.threshold, is_probability=is_probability)
        decisions.append(Decision(_class_value(shares, classes, signature.threshold), _class_score(shares), label))
    return decisions


def _several(names: Sequence[str], columns: Mapping[str, list[Flat]], rows: int) -> list[Decision]:
    """Return the labels of several targets: by output, and in words, one after the other."""
    given = [name for name in names if name in columns]
    decisions = []
    for row in range(rows):
        labels = {name: plain(columns[name][row][0]) for name in given if columns[name][row]}
        decisions.append(Decision(labels or None, None, ", ".join(map(in_words, labels.values()))))
    return decisions


def _classes(signature: Signature, width: int) -> tuple[str, ...]:
    """Return the names of the classes: as many as there are shares, or two for the share of the second alone."""
    for name in (PROBABILITIES, SCORES, LABEL):
        output = signature.output(name)
        if output and output.classes:
            return output.classes
    return tuple(str(place) for place in range(max(width, 2)))


def _class_value(shares: list[Any], classes: tuple[str, ...], threshold: float | None) -> Value:
    if not shares:
        return None
    if len(shares) == 1 or (len(shares) == 2 and threshold is not None):
        return shares[-1]  # type: ignore[no-any-return]  # an element of JSON
    names = classes if len(classes) == len(shares) else tuple(str(place) for place in range(len(shares)))
    return dict(zip(names, shares, strict=True))


def _class_score(shares: list[Any]) -> float | None:
    if len(shares) <= 2:
        return shares[-1] if shares else None
    return max((share for share in shares if share is not None), default=None)


def _chosen(shares: list[Any], classes: tuple[str, ...], threshold: float | None, *, is_probability: bool) -> str:
    if not shares or None in shares:
        return ""
    if len(shares) == 1 or (len(shares) == 2 and threshold is not None):
        bound = threshold if threshold is not None else 0.5 if is_probability else 0.0
        place = int(shares[-1] >= bound)
    else:
        place = shares.index(max(shares))
    return classes[place] if place < len(classes) else str(place)


def _labelled(columns: Mapping[str, list[Flat]], values: list[Flat] | None, rows: int) -> list[Decision]:
    labels = columns.get(LABEL)
    decisions = []
    for row in range(rows):
        value = _number(values[row]) if values else None
        decisions.append(Decision(value, value, in_words(labels[row][0]) if labels and labels[row] else ""))
    return decisions


def _numbers(signature: Signature, columns: Mapping[str, list[Flat]], rows: int) -> list[Decision]:
    targets = {name: column for name, column in columns.items() if _is_number_a_row(signature.output(name), column)}
    if len(targets) == 1:
        (column,) = targets.values()
        numbers = [_number(elements) for elements in column]
        return [Decision(number, number, "") for number in numbers]
    if targets and signature.task == "regression":
        return [Decision({name: _number(c[row]) for name, c in targets.items()}, None, "") for row in range(rows)]
    return [Decision(None, None, "")] * rows


def _is_number_a_row(output: Output | None, column: list[Flat]) -> bool:
    return (output is None or output.datatype != "BYTES") and all(len(elements) == 1 for elements in column)


def _number(elements: Flat) -> float | int | None:
    element = plain(elements[0]) if len(elements) == 1 else None
    return element if isinstance(element, int | float) else None
