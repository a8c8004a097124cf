"""Rows as comma-separated values, in and out (protocol, section 9; RFC 4180). What the texts mean, a signature says."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from trivet.core.cells import inert
from trivet.core.decisions import split
from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Output
from trivet.dataplane.protocol.decode import MAX_INPUTS, check_rows
from trivet.dataplane.protocol.encode import answer_rows
from trivet.dataplane.protocol.messages import Answer, Scalar, TextRowsRequest

MEDIA = b"text/csv; charset=utf-8"
MAX_IN_QUERY = 64
PARAMETERS: dict[str, type] = {
    "cache": bool,
    "entity_key": str,
    "interval": float,
    "partial": bool,
    "priority": int,
    "route_key": str,
    "timeout": int,
}
"""What a query may set besides `id` and `outputs`, and how its text is read."""
_BOOLEANS = {"true": True, "false": False}

_json = msgspec.json.Encoder().encode


def decode_table(body: bytes, model: str, query: bytes, max_rows: int) -> TextRowsRequest:
    """Return the rows in `body`, all cells as texts, with what `query` says besides; raises `InvalidRequest`."""
    given = _query(query)
    request_id, outputs = given.pop("id", None), given.pop("outputs", None)
    request = TextRowsRequest(
        list(_rows(body, model, max_rows)),
        id=request_id,
        outputs=None if outputs is None else outputs.split(","),
        parameters={name: _parameter(name, text) for name, text in given.items()} or None,
    )
    check_rows(request, len(body), model)
    return request


def encode_table(answer: Answer, request: TextRowsRequest) -> bytes:
    """Return one line a row: its id, value and decision, the outputs asked for with a column per class, and its error."""
    wanted = request.outputs or []
    shown = [output for name in wanted for output in answer.outputs if output.name == name]
    columns = [_column_names(answer.signature.output(output.name), output.shape, output.name) for output in shown]
    cells = [split(output.data, answer.rows) for output in shown]
    is_partial = bool((request.parameters or {}).get("partial"))
    text = io.StringIO()
    writer = csv.writer(text)

    def write(cells: list[Any]) -> None:  # Any: texts and numbers
        writer.writerow([inert(cell) for cell in cells])

    write(["id", "value", "decision", *(name for names in columns for name in names), *(["error"] * is_partial)])
    answered = 0
    for row in answer_rows(answer):
        if "error" in row:
            write([""] * (3 + sum(map(len, columns))) + [row["error"]])
            continue
        elements = [_cell(element) for column in cells for element in column[answered]]
        write([row["id"], _cell(row["value"]), row.get("decision", ""), *elements, *([""] * is_partial)])
        answered += 1
    return text.getvalue().encode()


def _rows(body: bytes, model: str, max_rows: int) -> Iterator[dict[str, Any]]:
    try:
        text = body.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8.", code="BAD_ENCODING") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, None)
        if not header:
            raise InvalidRequest("the body has no header line; its first line names the columns.", code="MISSING_FIELD")
        _check_header(header)
        for number, cells in enumerate(lines):
            if number >= max_rows:
                raise InvalidRequest(
                    f"{model}: over {max_rows} rows; one request takes at most {max_rows} (TRIVET_MAX_ROWS).",
                    code="TOO_MANY",
                )
            if len(cells or [""]) != len(header):
                raise InvalidRequest(
                    f"{model}: row {number} has {len(cells or [''])} cells, the header has {len(header)}.",
                    code="COUNT_MISMATCH",
                )
            yield dict(zip(header, (cell or None for cell in cells or [""]), strict=True))
    except csv.Error as error:
        raise InvalidRequest(f"the body is not CSV, line {lines.line_num}: {error}.", code="BAD_ELEMENT") from None


def _check_header(header: list[str]) -> None:
    if len(header) > MAX_INPUTS:
        raise InvalidRequest(f"{len(header)} columns; at most {MAX_INPUTS} are read.", code="TOO_MANY")
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InvalidRequest(f"the column {quoted(twice)} stands twice.", code="DUPLICATE_KEY")


def _query(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_IN_QUERY)
    except UnicodeError:
        raise InvalidRequest("the query is not UTF-8, percent-encoded.", code="BAD_PARAMETER") from None
    except ValueError:
        raise InvalidRequest(f"the query has over {MAX_IN_QUERY} parameters.", code="TOO_MANY") from None
    given = dict(pairs)
    if len(given) != len(pairs):
        raise InvalidRequest("a parameter stands twice in the query.", code="DUPLICATE_KEY")
    return given


def _parameter(name: str, text: str) -> Scalar:
    kind = PARAMETERS.get(name)
    if kind is None:
        known = ", ".join(sorted([*PARAMETERS, "id", "outputs"]))
        raise InvalidRequest(f"the query parameter {quoted(name)} is unknown. Known: {known}.", code="BAD_PARAMETER")
    if kind is bool:
        value: Scalar = _BOOLEANS.get(text)
    else:
        try:
            value = kind(text)
        except ValueError:
            value = None
    if value is None:
        word = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise InvalidRequest(f"the query parameter {quoted(name)} is {quoted(text)}, not {word}.", code="BAD_PARAMETER")
    return value


def _column_names(declared: Output | None, shape: list[int], name: str) -> list[str]:
    """Return the names of an output's columns: its own where it has one element a row, else one per class or place."""
    width = 1
    for size in shape[1:]:
        width *= size
    if len(shape) <= 1 or width == 1:
        return [name]
    classes = declared.classes if declared else None
    named = classes if classes and len(classes) == width else range(width)
    return [f"{name}.{place}" for place in named]


def _cell(value: Any) -> Any:
    """Return a value as a cell: texts and numbers as they are, nothing for null, JSON for what has parts."""
    if isinstance(value, bool | dict | list):
        return _json(value).decode()
    return value
