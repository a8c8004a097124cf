"""The constant at the end of a fallback chain: it answers like a version, with the same for every row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from trivet.core.constants import Constant, constant_arrays
from trivet.core.signature import Signature
from trivet.dataplane.engines.base import LoadedVersion


class ConstantVersion(LoadedVersion):
    """A version without a model: nothing in it can fail."""

    def __init__(self, signature: Signature, constant: Constant) -> None:
        """Raises `InvalidRequest` when `constant` does not give what `signature` promises."""
        self._row = constant_arrays(signature, constant)
        self._has_rows = {output.name: output.shape[:1] == (-1,) for output in signature.outputs}

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        deadline: float = math.inf,  # noqa: ARG002  (it takes no time)
    ) -> list[np.ndarray]:
        rows = len(next(iter(inputs.values())))
        return [
            np.stack([self._row[name]] * rows) if self._has_rows[name] else self._row[name].copy() for name in outputs
        ]

    def unload(self) -> None:
        """There is nothing to release."""
