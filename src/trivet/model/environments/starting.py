"""Start: a module of this package in another environment's interpreter, which finds its own libraries, and of ours this alone.

`python -I -S -B THIS FOLDER ENTRY_POINTS MODULE ARGUMENTS`: without `site`, no `.pth` or `sitecustomize` of a package runs
before the module has confined itself. It is run as a file by any Python that can run this package, and imports none of it.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "trivet"
ROOT = Path(__file__).resolve().parents[2]


class Ours(Distribution):
    """This package as an installed one: its entry points name the runtimes."""

    def __init__(self, entry_points: str) -> None:
        self._files = {"METADATA": f"Metadata-Version: 2.1\nName: {NAME}\n", "entry_points.txt": entry_points}

    def read_text(self, filename: str) -> str | None:
        return self._files.get(filename)

    def locate_file(self, path: Any) -> Any:  # Any: what the base class takes differs between versions of Python
        return ROOT.parent / path


class OursAlone(DistributionFinder, MetaPathFinder):
    """Finds this package, and nothing that lies beside it."""

    def __init__(self, entry_points: str) -> None:
        self._ours = Ours(entry_points)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  (Python's contract)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        return spec_from_file_location(fullname, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterator[Distribution]:
        if context is None or context.name in (None, NAME):
            yield self._ours


def main() -> None:
    """Make both places findable, then be the module."""
    folder, entry_points, module, *arguments = sys.argv[1:]
    sys.prefix = sys.exec_prefix = folder  # as `site` would; whatever asks for the places of libraries is told this one
    sys.path.append(f"{folder}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages")
    sys.meta_path.insert(0, OursAlone(entry_points))  # first: none that is installed there takes our place
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
