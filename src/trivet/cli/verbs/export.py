"""The verb `export`: the prediction log, or rows to train on, as a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from django.utils import timezone

from trivet.cli.person import actor_of, check_may_view
from trivet.cli.values import moment_of
from trivet.cli.verb import DONE, USAGE, Out
from trivet.control.predictions.export_files import check_parquet, write_csv, write_parquet
from trivet.control.predictions.exporting import export_predictions
from trivet.core.signature import enumerate_names
from trivet.features.exporting import export_features
from trivet.features.feature_set import find_feature_set
from trivet.features.shape import shape_of, untimed, without_past


def export(options: argparse.Namespace, out: Out) -> int:
    """Write what the step says, in constant memory."""
    return _features(options, out) if options.step == "features" else _predictions(options, out)


def _features(options: argparse.Namespace, out: Out) -> int:
    """Write the rows of a FeatureSet to a file, and their manifest beside it."""
    if options.out.is_dir() or not options.out.parent.is_dir():
        out.problem(f"trivet export: {options.out} is no place for a file.")
        return USAGE
    feature_set = find_feature_set(options.features)
    shape = shape_of(feature_set)
    check_may_view(options, shape.table)
    as_of = options.as_of
    if as_of is not None and not as_of.isidentifier():
        as_of = moment_of("--as-of", as_of, now=timezone.now())
    for warning in untimed(feature_set):
        out.problem(f"W016: {warning}")
    if as_of is not None and (columns := without_past(feature_set)):
        out.problem(f"W016: columns have no past, and are as they stand now: {enumerate_names(columns)}.")
    manifest = export_features(feature_set, options.out, _file, as_of=as_of, label=options.label)
    label = f", label {manifest.label}" if manifest.label else ""
    what = f"{manifest.rows:,} rows of {shape.name} {manifest.hash[:12]}"
    told = f"{what} in {options.out}, {len(manifest.columns)} features{label}"
    out.document({**msgspec.to_builtins(manifest), "file": str(options.out)}, told)
    return DONE


def _predictions(options: argparse.Namespace, out: Out) -> int:
    """Write the log of a model to a file or to standard output."""
    if options.out is None and (options.as_json or options.format == "parquet"):
        out.problem("trivet export: say where to with --out FILE.")
        return USAGE
    if options.out is not None and (options.out.is_dir() or not options.out.parent.is_dir()):
        out.problem(f"trivet export: {options.out} is no place for a file.")
        return USAGE
    now = timezone.now()
    since, until = (
        moment_of(f"--{name}", text, now=now) if (text := getattr(options, name)) else None
        for name in ("since", "until")
    )
    if options.format == "parquet":
        check_parquet()  # before an Event says that something was taken away
    with _file(options.out) as file:
        taken = export_predictions(
            model=options.model,
            actor=actor_of(options),
            since=since,
            until=until,
            version=options.version,
            with_labels=options.labels,
            reason=options.reason,
        )
        rows = write_parquet(taken, file) if options.format == "parquet" else write_csv(taken, file)
    if not taken.has_inputs:
        out.problem("without inputs: to see them takes 'trivet.view_inputs'.")
    columns = [column.name for column in taken.columns]
    if options.out is not None:
        told = f"{rows:,} predictions of {options.model} in {options.out}, {len(columns)} columns"
        out.document({"model": options.model, "rows": rows, "columns": columns, "file": str(options.out)}, told)
    return DONE


@contextmanager
def _file(path: Path | None) -> Iterator[BinaryIO]:
    """Open what is written to. A file is its owner's alone, and has its name once it is whole."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
