"""What will be shipped, loaded as whoever serves it will load it: the gates ask it, and its sample is what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from trivet.core.signature import Signature
from trivet.model.bundle.sample import encode_sample
from trivet.model.compile.fields import Layout
from trivet.model.compile.original import Answers, Target, as_answers
from trivet.model.runtimes.base import Runtime


@dataclass(frozen=True)
class Shipped:
    """A compiled or saved model, in the runtime that will serve it; `feed` makes of rows what that takes."""

    runtime: Runtime
    signature: Signature
    layout: Layout
    targets: Sequence[Target]
    feed: Callable[[pd.DataFrame], Mapping[str, np.ndarray]]

    def answers(self, rows: pd.DataFrame) -> Answers:
        """Return what it answers to `rows`, as the original's answers are."""
        return as_answers(self.targets, self.outputs(rows), len(rows))

    def outputs(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return what it answers to `rows`, by the signature's names."""
        names = [output.name for output in self.signature.outputs]
        return dict(zip(names, self.run(rows)(), strict=True))

    def run(self, rows: pd.DataFrame) -> Callable[[], list[np.ndarray]]:
        """Return its run on `rows`, whose tensors are made."""
        return partial(self.runtime.run, self.feed(rows), [output.name for output in self.signature.outputs])

    def sample(self, rows: pd.DataFrame) -> bytes:
        """Return `rows` and what it answers to them, as a bundle keeps them."""
        return encode_sample(self.signature, self.layout.tensors(rows), self.outputs(rows))
