"""What the contract tests look at: the package's folder, its modules, and a clean interpreter to import them in."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import trivet

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = Path(trivet.__file__).parent
COMPILE = "trivet.model.compile"  # the room where training libraries and pickles are opened, in a process of its own

NATIVE = "trivet.model.runtimes.native"  # the room where trained objects run unchanged, in model workers and the probe


def modules(room: str) -> list[str]:
    """Return the dotted names of all modules of `room`, itself first; empty where there is no such room yet."""
    folder = PACKAGE.joinpath(*room.split(".")[1:])
    files = sorted(folder.rglob("*.py")) if (folder / "__init__.py").exists() else []
    return [dotted(file) for file in files]


def dotted(file: Path) -> str:
    """Return the name under which `file` is imported."""
    parts = ("trivet", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def belongs_to(module: str, room: str) -> bool:
    """True when `module` is `room` or stands in it."""
    return module == room or module.startswith(f"{room}.")


def imported_names(file: Path) -> Iterator[str]:
    """Yield every module that the source of `file` imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded_by(program: str) -> set[str]:
    """Run `program` in an interpreter of its own, and return the names of the modules it has loaded at its end."""
    ending = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    run = subprocess.run(
        [sys.executable, "-c", program + ending],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))
