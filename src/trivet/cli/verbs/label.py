"""The verb `label`: what turned out true for one prediction, for those of a file, or as the project's tables say."""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.utils import timezone

from trivet.cli.person import actor_of
from trivet.cli.verb import DONE, USAGE, WRONG, Out
from trivet.control.predictions.labelling import REFUSED, Labelled
from trivet.control.registry.models import RegisteredModel
from trivet.core.errors import InvalidRequest, NotFound, TrivetError, quoted
from trivet.core.records import SaidLabel
from trivet.features.joining import join_all
from trivet.serving.label_files import Line, lines_of, value_in
from trivet.serving.labels import label_many, said_of

AT_ONCE = 500  # of one transaction
MOST_SHOWN = 20  # refusals that are printed


def label(options: argparse.Namespace, out: Out) -> int:
    """Label one prediction or a file of them, or look through the tables of Outcomes."""
    one = options.prediction is not None and options.value is not None
    is_partial = options.prediction is not None and not one
    if one + bool(options.file) + options.outcomes != 1 or is_partial:
        out.problem("trivet label: give one of PREDICTION VALUE, --file and --outcomes.")
        return USAGE
    if options.outcomes:
        return _outcomes(options, out)
    if not options.file:
        return _one(options, out)
    return _file(options, out)


def _one(options: argparse.Namespace, out: Out) -> int:
    said = said_of(options.prediction, value_in(options.value), source=options.source)
    (answer,) = label_many([said], actor=actor_of(options), model=options.model)
    if isinstance(answer, TrivetError):
        raise answer
    out.document(answer, _sentence(answer))
    return DONE


def _sentence(answer: Labelled) -> str:
    value = json.dumps(answer.value, ensure_ascii=False)
    if not answer.is_new:
        return f"{answer.prediction} of {answer.model}: {value} was said before"
    revision = f", revision {answer.revision}" if answer.revision > 1 else ""
    return f"{answer.prediction} of {answer.model}: {value}{revision}"


def _file(options: argparse.Namespace, out: Out) -> int:
    """Label what a CSV file names, some hundred lines a transaction; lines that are refused are named, the others stand."""
    if not options.file.is_file():
        out.problem(f"trivet label: there is no file {options.file}.")
        return USAGE
    counts = {"applied": 0, "revised": 0, "repeated": 0}
    refused: list[dict[str, Any]] = []
    with options.file.open("rb") as file:
        lines = lines_of(file, options.source)
        while batch := list(itertools.islice(lines, AT_ONCE)):
            for number, answer in _answers(batch, options):
                if isinstance(answer, TrivetError):
                    refused.append({"line": number, "error": answer.message})
                else:
                    counts[answer.result] += 1
    for refusal in refused[:MOST_SHOWN]:
        out.problem(f"line {refusal['line']}: {refusal['error']}")
    if len(refused) > MOST_SHOWN:
        out.problem(f"… and {len(refused) - MOST_SHOWN} lines more")
    told = ", ".join(f"{count} {result}" for result, count in [*counts.items(), ("refused", len(refused))])
    out.document({**counts, "refused": refused}, told)
    return WRONG if refused else DONE


def _outcomes(options: argparse.Namespace, out: Out) -> int:
    """Look through the tables that Outcomes name, as a keeper does each night."""
    counts: Counter[str] = Counter(applied=0, revised=0, repeated=0)
    failed: list[str] = []
    refused: list[str] = []
    for step in join_all(timezone.now(), model=options.model, actor=actor_of(options)):
        for (_, result), labels in step.counts.items():
            counts[result] += labels
        refused += [f"the Outcome of {step.model}: {refusal}" for refusal in step.refusals[: MOST_SHOWN - len(refused)]]
        if step.has_failed:
            failed.append(step.model)
        elif step.is_over and (problem := _not_registered(step.model)):
            out.problem(problem)
    for name in failed:
        out.problem(f"the table of the Outcome of {name} could not be looked through: the log says why.")
    for refusal in refused:
        out.problem(refusal)
    if counts[REFUSED] > len(refused):
        out.problem(f"… and {counts[REFUSED] - len(refused)} labels more")
    told = ", ".join(f"{count} {result}" for result, count in counts.items())
    out.document({**counts, "failed": failed}, told)
    return WRONG if failed or refused else DONE


def _not_registered(model: str) -> str:
    """Return what is wrong with a name that a Predictor has and no model."""
    try:
        RegisteredModel.objects.named(model)
    except NotFound as error:
        return f"a Predictor is of {quoted(model)}: {error.message}"
    return ""


def _answers(batch: list[Line], options: argparse.Namespace) -> Iterator[tuple[int, Labelled | TrivetError]]:
    """Yield each line's number with what became of it."""
    read: list[tuple[int, SaidLabel]] = []
    for line in batch:
        if isinstance(line.said, InvalidRequest):
            yield line.number, line.said
        else:
            read.append((line.number, line.said))
    answers = label_many([said for _, said in read], actor=actor_of(options), model=options.model)
    yield from zip((number for number, _ in read), answers, strict=True)
