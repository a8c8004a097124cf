"""The libraries a model was trained with, as its manifest says, and those that are installed here. None is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

REQUIREMENTS_NAME = "requirements.txt"
COMPILED_RUNTIME = "onnx"  # what it runs needs no training library; what any other runtime runs, runs in its own
DISTRIBUTIONS = {  # what a library may be installed as
    "scikit-learn": ("scikit-learn",),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "lightgbm": ("lightgbm",),
    "catboost": ("catboost",),
}


class Library(NamedTuple):
    """One library of a model: the version it was trained with, and the one here; None where there is none."""

    name: str
    trained: str
    here: str | None

    @property
    def differs(self) -> bool:
        """True where the first two numbers differ: what a library promises to keep ends there."""
        return self.here is None or _minor(self.trained) != _minor(self.here)

    def in_words(self) -> str:
        """Return both versions in a sentence's words."""
        here = f"running {self.here}" if self.here else "none is installed here"
        return f"trained with {self.name} {self.trained}, {here}"


def libraries_of(source: Mapping[str, Any]) -> tuple[Library, ...]:
    """Return the training libraries that `source`, of a manifest, names; those it was opened with where that is all it says."""
    opened, trained = source.get("opened_with"), source.get("trained_with")
    stated = {**(opened if isinstance(opened, dict) else {}), **(trained if isinstance(trained, dict) else {})}
    found = []
    for name, distributions in DISTRIBUTIONS.items():
        said = next((stated[known] for known in distributions if known in stated), None)
        if said is not None:
            found.append(Library(name, str(said), here(name)))
    return tuple(found)


def has_requirements(files: Any) -> bool:
    """True where `files`, of a manifest, has a requirements.txt: it runs with those libraries, whatever is installed here."""
    return any(entry.get("path") == REQUIREMENTS_NAME for entry in files or () if isinstance(entry, dict))


def here(library: str) -> str | None:
    """Return the version of `library` that is installed here, under whichever name; None where there is none."""
    return next(filter(None, map(_installed, DISTRIBUTIONS.get(library, (library,)))), None)


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _minor(text: str) -> tuple[str, ...]:
    return tuple(text.split(".")[:2])
