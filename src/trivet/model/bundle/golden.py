"""golden.jsonl: golden cases, rows of which somebody has said what any version has to answer; and whether one does.

A case is one line, `{"inputs": {field: value}, "expect": {...}}`. What may be expected (living models, section 8), where
several are given all of them:

class      the decision, in words: the label that is served, after the threshold
between    `[low, high]`: the number asked for lies there, ends included
same_as    `{field: value}`: the row with these fields changed is answered the same, decision and numbers
not_below  a number, or `{field: value}`: the number asked for is at least that, or that of the row so changed

The number asked for is the prediction of a regression, the probability (or score) of the second of two classes, and
where there are more, of the class or output that `of` names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from trivet.core.decisions import Decision, decide, in_words, named_outputs
from trivet.core.errors import BundleError, InvalidRequest, did_you_mean, quoted
from trivet.core.signature import Input, Signature, enumerate_names, unknown_input
from trivet.model.bundle.sample import input_array

GOLDEN_NAME = "golden.jsonl"
MOST_CASES = 1_000  # of one model: each is replayed before every promotion
TOLERANCE = 1e-5  # between two answers that should be the same, relative to 1 + their size; as the probe's
FIELDS_SHOWN = 6

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]  # arrays by the signature's names, in and out


class Expectation(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """What a version has to answer; at least one of the four."""

    class_: str | bool | int | float | None = msgspec.field(default=None, name="class")
    between: tuple[float, float] | None = None
    same_as: dict[str, Any] | None = None
    not_below: float | dict[str, Any] | None = None
    of: str = ""

    def in_words(self) -> str:
        """Return the expectation as people read it."""
        about = f"{self.of} " if self.of else ""
        parts = []
        if self.class_ is not None:
            parts.append(f"decides {quoted(in_words(self.class_))}")
        if self.between is not None:
            parts.append("{}between {:g} and {:g}".format(about, *self.between))
        if self.same_as is not None:
            parts.append(f"the same with {_fields_in_words(self.same_as)}")
        if isinstance(self.not_below, dict):
            parts.append(f"{about}not below that with {_fields_in_words(self.not_below)}")
        elif self.not_below is not None:
            parts.append(f"{about}not below {self.not_below:g}")
        return ", ".join(parts)


class GoldenCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row by the names of its fields, and what has to be answered to it."""

    inputs: dict[str, Any]
    expect: Expectation

    def in_words(self) -> str:
        """Return the case as people read it."""
        return f"{_fields_in_words(self.inputs)}: {self.expect.in_words()}"


def encode_cases(cases: Iterable[GoldenCase]) -> bytes:
    """Return one line a case."""
    return b"".join(msgspec.json.encode(case, order="sorted") + b"\n" for case in cases)


def decode_cases(data: bytes) -> tuple[GoldenCase, ...]:
    """Return the cases in `data`; raises `BundleError` naming the line that is none."""
    cases = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            cases.append(msgspec.json.decode(line, type=GoldenCase))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BundleError(f"{GOLDEN_NAME}, line {number}: {error}") from None
    return tuple(cases)


def check_case(case: GoldenCase, signature: Signature) -> None:
    """Raise `InvalidRequest` where `case` could not be asked of a version with `signature`."""
    expect, names = case.expect, signature.field_names
    rows = [case.inputs, *(changed for changed in (expect.same_as, expect.not_below) if isinstance(changed, dict))]
    for row in rows:
        if unknown := next((name for name in row if name not in names), None):
            raise _unfit(unknown_input(unknown, names))
    if all(one is None for one in (expect.class_, expect.between, expect.same_as, expect.not_below)):
        raise _unfit("a golden case expects something: class, between, same_as or not_below.")
    if expect.between is not None and not expect.between[0] <= expect.between[1]:
        raise _unfit(f"no number is between {expect.between[0]:g} and {expect.between[1]:g}.")
    if {} in (expect.same_as, expect.not_below):
        raise _unfit("the other row has the same fields: say which are changed.")
    classes = _classes(signature)
    if expect.class_ is not None and (word := in_words(expect.class_)) not in classes:
        raise _unfit(
            f"the model has no class {quoted(word)}.{did_you_mean(word, classes)} It has: {enumerate_names(classes)}."
            if classes
            else "the model decides between no classes; expect a number with between or not_below."
        )
    needs_number = expect.between is not None or expect.not_below is not None
    numbers = [name for name in (*classes, *(output.name for output in signature.outputs)) if name != "label"]
    if expect.of and expect.of not in numbers:
        raise _unfit(f"no class or output is called {quoted(expect.of)}.{did_you_mean(expect.of, numbers)}")
    if needs_number and not expect.of and (len(classes) > 2 or signature.task in ("tensors", "cluster")):
        raise _unfit(f"say of which number: `of` is one of {enumerate_names(numbers)}.")
    for row in rows:
        _tensors(signature, {**case.inputs, **row})


def failure_of(case: GoldenCase, signature: Signature, run: Run) -> str:
    """Return what is wrong with the answer of a version to `case`, as a sentence with the case in it; "" when it is right."""
    try:
        wrong = _wrong(case, signature, run)
    except InvalidRequest as error:
        wrong = error.message
    return f"{case.in_words()}; {wrong}" if wrong else ""


class _Told(NamedTuple):
    """What a version answers to one row."""

    decision: Decision
    named: dict[str, Any]
    outputs: Mapping[str, np.ndarray]

    def number(self, of: str) -> float | None:
        """Return the number asked for; None where the answer has none."""
        if not of:
            return self.decision.score
        for value in self.named.values():
            if isinstance(value, dict) and of in value:
                return value[of]  # type: ignore[no-any-return]  # an element of JSON
        value = self.named.get(of)
        return value if isinstance(value, int | float) else None


def _wrong(case: GoldenCase, signature: Signature, run: Run) -> str:
    expect, found = case.expect, _ask(signature, case.inputs, run)
    if expect.class_ is not None and found.decision.decision != in_words(expect.class_):
        return f"it decides {quoted(found.decision.decision)}"
    if expect.between is not None or expect.not_below is not None:
        number = found.number(expect.of)
        if number is None:
            return "its answer has no such number"
        if expect.between is not None and not expect.between[0] <= number <= expect.between[1]:
            return f"it gives {number:.6g}"
        bound: float | None = None
        if isinstance(expect.not_below, dict):
            bound = _ask(signature, {**case.inputs, **expect.not_below}, run).number(expect.of)
        elif expect.not_below is not None:
            bound = expect.not_below
        if bound is not None and number < bound:
            return f"it gives {number:.6g}" + (f", below {bound:.6g}" if isinstance(expect.not_below, dict) else "")
    if expect.same_as is not None:
        return _difference(found, _ask(signature, {**case.inputs, **expect.same_as}, run))
    return ""


def _difference(one: _Told, other: _Told) -> str:
    if one.decision.decision != other.decision.decision:
        return f"it decides {quoted(one.decision.decision)} and {quoted(other.decision.decision)}"
    for name, values in one.outputs.items():
        if values.dtype.kind == "f" and not np.allclose(
            values, other.outputs[name], rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
        ):
            return f"its {name} are {_short(values)} and {_short(other.outputs[name])}"
    return ""


def _short(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values.ravel()[:FIELDS_SHOWN]) + "]"


def _ask(signature: Signature, row: Mapping[str, Any], run: Run) -> _Told:
    outputs = run(_tensors(signature, row))
    flat = {name: values.ravel().tolist() for name, values in outputs.items()}
    return _Told(decide(signature, flat, 1)[0], named_outputs(signature, flat, 1)[0], outputs)


def _tensors(signature: Signature, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {spec.name: _array(spec, row) for spec in signature.inputs}


def _array(spec: Input, row: Mapping[str, Any]) -> np.ndarray:
    values = [row.get(name) for name in spec.field_names]
    for name, value in zip(spec.field_names, values, strict=True):
        if _is_missing(value) and not spec.nullable:
            raise _unfit(f"{quoted(name)} is missing, which the model does not take.")
    try:
        return input_array(spec, [values[0] if spec.is_column or spec.shape == (-1,) else values])
    except (ValueError, TypeError, OverflowError):
        raise _unfit(f"{_fields_in_words({n: row.get(n) for n in spec.field_names})}: not {spec.datatype}.") from None


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _classes(signature: Signature) -> tuple[str, ...]:
    return next((output.classes for output in signature.outputs if output.classes), ())


def _fields_in_words(row: Mapping[str, Any]) -> str:
    shown: Sequence[str] = [f"{name}={_value_in_words(value)}" for name, value in sorted(row.items())[:FIELDS_SHOWN]]
    rest = len(row) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _value_in_words(value: Any) -> str:
    return "missing" if _is_missing(value) else quoted(value) if isinstance(value, str) else in_words(value)


def _unfit(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="BAD_PARAMETER")
