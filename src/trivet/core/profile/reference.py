"""Reference: the bins of a version, frozen at its push, and the profile of the rows they were made from."""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np

from trivet.core.calibration import Calibration
from trivet.core.errors import BundleError
from trivet.core.profile.bins import Bins, CategoryBins
from trivet.core.profile.labels import LabelTable, count_meaningless, decode_labels
from trivet.core.profile.layout import Answers, Columns, Counters, Layout
from trivet.core.profile.losses import WHY_NONE, Loss
from trivet.core.profile.profile import Profile, decode_profile
from trivet.core.profile.scores import ScoreBins

REFERENCE_NAME = "reference.msgpack"  # of the file in a bundle
REFERENCE_FORMAT = 2
READ_FORMATS = (1, 2)  # of the first, no moments are summed
SAMPLE, LIVE, ACCEPTED = "sample", "live", "accepted"
"""What a reference was made from: rows given at the push, the first days of traffic, or days that somebody accepted as normal."""
BINARY, CLASSES, REGRESSION, NOTHING = "binary", "classes", "regression", "none"  # what a version can be right about


class Reference(msgspec.Struct, frozen=True, dict=True):
    """What profiles of a version are counted by, and compared with.

    `whole` is the profile of all its rows, `chunks` those of some of them in the order of time, at least twenty where there
    were enough rows: what is usual in a short while is read from them. Where it was told what turned out true of its rows,
    `labels` is the table of that, and `chunk_labels` those of the chunks. Of a regression's errors something may have been
    learned: `loss` says how well, else `no_loss` why nothing was.
    """

    features: tuple[Bins, ...]
    decisions: CategoryBins | None
    scores: tuple[ScoreBins, ...]
    classes: tuple[str, ...]  # all of a classification, in the signature's order; none of anything else
    source: str  # SAMPLE, LIVE or ACCEPTED
    whole_bytes: bytes
    chunks_bytes: tuple[bytes, ...]
    labels_bytes: bytes = b""
    chunk_labels_bytes: tuple[bytes, ...] = ()
    calibrations: tuple[
        Calibration | None, ...
    ] = ()  # of each score, where labels said that it makes a probability of it
    format: int = REFERENCE_FORMAT
    importance: tuple[float, ...] = ()  # of each feature, a share of how much answers depend on all; none where unknown
    loss: Loss | None = None
    no_loss: str = ""  # a word of WHY_NONE

    @cached_property
    def whole(self) -> Profile:
        """The profile of all rows it was made from."""
        return decode_profile(self.whole_bytes)

    @cached_property
    def chunks(self) -> tuple[Profile, ...]:
        """The profiles of those rows in pieces, in the order they were given."""
        return tuple(decode_profile(chunk) for chunk in self.chunks_bytes)

    @cached_property
    def labels(self) -> LabelTable | None:
        """What turned out true of its rows; None where nobody said."""
        return decode_labels(self.labels_bytes) if self.labels_bytes else None

    @cached_property
    def chunk_labels(self) -> tuple[LabelTable, ...]:
        """What turned out true of each of `chunks`; empty where nobody said, or there are none."""
        return tuple(decode_labels(table) for table in self.chunk_labels_bytes)

    @cached_property
    def layout(self) -> Layout:
        """Where in a profile each thing is counted."""
        return Layout(self.features, self.decisions, self.scores, has_moments=self.format > 1)

    @property
    def task(self) -> str:
        """What a version does, as far as it can be right or wrong: binary, classes, regression, or none."""
        if not self.scores:
            return CLASSES if self.classes else NOTHING
        if not self.scores[0].is_of_class:
            return REGRESSION
        return BINARY if len(self.classes) <= 2 else CLASSES

    @property
    def calibration(self) -> Calibration | None:
        """What makes a probability of a binary version's score; None where the score is as good as it is, or nobody knows."""
        return self.calibrations[0] if len(self.calibrations) == 1 else None

    @cached_property
    def importance_of(self) -> dict[str, float]:
        """The importance of each feature by its name; the same for all where nobody found out."""
        known = self.importance or (1 / max(len(self.features), 1),) * len(self.features)
        return {bins.name: share for bins, share in zip(self.features, known, strict=True)}

    @property
    def empty(self) -> Profile:
        """The profile of no rows."""
        return self.layout.empty

    @property
    def extent(self) -> dict[str, int]:
        """How many rows it was made of, how many features it counts, and of how many rows it was told what turned out true."""
        labels = self.labels.labels if self.labels is not None else 0
        return {"rows": self.whole.rows, "features": len(self.features), "labels": labels}

    def line(self) -> str:
        """Return its extent in words."""
        rows, features, labels = self.extent.values()
        told = "yes" if labels == rows else f"of {labels:,} rows" if labels else "no"
        if self.labels is not None and (none := count_meaningless(self, self.labels)):
            told += f", but {none:,} of them are {'no number' if self.task == REGRESSION else 'none of its classes'}"
        line = f"{rows:,} rows, {features:,} features, labels {told}"
        if self.loss is not None:
            return f"{line}, {self.loss.line()}"
        return f"{line}, no errors expected: {WHY_NONE[self.no_loss]}" if self.no_loss in WHY_NONE else line

    def fold(
        self,
        columns: Columns,
        answers: Answers,
        *,
        latency_us: np.ndarray | None = None,
        counters: Counters = (0, 0, 0),
    ) -> Profile:
        """Return the profile of some rows. A feature that `columns` do not have is not counted."""
        return self.layout.fold(columns, answers, latency_us, counters)


def encode_reference(reference: Reference) -> bytes:
    """Return `reference` as msgpack, the same bytes everywhere."""
    return msgspec.msgpack.encode(reference)


def decode_reference(data: bytes | memoryview) -> Reference:
    """Return the reference in `data`; raises `BundleError` for anything else."""
    try:
        reference = msgspec.msgpack.decode(data, type=Reference)
    except (msgspec.DecodeError, ValueError) as error:  # the second of text that is no UTF-8
        raise BundleError(f"a reference profile cannot be read: {error}") from None
    if reference.format not in READ_FORMATS:
        raise BundleError(
            f"reference format {reference.format} is unknown here; this release reads formats 1 to {REFERENCE_FORMAT}."
        )
    if not reference.layout.fits(reference.whole):
        raise BundleError("a reference profile does not fit its own bins.")
    return reference
