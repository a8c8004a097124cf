"""The verb `environments`: make, list and remove what versions need that name their own libraries."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from trivet.cli.verb import DONE, USAGE, WRONG, Out
from trivet.control.registry.environments import InUse, environments_in_use
from trivet.control.registry.storage import environments_folder
from trivet.core.errors import NotFound, Refused, quoted
from trivet.model.environments.environment import SHOWN, Needs, environment_at
from trivet.model.environments.making import (
    interpreter_for,
    made_environments,
    make_environment,
    python_of,
    remove_environment,
)
from trivet.model.environments.requirements import canonical, read_requirements


def environments(options: argparse.Namespace, out: Out) -> int:
    """Make, list or remove environments of this machine."""
    step = {"make": _make, "list": _list, "remove": _remove}[options.step]
    return step(options, out)


def _make(options: argparse.Namespace, out: Out) -> int:
    if options.file is not None and not options.file.is_file():
        out.problem(f"trivet environments: there is no file {options.file}.")
        return USAGE
    folder = environments_folder()
    used = environments_in_use() if options.file is None else _of_file(options.file, options.python)
    facts = []
    for needs in used.needed:
        was_there = environment_at(folder, needs.key).is_made
        if not was_there:
            interpreter = interpreter_for(needs.python, options.python)
            out.say(f"installing for Python {needs.python}: {', '.join(needs.libraries)}")
            make_environment(folder, needs, interpreter)
        facts.append({"key": needs.key, "python": needs.python, "is_new": not was_there})
        out.say(f"environment {needs.key[:SHOWN]} {'was there' if was_there else 'is made'}.")
    if not used.needed and not used.unknown:
        out.say("no version in use needs an environment of its own.")
    out.document(facts)
    return _tell_unknown(used, out)


def _tell_unknown(used: InUse, out: Out) -> int:
    """Name the versions whose bundle cannot be read; return the exit code."""
    for version, why in used.unknown.items():
        out.problem(f"trivet environments: what {version} needs cannot be told: {why}")
    return WRONG if used.unknown else DONE


def _of_file(file: Path, python: Path | None) -> InUse:
    needs = Needs(canonical(read_requirements(file.read_bytes())), python_of(python or Path(sys.executable)))
    return InUse({needs: []})


def _list(_options: argparse.Namespace, out: Out) -> int:
    used = environments_in_use()
    needed = {needs.key: versions for needs, versions in used.needed.items()}
    rows: list[tuple[str, ...]] = []
    facts: list[dict[str, Any]] = []
    for made in made_environments(environments_folder()):
        versions = needed.pop(made.key, [])
        libraries = "its environment.json is missing or damaged" if made.is_damaged else ", ".join(made.libraries)
        rows.append((made.key[:SHOWN], made.python, libraries, ", ".join(versions)))
        facts.append({"key": made.key, "python": made.python, "installed": made.installed, "versions": versions})
    for needs, versions in used.needed.items():
        if needs.key in needed:
            rows.append((needs.key[:SHOWN], needs.python, "missing: trivet environments make", ", ".join(versions)))
            facts.append({"key": needs.key, "python": needs.python, "installed": None, "versions": versions})
    out.table(facts, ("KEY", "PYTHON", "LIBRARIES", "NEEDED BY"), rows)
    return _tell_unknown(used, out)


def _remove(options: argparse.Namespace, out: Out) -> int:
    folder = environments_folder()
    found = [made.key for made in made_environments(folder) if made.key.startswith(options.key)]
    if len(found) != 1:
        told = "no environment here begins" if not found else "several environments begin"
        raise NotFound(f"{told} with {quoted(options.key)}; `trivet environments list` shows them.")
    used = environments_in_use()
    if used.unknown:
        why = next(iter(used.unknown.values()))
        raise Refused(f"{', '.join(used.unknown)} may need it, which cannot be told: {why}")
    for needs, versions in used.needed.items():
        if needs.key == found[0]:
            raise Refused(
                f"{', '.join(versions)} needs it, and is in use: for traffic, an alias, a fallback or a rollback."
            )
    remove_environment(folder, found[0])
    out.document({"key": found[0]}, f"environment {found[0][:SHOWN]} is removed.")
    return DONE
