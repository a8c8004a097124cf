"""The verb `inspect`: what is in a trained file, like `inspectdb` for models."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from trivet.cli.verb import DONE, REFUSED, USAGE, Out, labels_problem
from trivet.core.errors import CompileError, Refused
from trivet.core.signature import Input, Signature, enumerate_names
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.libraries import here
from trivet.model.bundle.sample import SAMPLE_NAME, decode_sample
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
        facts["matches"] = _matched(options, compiled.bundle, out)
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
    if options.write and (options.write.is_dir() or not options.write.parent.is_dir()):
        return f"{options.write} is no place for a file."
    if options.write and options.write.exists() and not options.yes:
        return f"{options.write} is there already and stays as it is: name another, or replace it with --yes."
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


def _matched(options: argparse.Namespace, bundle: Bundle, out: Out) -> dict[str, Any]:
    from trivet.cli import table_fields  # Django's tables are there only with a project

    table = table_fields.find_table(options.model)
    matches = table_fields.match_fields(bundle.signature, table, _means(bundle))
    found = sum(1 for match in matches if match.path)
    rest = table_fields.in_words(matches, is_written=bool(options.write))
    out.say(f"matched        {found} of {len(matches)} on {options.model}{rest}")
    if options.write:
        name = re.sub(r"[^a-z0-9._-]+", "-", options.file.stem.lower()).strip("-._") or "model"
        text = table_fields.module_of(matches, table, name, options.file.name)
        options.write.write_text(text, encoding="utf-8")
        out.say(f"wrote          {options.write}")
    return {match.name: match.path or None for match in matches}


def _means(bundle: Bundle) -> dict[str, float]:
    """Return the mean of each number in the rows that were recorded, where they were not made up."""
    if bundle.manifest.parity.get("synthetic", True) or SAMPLE_NAME not in bundle.files:
        return {}
    inputs, _ = decode_sample(bundle.signature, bundle.files[SAMPLE_NAME])
    found: dict[str, float] = {}
    for spec in bundle.signature.inputs:
        values = inputs[spec.name]
        if values.dtype.kind in "iuf" and len(values):
            columns = values.reshape(len(values), -1).astype(np.float64).T
            for name, column in zip(spec.field_names, columns, strict=True):
                if np.isfinite(column).any():
                    found[name] = float(column[np.isfinite(column)].mean())
    return found


def _listed(listing: Listing) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(listing)
    return {**shown, "kind": listing.kind, "dangerous": list(listing.dangerous), "unknown": list(listing.unknown)}
