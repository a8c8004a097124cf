"""The verb `predict`: one answer, or a file of them, through the same corridor and into the same log."""

from __future__ import annotations

import argparse
import csv
import itertools
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import msgspec

from trivet import conf
from trivet.cli.person import person_of
from trivet.cli.values import fields_of_model, row_of, value_of
from trivet.cli.verb import DONE, USAGE, WRONG, Out
from trivet.core.cells import inert
from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Input
from trivet.serving.predict import predict, predict_many
from trivet.serving.prediction import Prediction
from trivet.serving.process import this_process

MAX_NAMED = 8  # columns in one message


def predict_rows(options: argparse.Namespace, out: Out) -> int:
    """Predict one row or a file of them."""
    if bool(options.values) == bool(options.file):
        out.problem("trivet predict: give either NAME=VALUE pairs or --file.")
        return USAGE
    fields = fields_of_model(options.model)
    try:
        return _file(options, out, fields) if options.file else _one(options, out, fields)
    finally:
        this_process().stop()  # ships what was recorded, where no keeper runs


def _one(options: argparse.Namespace, out: Out, fields: dict[str, Input]) -> int:
    row = row_of(fields, options.values)
    prediction = predict(options.model, row, user=person_of(options))
    out.document(prediction.as_dict(), repr(prediction))
    return DONE


def _file(options: argparse.Namespace, out: Out, fields: dict[str, Input]) -> int:
    """Answer a CSV file in batches. A batch with bad rows is answered row by row, so that only those are refused."""
    if not options.file.is_file():
        out.problem(f"trivet predict: there is no file {options.file}.")
        return USAGE
    answered, refused, person = 0, 0, person_of(options)
    with options.file.open(newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file)
        unknown = [name for name in lines.fieldnames or () if name not in fields and name not in options.skip]
        if fields and unknown:
            out.problem(f"trivet predict: {_no_inputs(unknown)}")
            return USAGE
        rows = ({k: value_of(fields.get(k), v) for k, v in line.items() if k not in options.skip} for line in lines)
        for batch in _batches(rows, conf.MAX_ROWS()):
            answers = _answers(options.model, batch, person)
            _write(answers, answered + refused, options.output, sys.stdout)
            answered += sum(isinstance(answer, Prediction) for answer in answers)
            refused += sum(not isinstance(answer, Prediction) for answer in answers)
    out.problem(f"{answered} rows answered, {refused} refused")
    return WRONG if refused else DONE


def _no_inputs(names: Sequence[str]) -> str:
    """Say which columns of a file the model does not take, and how to leave them out."""
    shown = names[:MAX_NAMED]
    which = f"column {quoted(shown[0])} is no input" if len(names) == 1 else f"{len(names)} columns are no inputs"
    return f"{which}: {' '.join('--skip ' + shlex.quote(name) for name in shown)}{' …' * (len(names) > MAX_NAMED)}"


def _answers(model: str, batch: list[dict[str, Any]], person: Any) -> list[Prediction | InvalidRequest]:
    """Return what each row was answered, for `person`: a user, or None."""
    try:
        return list(predict_many(model, batch, user=person))
    except InvalidRequest:
        answers: list[Prediction | InvalidRequest] = []
        for row in batch:
            try:
                answers.append(predict(model, row, user=person))
            except InvalidRequest as error:
                answers.append(error)
        return answers


def _write(answers: list[Prediction | InvalidRequest], start: int, form: str, stream: TextIO) -> None:
    writer = csv.writer(stream)
    if form == "csv" and start == 0:
        writer.writerow(("row", "id", "value", "decision", "version", "error"))
    for number, answer in enumerate(answers, start):
        if isinstance(answer, Prediction):
            value = msgspec.json.encode(answer.value).decode()
            cells: tuple[Any, ...] = (number, answer.id, value, answer.decision, answer.version, "")
            facts = {"row": number, **answer.as_dict()}
        else:
            cells = (number, "", "", "", "", answer.message)
            facts = {"row": number, "error": answer.message}
        if form == "csv":
            writer.writerow([inert(cell) for cell in cells])
        else:
            stream.write(msgspec.json.encode(facts).decode() + "\n")


def _batches(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch
