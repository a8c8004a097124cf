"""Answering aside: the corridor as it is, with a spool of its own that no keeper ships."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from trivet.core.records import PredictionRecord, decode_any
from trivet.dataplane.spool import Spool, segments
from trivet.serving.predict import predict_many
from trivet.serving.prediction import Prediction
from trivet.serving.process import this_process


class Aside:
    """Answers as `trivet.predict_many` does, and hands each record to its caller, who is to ship it.

    Of this whole process: what else it answers meanwhile is recorded here too. Use it as a context manager; records that
    nobody asked for by its end are gone. Not thread-safe.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the records in `folder` until they are asked for."""
        self._folder = folder
        self._offsets: dict[Path, int] = {}

    def __enter__(self) -> Self:
        """Record here from now on."""
        process = this_process(ships=False)
        self._plane, self._before = process.plane, process.plane.spool
        self._plane.spool = Spool(self._folder, process.worker_id)
        return self

    def __exit__(self, *_: object) -> None:
        """Record where it was before; drop what is here."""
        aside, self._plane.spool = self._plane.spool, self._before
        aside.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def predict_many(self, model: str, rows: Sequence[Any], *, user: Any = None) -> list[Prediction]:
        """Return one prediction per row, in order, as one batch: one run of the model and one record."""
        return predict_many(model, rows, user=user)

    def records(self) -> Iterator[PredictionRecord]:
        """Yield each record that was not yielded before, in the order they were made."""
        for segment in segments(self._folder):
            for payload, after in segment.payloads(self._offsets.get(segment.path, 0)):
                self._offsets[segment.path] = after
                record = decode_any(payload)
                if isinstance(record, PredictionRecord):
                    yield record
