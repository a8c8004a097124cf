"""The tables of the log, written by `shipping.py` and `sealing.py`, and of what turned out true, written by `labelling.py`."""

from __future__ import annotations

from trivet.control.predictions.models.labels import Label as Label, LabelState as LabelState
from trivet.control.predictions.models.log import (
    HEAD_ID as HEAD_ID,
    ForgottenEntity as ForgottenEntity,
    LogHead as LogHead,
    LogLink as LogLink,
    Prediction as Prediction,
    PredictionQuerySet as PredictionQuerySet,
    SpoolCursor as SpoolCursor,
)
