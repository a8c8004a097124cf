"""The verb `export`: the prediction log as a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from django.utils import timezone

from trivet.cli.person import actor_of
from trivet.cli.values import moment_of
from trivet.cli.verb import DONE, USAGE, Out
from trivet.control.predictions.export_files import check_parquet, write_csv, write_parquet
from trivet.control.predictions.exporting import export_predictions


def export(options: argparse.Namespace, out: Out) -> int:
    """Write the log of a model to a file or to standard output, in constant memory."""
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
