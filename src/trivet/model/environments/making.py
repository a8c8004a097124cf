"""Makes and removes environments: the only module that runs an installer, for the command line alone.

What serves never gets here (a contract of `make lint` holds it). Wheels only, so that installing runs no code of a package.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

import trivet
from trivet.core.errors import Refused
from trivet.model.bundle.libraries import REQUIREMENTS_NAME
from trivet.model.environments.environment import (
    COMPLETE,
    KEY,
    KEY_LENGTH,
    OLDEST_MINOR,
    OWN_NEEDS,
    Environment,
    Needs,
    environment_at,
)
from trivet.model.environments.leash import run_on_leash
from trivet.model.environments.requirements import read_requirements

OLDEST_PYTHON = (3, OLDEST_MINOR)
INSTALL_SECONDS = 1800.0
ASK_SECONDS = 30.0
SCRATCH = "."  # begins the name of one that is not complete, or not any more
CODE_OF_TESTS = r"[/\\]tests?[/\\]"
LAST_LINES = 3  # of what an installer said when it failed
_VERSION = re.compile(r"cpython (\d+)\.(\d+)\.(\d+)")


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What `environment.json` says of an environment, for people: nothing that serves reads it. Of a damaged one, the key."""

    key: str
    python: str = ""
    libraries: tuple[str, ...] = ()  # that were asked for
    installed: tuple[str, ...] = ()  # all of it, as pip lists it
    trivet: str = ""

    @property
    def is_damaged(self) -> bool:
        """True where the file cannot be read, or is missing."""
        return not self.python


def python_of(interpreter: Path) -> str:
    """Return the minor version of the CPython at `interpreter`, as "3.12"; raises `Refused` for what is none."""
    major, minor, _ = _version_of(interpreter)
    return f"{major}.{minor}"


def interpreter_for(python: str, named: Path | None = None) -> Path:
    """Return an interpreter of the minor version `python`: the one `named`, this one, or one on the PATH.

    Raises `Refused` where there is none, or the one named is another.
    """
    candidates = [named] if named is not None else [Path(sys.executable), *_on_path(f"python{python}")]
    for candidate in candidates:
        try:
            if python_of(candidate) == python:
                return candidate
        except Refused:
            if named is not None:
                raise
    told = f"{named} is another" if named is not None else "none is on the PATH"
    raise Refused(f"the environment needs Python {python}, and {told}: name one with --python.")


def make_environment(folder: Path, needs: Needs, interpreter: Path) -> Environment:
    """Return the environment of `needs` in `folder`, installing it where it is not there yet. Takes up to minutes.

    It appears complete or not at all. What the requirements say comes first, with their hashes where they have them; then
    what our own code needs, which changes nothing of it. Raises `Refused` with what the installer said.
    """
    if (found := environment_at(folder, needs.key)).is_made:
        return found
    if python_of(interpreter) != needs.python:
        raise Refused(f"{interpreter} is Python {python_of(interpreter)}; the environment needs {needs.python}.")
    with _alone(folder):
        made = environment_at(folder, needs.key)
        if made.is_made:  # another was faster
            return made
        if made.folder.exists():  # the rest of one: nothing of ours leaves it so
            _take_away(made.folder)
        scratch = Environment(_scratch(made.folder))
        try:
            _fill(scratch, needs, interpreter)
            scratch.folder.rename(made.folder)
        finally:
            shutil.rmtree(scratch.folder, ignore_errors=True)
    return made


def made_environments(folder: Path) -> Iterator[Made]:
    """Yield what was made in `folder`, in the order of keys."""
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if KEY.fullmatch(place.name):
            try:
                yield msgspec.json.decode((place / COMPLETE).read_bytes(), type=Made)
            except (OSError, msgspec.DecodeError):
                yield Made(key=place.name)


def remove_environment(folder: Path, key: str) -> None:
    """Remove an environment: at once for who looks for it, then its files."""
    with _alone(folder):
        _take_away(environment_at(folder, key).folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one that changes `folder`; what one that was killed had begun there is cleared away."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{SCRATCH}{'[0-9a-f]' * KEY_LENGTH}-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    except OSError as error:
        raise Refused(f"{error.filename or folder}: {error.strerror}.") from error
    finally:
        os.close(lock)


def _take_away(place: Path) -> None:
    going = _scratch(place)
    place.rename(going)
    shutil.rmtree(going)


def _scratch(place: Path) -> Path:
    return place.with_name(f"{SCRATCH}{place.name}-{secrets.token_hex(4)}")


def _fill(scratch: Environment, needs: Needs, interpreter: Path) -> None:
    _run([str(interpreter), "-I", "-m", "venv", str(scratch.folder)], "the environment could not be made")
    asked = read_requirements(needs.requirements)
    with tempfile.TemporaryDirectory() as place:
        exact, installed = Path(place, REQUIREMENTS_NAME), Path(place, "installed.txt")
        exact.write_bytes(needs.requirements)
        hashes = ["--require-hashes"] if any(one.is_hashed for one in asked) else []
        _install(scratch, [*hashes, "--requirement", str(exact)])
        installed.write_text(_pip(scratch, ["list", "--format=freeze"]))
        _install(scratch, ["--constraint", str(installed), *OWN_NEEDS])
    _run(
        [str(scratch.python), "-I", "-m", "compileall", "-q", "-j", "0", "-x", CODE_OF_TESTS, str(scratch.folder)],
        "its code could not be compiled",
    )
    told = Made(
        key=needs.key,
        python=".".join(map(str, _version_of(interpreter))),
        libraries=needs.libraries,
        installed=tuple(_pip(scratch, ["list", "--format=freeze"]).split()),
        trivet=trivet.__version__,
    )
    (scratch.folder / COMPLETE).write_bytes(msgspec.json.format(msgspec.json.encode(told)))


def _install(environment: Environment, what: list[str]) -> None:
    _pip(environment, ["install", "--quiet", "--no-compile", "--no-input", "--only-binary", ":all:", *what])


def _pip(environment: Environment, arguments: list[str]) -> str:
    command = [str(environment.python), "-I", "-m", "pip", "--disable-pip-version-check", *arguments]
    return _run(command, "its libraries could not be installed")


def _run(command: list[str], problem: str) -> str:
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = run_on_leash(command, variables, INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Refused(f"{problem} within {INSTALL_SECONDS:.0f} s.") from None
    except OSError as error:
        raise Refused(f"{problem}: {command[0]}: {error.strerror}.") from None
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()][-LAST_LINES:]
        raise Refused(f"{problem}: {' '.join(said) or f'status {done.returncode}'}")
    return done.stdout


def _version_of(interpreter: Path) -> tuple[int, int, int]:
    script = "import sys; print(sys.implementation.name, '.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run(  # noqa: S603  (an interpreter that the operator named)
            [str(interpreter), "-I", "-c", script], capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        raise Refused(f"{interpreter} cannot be started as a Python.") from None
    match = _VERSION.fullmatch(done.stdout.strip())
    if match is None:
        raise Refused(f"{interpreter} is no CPython.")
    version = (int(match[1]), int(match[2]), int(match[3]))
    if version[:2] < OLDEST_PYTHON:
        raise Refused(f"{interpreter} is Python {version[0]}.{version[1]}; models run in 3.11 or newer.")
    return version


def _on_path(name: str) -> list[Path]:
    found = shutil.which(name)
    return [Path(found)] if found is not None else []
