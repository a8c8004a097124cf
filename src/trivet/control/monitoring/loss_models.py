"""Loss models: what says of a regression's answers how wrong they probably are, out of its bundle and kept while it is asked.

What runs them is imported with the first one: a keeper of a machine without regressions loads no runtime.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trivet.control.monitoring.references import Watched
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import BundleError, TrivetError
from trivet.core.profile.losses import Sums, loss_inputs, loss_sums
from trivet.core.profile.reference import Reference
from trivet.model.bundle.loss import LOSS_NAME

if TYPE_CHECKING:
    from trivet.model.runtimes.loss import LossModel

logger = logging.getLogger(__name__)

REMEMBERED = 32  # loaded at a time, a few megabytes each
AGAIN_SECONDS = 600.0  # until one that could not be loaded is tried again: its storage may be away


class Expecting(NamedTuple):
    """A version's loss model, with the reference by which it is asked."""

    model: LossModel
    reference: Reference

    def losses(self, columns: Mapping[str, Any], predictions: np.ndarray) -> Sums:
        """Return the sums of what is to be expected of rows; none where one of their features was not kept, or it fails: rows are
        counted whether or not anything is expected of them.
        """
        inputs = loss_inputs(self.reference.features, columns, predictions)
        if inputs is None:
            return ()
        is_known = np.isfinite(predictions)
        try:
            return loss_sums(*self.model.expect(inputs[is_known]), self.reference.scores[0].unit)
        except BundleError as error:
            logger.warning("event=nothing_expected error=%s", error)
            return ()


class LossModels:
    """Keeps those that were asked for. Not thread-safe."""

    def __init__(self) -> None:
        self._loaded: dict[str, LossModel] = {}
        self._not_before: dict[str, float] = {}

    def of(self, found: Watched) -> Expecting | None:
        """Return the loss model of a version; None where it has none, it cannot be had, or one of its inputs is sensitive now."""
        reference, version = found.reference, found.version
        if reference.loss is None or not reference.scores or not _has_file(version):
            return None
        if {bins.name for bins in reference.features} & hidden_features(version):
            return None
        model = self._loaded.get(version.digest) or self._load(version)
        return Expecting(model, reference) if model is not None else None

    def _load(self, version: ModelVersion) -> LossModel | None:
        from trivet.model.runtimes.loss import LossModel

        now = time.monotonic()
        if self._not_before.get(version.digest, 0.0) > now:
            return None
        while len(self._loaded) >= REMEMBERED:
            self._loaded.pop(next(iter(self._loaded)))
        try:
            model = LossModel.load(fetch_bundle(version.digest).files[LOSS_NAME])
        except TrivetError as error:
            logger.warning("event=loss_model_unreadable version=%s error=%s", version, error)
            self._not_before[version.digest] = now + AGAIN_SECONDS
            return None
        self._loaded[version.digest] = model
        return model


def hidden_features(version: ModelVersion) -> set[str]:
    """Return the features of a version whose values are hidden: of a sensitive tensor, all of its columns."""
    sensitive: Sequence[str] = version.model.sensitive or ()
    if not sensitive:
        return set()
    inputs = version.read_signature().inputs
    return {name for spec in inputs for name in spec.field_names if spec.name in sensitive or name in sensitive}


def _has_file(version: ModelVersion) -> bool:
    return any(entry.get("path") == LOSS_NAME for entry in version.manifest.get("files", ()))
