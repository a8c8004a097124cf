"""The verb `golden`: what any version of a model has to answer to given rows."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from trivet.cli.person import actor_of
from trivet.cli.values import fields_of_model, row_of
from trivet.cli.verb import DONE, USAGE, WRONG, Out
from trivet.control.registry import actions
from trivet.control.registry.golden import case_of
from trivet.control.registry.models import CHAMPION, Alias, GoldenCaseRow, RegisteredModel
from trivet.control.registry.probing import probe_here
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import InvalidRequest, quoted
from trivet.core.signature import Input
from trivet.model.bundle.golden import GoldenCase, decode_cases


def golden(options: argparse.Namespace, out: Out) -> int:
    """Keep, list or take away golden cases."""
    step = {"add": _add, "list": _list, "remove": _remove}[options.step]
    return step(options, out)


def _add(options: argparse.Namespace, out: Out) -> int:
    """Keep the cases, then say whether the champion passes them: a case that it fails keeps it, but no successor."""
    if bool(options.values) == bool(options.file):
        out.problem("trivet golden add: give either NAME=VALUE pairs or --file.")
        return USAGE
    if options.file and not options.file.is_file():
        out.problem(f"trivet golden add: there is no file {options.file}.")
        return USAGE
    cases = decode_cases(options.file.read_bytes()) if options.file else [_typed(options)]
    rows = []
    for case in cases:
        plain = msgspec.to_builtins(case)
        rows.append(actions.add_golden_case(model=options.model, actor=actor_of(options), note=options.note, **plain))
    failures = _failures_of_champion(options.model, [case_of(row) for row in rows])
    lines = [f"golden case {row.number} of {options.model}: {case_of(row).in_words()}" for row in rows]
    lines += [f"the champion fails: {failure}" for failure in failures]
    out.document({"cases": [_facts(row) for row in rows], "champion_fails": failures}, "\n".join(lines))
    return WRONG if failures else DONE


def _typed(options: argparse.Namespace) -> GoldenCase:
    fields = fields_of_model(options.model)
    expect: dict[str, Any] = {
        "class": options.class_,
        "between": options.between,
        "same_as": row_of(fields, options.same_as) if options.same_as else None,
        "not_below": _bound(fields, options.not_below) if options.not_below else None,
        "of": options.of,
    }
    given = {name: value for name, value in expect.items() if value not in (None, "")}
    return msgspec.convert({"inputs": row_of(fields, options.values), "expect": given}, GoldenCase)


def _bound(fields: dict[str, Input], words: list[str]) -> float | dict[str, Any]:
    if len(words) == 1 and "=" not in words[0]:
        try:
            return float(words[0])
        except ValueError:
            raise InvalidRequest(f"--not-below {quoted(words[0])}: a number, or NAME=VALUE.") from None
    return row_of(fields, words)


def _failures_of_champion(model: str, cases: list[GoldenCase]) -> list[str]:
    alias = Alias.objects.filter(model__name=model, name=CHAMPION).select_related("version").first()
    if alias is None:
        return []
    found = probe_here(fetch_bundle(alias.version.digest), cases)
    return [wrong for _, wrong in zip(cases, found.golden, strict=False) if wrong] if found.passed else [found.reason]


def _list(options: argparse.Namespace, out: Out) -> int:
    rows = GoldenCaseRow.objects.in_force().filter(model=RegisteredModel.objects.named(options.model))
    table = [(str(row.number), case_of(row).in_words(), row.note, row.author) for row in rows]
    out.table([_facts(row) for row in rows], ("CASE", "EXPECTED", "WHY", "BY"), table)
    return DONE


def _remove(options: argparse.Namespace, out: Out) -> int:
    row = actions.remove_golden_case(
        model=options.model, number=options.number, actor=actor_of(options), reason=options.reason
    )
    out.document(_facts(row), f"golden case {row.number} of {options.model} is taken away: {case_of(row).in_words()}")
    return DONE


def _facts(row: GoldenCaseRow) -> dict[str, Any]:
    return {"number": row.number, "inputs": row.inputs, "expect": row.expect, "note": row.note, "author": row.author}
