"""What all native runtimes share: the versions they insist on, the file they load, what they ask the object for."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Self

import numpy as np

from trivet.core.errors import BundleError
from trivet.core.signature import Output
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.native import Asked, Native
from trivet.model.runtimes.base import Runtime
from trivet.model.runtimes.native.rows import rows_of

XGBOOST = ("xgboost", "xgboost-cpu")  # two distributions of one library
DISTRIBUTIONS = {"xgboost": XGBOOST}


class NativeRuntime(Runtime):
    """One trained object. Not thread-safe: nothing is promised of what is in it."""

    files: ClassVar[tuple[str, ...]]  # the names its file may have, of which a bundle has one

    def __init__(self, model: Any, bundle: Bundle, native: Native) -> None:
        self._model = model
        self._native = native
        self._outputs = {output.name: output for output in bundle.signature.outputs}
        self._asked = {asked.output: asked for asked in native.answers}

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        native = bundle.manifest.native
        found = [name for name in cls.files if name in bundle.files]
        if native is None or len(found) != 1:
            raise BundleError(f"bundle {bundle.digest[:12]}… is none for the runtime {cls.name!r}.")
        check_versions(bundle.manifest.requires)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions: those are checked
            return cls(cls.open(bundle.files[found[0]], found[0], bundle, native), bundle, native)

    @classmethod
    @abstractmethod
    def open(cls, data: bytes, name: str, bundle: Bundle, native: Native) -> Any:
        """Return the object in `data`, the file `name` of `bundle`; raises `BundleError` for one that is not loaded."""

    def rows(self, rows: Any) -> Any:
        """Return `rows`, a table or a matrix, as the library takes them."""
        return rows

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        rows = self.rows(rows_of(self._native, inputs))
        given: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unseen categories, feature names: what it answers is the question
            for name in outputs:
                method = self._asked[name].method
                if method not in given:
                    given[method] = getattr(self._model, method)(rows)
        count = len(next(iter(inputs.values())))
        return [
            _output(self._outputs[name], self._asked[name], given[self._asked[name].method], count) for name in outputs
        ]


def _output(output: Output, asked: Asked, given: Any, rows: int) -> np.ndarray:
    """Return the tensor of one output from what the method gave for all."""
    taken = given if asked.item is None else given[asked.item]
    values = np.asarray(taken.toarray() if hasattr(taken, "toarray") else taken)
    if asked.column is not None:
        values = values[:, asked.column]
    if asked.is_of_two:
        values = np.column_stack([1.0 - values, values])
    shaped = values.reshape(rows, *output.shape[1:])
    if output.datatype == "BYTES":
        return shaped.astype(object)
    return np.ascontiguousarray(shaped.astype(np.int64 if output.datatype == "INT64" else np.float64))


def check_versions(requires: Mapping[str, Any]) -> None:
    """Raise `BundleError` where a library that a bundle `requires`, as "1.9", is missing or of another minor version."""
    for library, wanted in requires.items():
        here = installed(library)
        if here is None:
            raise BundleError(
                f"this model runs unchanged in {library} {wanted}, which is not installed here: install it where model"
                " workers run."
            )
        if minor(here) != wanted:
            raise BundleError(
                f"this model needs {library} {wanted}; here is {here}. Serve it from an environment with {wanted}, or"
                " train and push it again with the version that is here."
            )


def installed(library: str) -> str | None:
    """Return the version of `library` that is installed here, None without one."""
    for name in DISTRIBUTIONS.get(library, (library,)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def minor(release: str) -> str:
    """Return "1.9" of "1.9.1"."""
    return ".".join(release.split(".")[:2])
