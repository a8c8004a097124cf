"""Rows: named features into tensors, and for each row and field that does not fit, what is wrong with it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from trivet.core.errors import InvalidRequest, InvalidRows, quoted
from trivet.core.signature import Input, Signature, unknown_input
from trivet.dataplane.protocol.messages import Tensor
from trivet.dataplane.validation.plan import Plan, Validated
from trivet.dataplane.validation.tensors import too_many_rows, validate

MAX_PROBLEMS = 100  # listed in one answer
MAX_SUGGESTIONS = 5
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


def validate_rows(plan: Plan, rows: Sequence[dict[str, Any]], model: str) -> Validated:
    """Return the arrays of named rows; raises `InvalidRows` listing at most 100 problems by row and field.

    Fields are the signature's: column tensors by name, or the columns of a matrix. A missing field is null where
    the signature allows null, or lets it be left out.
    """
    plan = plan.lenient
    if len(rows) > plan.max_rows:
        raise too_many_rows(len(rows), plan, model)
    try:
        return validate(plan, _tensors(plan, rows), model)
    except InvalidRequest:
        problems = _row_problems(plan, rows, model)
        if not problems:
            raise
        raise InvalidRows(f"{_count(plan, rows, problems, model)} {problems[0].message}", problems) from None


def check_header(plan: Plan, names: Collection[str], model: str) -> None:
    """Raise `InvalidRows` where the columns of a table are not the fields: a problem for each, which is no row's."""
    known = set(plan.field_names)
    problems = [
        InvalidRequest(
            f"{model}: {unknown_input(name, plan.field_names)} Take the column out, or name it as the input is.",
            code="UNKNOWN_INPUT",
            field=name,
        )
        for name in itertools.islice((name for name in names if name not in known), MAX_SUGGESTIONS)
    ]
    for spec in plan.lenient.signature.inputs:
        if spec.nullable:
            continue
        problems += [
            InvalidRequest(f"{model}: the column {quoted(name)} is missing.", code="MISSING_INPUT", field=name)
            for name in spec.field_names
            if name not in names
        ]
    if problems:
        hint = _other_separator(names)
        raise InvalidRows(f"the header does not fit. {problems[0].message}{hint}", problems[:MAX_PROBLEMS])


def _other_separator(names: Collection[str]) -> str:
    """Return a hint where the only column is a line that something else than commas parts, as spreadsheets write it."""
    only = next(iter(names)) if len(names) == 1 else ""
    found = next((word for mark, word in OTHER_SEPARATORS.items() if mark in only), "")
    return f" {found} part its columns; here it is commas." if found else ""


def _count(plan: Plan, rows: Sequence[dict[str, Any]], problems: Sequence[InvalidRequest], model: str) -> str:
    """Return the sentence of how many rows do not fit, where the problems are listed only as far as there is room."""
    if len(problems) < MAX_PROBLEMS:
        return f"{len({problem.row for problem in problems})} of {len(rows)} rows do not fit."
    count = sum(_misfit(plan, row, model) is not None for row in rows)
    return f"{count} of {len(rows)} rows do not fit; the first {len(problems)} problems are listed."


def _tensors(plan: Plan, rows: Sequence[dict[str, Any]]) -> list[Tensor]:
    """Return `rows` turned into one tensor per input; raises `InvalidRequest` for the first field that does not fit."""
    tensors = []
    for spec in plan.signature.inputs:
        names = spec.field_names
        if not names:
            raise InvalidRequest("this model takes tensors, not rows; use /infer.", code="UNKNOWN_INPUT")
        try:
            values = [row[name] for row in rows for name in names]
        except KeyError:
            if not spec.nullable:
                raise InvalidRequest("a field is missing", code="MISSING_INPUT") from None
            values = [row.get(name) for row in rows for name in names]
        if values and type(values[0]) is list:  # else it would be read as a nested tensor; further down it is refused
            raise InvalidRequest("a field holds a list", code="BAD_ELEMENT")
        tensors.append(
            Tensor(spec.name, [len(rows), *(max(d, len(names)) for d in spec.shape[1:])], spec.datatype, values)
        )
    known = set(plan.field_names)
    if not all(known.issuperset(row) for row in rows):
        raise InvalidRequest("a field is unknown", code="UNKNOWN_INPUT")
    return tensors


def first_problems(plan: Plan, rows: Sequence[dict[str, Any]], model: str) -> dict[int, InvalidRequest]:
    """Return for each row that does not fit the first thing that is wrong with it, by the row's place."""
    plan = plan.lenient
    problems: dict[int, InvalidRequest] = {}
    for number, row in enumerate(rows):
        error = _misfit(plan, row, model)
        if error is None:
            continue
        found = _problems_of(plan, row, number, model, suggestions=MAX_SUGGESTIONS - len(problems))
        problems[number] = next(found, InvalidRequest(error.message, code=error.code, field=error.field, row=number))
    return problems


def _row_problems(plan: Plan, rows: Sequence[dict[str, Any]], model: str) -> list[InvalidRequest]:
    """Look at each row and field alone, for an error that names them."""
    problems: list[InvalidRequest] = []
    for number, row in enumerate(rows):
        if _misfit(plan, row, model) is None:  # looking at each field is work that a caller must not multiply
            continue
        found = _problems_of(plan, row, number, model, suggestions=MAX_SUGGESTIONS - len(problems))
        problems += itertools.islice(found, MAX_PROBLEMS - len(problems))
        if len(problems) >= MAX_PROBLEMS:
            break
    return problems


def _misfit(plan: Plan, row: dict[str, Any], model: str) -> InvalidRequest | None:
    """Return what is wrong with a row as a whole, None where it fits."""
    try:
        validate(plan, _tensors(plan, [row]), model)
    except InvalidRequest as error:
        return error
    return None


def _problems_of(
    plan: Plan, row: dict[str, Any], number: int, model: str, *, suggestions: int
) -> Iterator[InvalidRequest]:
    """Yield what is wrong with a row, field by field; with the closest name for the first `suggestions` unknown ones."""
    known = set(plan.field_names)
    for name in row:
        if name not in known:
            # looking for the closest name is work a caller must not multiply
            is_early = suggestions > 0
            sentence = unknown_input(name, plan.field_names) if is_early else f"unknown input {quoted(name)}."
            suggestions -= 1
            yield InvalidRequest(f"{model}: {sentence}", code="UNKNOWN_INPUT", field=name, row=number)
    for spec in plan.signature.inputs:
        for name in spec.field_names:
            problem = _field_problem(spec, name, row, number, model)
            if problem is not None:
                yield problem


def _field_problem(spec: Input, name: str, row: dict[str, Any], number: int, model: str) -> InvalidRequest | None:
    if name not in row and not spec.nullable:
        return InvalidRequest(
            f"{model}: row {number}: {quoted(name)} is missing.", code="MISSING_INPUT", field=name, row=number
        )
    if type(row.get(name)) is list:
        return InvalidRequest(
            f"{model}: row {number}: {quoted(name)} is a list; a field holds one value.",
            code="BAD_ELEMENT",
            field=name,
            row=number,
        )
    alone = msgspec.structs.replace(spec, name=name, shape=(-1, 1), columns=None)
    plan = Plan(Signature(inputs=(alone,), outputs=()), max_rows=1)
    try:
        validate(plan, [Tensor(name, [1, 1], spec.datatype, [row.get(name)])], model)
    except InvalidRequest as error:
        message = error.message.replace(", row 0", f", row {number}")
        return InvalidRequest(message, code=error.code, field=name, row=number)
    return None
