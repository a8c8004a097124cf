"""What a verb is, what it may print, and how it ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from zipfile import is_zipfile

import msgspec

from trivet.cli.project import find_project

DONE = 0  # done, and what was checked is right
WRONG = 1  # done, but what was checked is not right
USAGE = 2  # wrong usage, unreadable file
REFUSED = 3  # permission, somebody was faster, not ready, unsafe
NOT_FOUND = 4  # no such model, version, alias, prediction or key
OUT_OF_REACH = 5  # server, database, storage, deadline
INTERRUPTED = 130


Run = Callable[[argparse.Namespace, "Out"], int]


@dataclass(frozen=True)
class Verb:
    """One verb. `place` is "module:function" under `trivet.cli.verbs`, loaded after `prepare` has set the project up."""

    name: str
    help: str
    place: str
    arguments: Callable[[argparse.ArgumentParser], None]
    prepare: Callable[[argparse.Namespace], None] = find_project

    def load(self) -> Run:
        """Return what the verb does; it returns the exit code."""
        module, _, function = self.place.partition(":")
        run: Run = getattr(import_module(f"trivet.cli.verbs.{module}"), function)
        return run


class Out:
    """Where a verb speaks: sentences for people, or with `--json` one document on stdout and sentences on stderr."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._as_json = as_json
        self._quiet = quiet

    @property
    def descriptor(self) -> int | None:
        """Return where sentences go, for a process that follows this one; None when quiet."""
        return None if self._quiet else (sys.stderr if self._as_json else sys.stdout).fileno()

    def say(self, text: str = "") -> None:
        """Print a sentence, unless quiet."""
        if not self._quiet:
            print(text, file=sys.stderr if self._as_json else sys.stdout, flush=True)

    def problem(self, text: str) -> None:
        """Print what went wrong, on stderr."""
        print(text, file=sys.stderr, flush=True)

    def document(self, value: Any, text: str | None = None) -> None:
        """Print the result: `value` as JSON where that was asked for, else `text`."""
        if self._as_json:
            plain = msgspec.to_builtins(value, builtin_types=(), enc_hook=str)
            print(msgspec.json.format(msgspec.json.encode(plain, order="sorted"), indent=2).decode())
        elif text is not None:
            print(text, flush=True)

    def table(self, value: Any, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        """Print rows in columns, or `value` as JSON."""
        widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (header, *rows)
        ]
        self.document(value, "\n".join(lines))


def split_version(text: str) -> tuple[str, str | None]:
    """Return the model and the version or alias of `MODEL[@V]`."""
    model, _, version = text.partition("@")
    return model, version or None


def labels_problem(options: argparse.Namespace) -> str:
    """Return what is wrong with `--labels` without `--sample`; nothing for an archive, which may bring rows of its own."""
    if options.labels is None or options.sample is not None or options.file.is_dir() or is_zipfile(options.file):
        return ""
    return (
        f"--labels {options.labels} names a column of the sample: give that with --sample CSV, or leave --labels out."
    )
