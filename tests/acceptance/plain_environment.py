"""An environment such as `pip install trivet[...]` makes: the wheel of this checkout, and what it asks for, and nothing else.

The files of what it asks for are those of the environment that runs the tests: nothing is fetched, and no version is another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from email.parser import Parser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]


def built_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder`."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return next(folder.glob("trivet-*.whl"))


def plain_environment(folder: Path, wheel: Path, *extras: str) -> Path:
    """Make an environment in `folder` with `wheel` and what it and its `extras` need; return its interpreter."""
    venv.create(folder, symlinks=True, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    with ZipFile(wheel) as packed:
        packed.extractall(site)
    for found in needed_by(requirements_of(wheel), extras).values():
        for top in {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}:
            _bring(Path(str(found.locate_file(top))), site / top)
    return folder / "bin" / "python"


def _bring(source: Path, target: Path) -> None:
    """Link each file: a link to a folder would lead out of the environment, where no sandbox lets anybody read."""
    if target.exists() or not source.exists():
        return
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link, ignore=shutil.ignore_patterns("tests"))
    else:
        _link(str(source), str(target))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another disk
        shutil.copyfile(source, target)


def requirements_of(wheel: Path) -> list[Requirement]:
    """Return what a wheel asks for, with the extras it does so for."""
    with ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(packed.read(name).decode())
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def needed_by(requirements: Iterable[Requirement], extras: Iterable[str] = ()) -> dict[str, Distribution]:
    """Return what is installed of `requirements`, with `extras`, and of all that these need, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    left = list(_wanted(requirements, extras))
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        fresh = {(name, extra) for extra in ("", *wanted.extras)} - seen
        if not fresh:
            continue
        seen |= fresh
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # of another platform or Python, or this very wheel with another extra
            continue
        left += _wanted(map(Requirement, found[name].requires or ()), wanted.extras)
    return found


def _wanted(requirements: Iterable[Requirement], extras: Iterable[str]) -> Iterator[Requirement]:
    for one in requirements:
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield one
