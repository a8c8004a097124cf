"""The verb `inspect`: what is in a trained file, like `inspectdb` for models."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from trivet.cli.verb import DONE, REFUSED, USAGE, Out, labels_problem
from trivet.core.errors import CompileError, Refused
from trivet.core.signature import Input, Signature, enumerate_names
from trivet.model.bundle.libraries import here
from trivet.model.compile.inspection import list_file
from trivet.model.compile.listing import Listing
from trivet.model.compile.process import CompiledFile, compile_file

CATEGORIES_SHOWN = 6


def inspect(options: argparse.Namespace, out: Out) -> int:
    """Read a file without loading it; then, unless it asks for what no model needs, open it in the sandbox."""
    if problem := _wrong_usage(options):
        out.problem(f"trivet inspect: {problem}")
        return USAGE
    try:
        listing = list_file(options.file)
    except CompileError as error:
        return _end({"file": options.file.name, "verdict": f"refused: {error.message}"}, out, REFUSED)
    facts: dict[str, Any] = {"file": options.file.name, **_listed(listing)}
    for line in _listing_lines(options.file.name, listing):
        out.say(line)
    if listing.dangerous:
        facts["verdict"] = f"refused: the file asks to run {listing.dangerous[0]} on opening. Nothing was run here."
        return _end(facts, out, REFUSED)
    try:
        compiled = compile_file(
            options.file, sample=options.sample, label_column=options.labels, is_vouched_for=options.vouch
        )
    except (CompileError, Refused) as error:
        facts["verdict"] = f"refused: {error.message}"
        return _end(facts, out, REFUSED)
    signature = compiled.bundle.signature
    facts |= {
        "signature": signature,
        "runtime": compiled.bundle.manifest.runtime,
        "sandbox": compiled.confinement.level,
    }
    facts["verdict"] = _verdict(compiled)
    for line in _signature_lines(signature):
        out.say(line)
    if compiled.reference is not None:
        facts["reference"] = compiled.reference.extent
        out.say(f"reference      {compiled.reference.line()}")
    if compiled.is_native:
        facts["reason"] = compiled.why
        out.say(f"not compiled   {compiled.why}")
    if options.model:
        facts["matches"] = _matched(options, signature, out)
    return _end(facts, out, DONE)


def _wrong_usage(options: argparse.Namespace) -> str:
    if not (options.file.is_file() or options.file.is_dir()):
        return f"there is no file {options.file}."
    if options.sample is not None and not options.sample.is_file():
        return f"there is no file {options.sample}."
    if problem := labels_problem(options):
        return problem
    if options.write and not options.model:
        return "--write needs --model app.Model: the table whose rows the model is about."
    if options.write and options.write.exists():
        return f"{options.write} is there already; name another, it is not overwritten."
    return ""


def _end(facts: dict[str, Any], out: Out, status: int) -> int:
    out.say(f"verdict        {facts['verdict']}")
    out.document(facts)
    return status


def _listing_lines(name: str, listing: Listing) -> list[str]:
    packed = f" ({listing.compression})" if listing.compression else ""
    kind = f", {listing.kind}" if listing.kind else ""
    lines = [f"{name}   {listing.format}{packed}{kind}, {_size(listing.bytes)}; read without loading it"]
    made = [f"{library} {version} (here {here(library) or 'none'})" for library, version in listing.libraries.items()]
    if made:
        lines.append(f"made with      {', '.join(made)}")
    if listing.names:
        lines.append(f"asks for       {len(listing.names)} names, of {enumerate_names(_modules(listing.names))}")
    if listing.dangerous:
        lines.append(f"DANGEROUS      {enumerate_names(listing.dangerous)}")
    if listing.unknown:
        lines.append(f"of no library  {enumerate_names(listing.unknown)}")
    if listing.problem:
        lines.append(f"not all read   {listing.problem}")
    return lines


def _modules(names: Sequence[str]) -> list[str]:
    return sorted({name.partition(".")[0] for name in names})


def _size(count: int) -> str:
    return (
        f"{count} bytes"
        if count < 10_000
        else f"{count / 1000:.0f} kB"
        if count < 10_000_000
        else f"{count / 1e6:.0f} MB"
    )


def _signature_lines(signature: Signature) -> list[str]:
    lines = [f"inputs         {len(signature.field_names)}"]
    lines += [f"  {spec.name:<16} {spec.datatype:<6} {_seen(spec)}".rstrip() for spec in signature.inputs]
    lines.append("outputs")
    lines += [
        f"  {one.name:<16} {one.datatype:<6} {enumerate_names(one.classes or ())}".rstrip() for one in signature.outputs
    ]
    return lines


def _seen(spec: Input) -> str:
    parts = []
    if spec.categories is not None:
        more = len(spec.categories) - CATEGORIES_SHOWN
        parts.append(", ".join(spec.categories[:CATEGORIES_SHOWN]) + (f" and {more} more" if more > 0 else ""))
    elif spec.columns is not None:
        parts.append(enumerate_names(spec.columns))
    elif spec.low is not None and spec.high is not None:
        parts.append(f"{spec.low:g} to {spec.high:g}")
    if spec.nullable:
        parts.append("may be missing")
    return ", ".join(parts)


def _verdict(compiled: CompiledFile) -> str:
    proof = (
        f"native: {compiled.parity.round_trip_line()}" if compiled.is_native else f"compiled: {compiled.parity.line()}"
    )
    return f"{proof}; opened in a sandbox of level L{compiled.confinement.level}"


def _matched(options: argparse.Namespace, signature: Signature, out: Out) -> dict[str, Any]:
    from trivet.cli.table_fields import find_table, match_fields, stub  # Django's tables are there only with a project

    table = find_table(options.model)
    matches = match_fields(signature, table)
    missing = [match.name for match in matches if not match.expression]
    rest = f"; to be written: {enumerate_names(missing)}" if missing else ""
    out.say(f"matched        {len(matches) - len(missing)} of {len(matches)} on {options.model}{rest}")
    if options.write:
        name = re.sub(r"[^a-z0-9._-]+", "-", options.file.stem.lower()).strip("-._") or "model"
        options.write.write_text(stub(matches, table, name, options.file.name), encoding="utf-8")
        out.say(f"wrote          {options.write}")
    return {match.name: match.expression or None for match in matches}


def _listed(listing: Listing) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(listing)
    return {**shown, "kind": listing.kind, "dangerous": list(listing.dangerous), "unknown": list(listing.unknown)}
