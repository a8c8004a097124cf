"""Which environment a bundle needs, where it lies, and the command that runs a module of ours in it."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

from trivet.core.errors import BundleError
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.libraries import REQUIREMENTS_NAME
from trivet.model.environments.requirements import canonical, read_requirements

FOLDER_NAME = "environments"
COMPLETE = "environment.json"  # written last, read by people
# What our own code imports there, to open a trained file and to run it; each in the newest version the requirements let in.
OWN_NEEDS = ("cloudpickle>=3.0", "msgspec>=0.19", "pandas>=2.0", "pyyaml>=6.0", "scikit-learn", "skops>=0.11")
KEY_LENGTH = 32  # hexadecimal digits of a SHA-256
SHOWN = 12  # of them, to people
OLDEST_MINOR, NEWEST_MINOR = 11, 30  # of Python 3: what could run this package
KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
PYTHON = re.compile(r"3\.[0-9]{1,2}")
STARTING = Path(__file__).with_name("starting.py")


@dataclass(frozen=True)
class Needs:
    """What an environment has to hold: exact requirements, canonical, and the minor version of Python, as "3.12"."""

    requirements: bytes
    python: str

    @property
    def key(self) -> str:
        """What tells it from every other, and from one made by a release of ours that needs other libraries: its folder."""
        beside = f"cpython {self.python}\n{' '.join(OWN_NEEDS)}\n".encode()
        return hashlib.sha256(beside + self.requirements).hexdigest()[:KEY_LENGTH]

    @property
    def libraries(self) -> tuple[str, ...]:
        """The requirements as people read them, as "numpy==2.1.3"."""
        return tuple(line.split()[0] for line in self.requirements.decode().splitlines())


@dataclass(frozen=True)
class Environment:
    """One that was made here."""

    folder: Path

    @property
    def is_made(self) -> bool:
        """True once it is complete."""
        return (self.folder / COMPLETE).is_file()

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that runs `module`, of this package, with the environment's interpreter and libraries."""
        ours = distribution("trivet").read_text("entry_points.txt") or ""
        return [str(self.python), "-I", "-S", "-B", str(STARTING), str(self.folder), ours, module, *arguments]


def needs_of(bundle: Bundle) -> Needs | None:
    """Return what the environment of `bundle` has to hold; None where it needs none of its own.

    Raises `BundleError` where it does not say so in the words that are expected.
    """
    data = bundle.files.get(REQUIREMENTS_NAME)
    if data is None:
        return None
    python = bundle.manifest.environment.get("python", "")
    if not PYTHON.fullmatch(python):
        raise BundleError(f"bundle {bundle.digest[:12]}… has requirements, but names no Python for them.")
    return Needs(canonical(read_requirements(data)), python)


def find_environment(folder: Path, key: str) -> Environment:
    """Return the environment called `key` in `folder`; raises `BundleError` with the remedy where it was not made."""
    found = environment_at(folder, key)
    if not found.is_made:
        raise BundleError(
            f"its own environment, {key[:SHOWN]}, is missing on this machine: make it with `trivet environments make`."
        )
    return found


class Own(NamedTuple):
    """An environment that was made here, and what it holds."""

    needs: Needs
    environment: Environment


def own_environment(folder: Path, data: bytes) -> Own:
    """Return the environment in `folder` of the requirements file `data`: for this Python, else for the newest there is.

    Raises `BundleError` for what is no such file, and with the remedy where none was made.
    """
    requirements = canonical(read_requirements(data))
    here = f"3.{sys.version_info.minor}"
    for python in (here, *(f"3.{minor}" for minor in range(NEWEST_MINOR, OLDEST_MINOR - 1, -1))):
        needs = Needs(requirements, python)
        if (found := environment_at(folder, needs.key)).is_made:
            return Own(needs, found)
    raise BundleError(
        "no environment was made on this machine for these requirements: make it with `trivet environments make FILE`."
    )


def environment_at(folder: Path, key: str) -> Environment:
    """Return the environment called `key`; raises `BundleError` for what is no key."""
    if not KEY.fullmatch(key):
        raise BundleError("that is no name of an environment.")
    return Environment(folder / key)


def command_for(bundle: Bundle, environments: Path, module: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs `module` where `bundle` has to run: in its own environment, else in this one.

    Raises `BundleError` where its environment was not made in the folder `environments`.
    """
    needs = needs_of(bundle)
    if needs is None:
        return [sys.executable, "-m", module, *arguments]
    return find_environment(environments, needs.key).command(module, *arguments)
