"""What others may listen to. Sent by the control plane on commit, outside the path of an answer.

A receiver that fails is logged and harms nobody (`send_robust`). `model` is always the model's name, `version` a
`ModelVersion`; `sender` is the class of the row that changed.
"""

from __future__ import annotations

from django.dispatch import Signal

version_registered = Signal()
"""A new version exists, or one that was retired is back, not yet probed: `version, actor, reason`."""

version_ready = Signal()
"""A version passed its probe and may take traffic: `version, actor, reason`."""

version_rejected = Signal()
"""A version failed its probe: `version, actor, reason`."""

routes_changed = Signal()
"""A model's routes or aliases moved, for whatever cause: `model, before, after, generation, actor, reason`."""

version_promoted = Signal()
"""A version became champion with all the traffic: `model, before, after, generation, actor, reason`."""

version_rolled_back = Signal()
"""An earlier champion took the traffic back: `model, before, after, generation, actor, reason`."""

predictions_recorded = Signal()
"""A batch of answers reached the log: `model, ids`, each id as `<uuid>:<row>`."""

rows_scored = Signal()
"""A batch of rows of a table has their predictions: `run` (a `ScoringRun`), `queryset_model`, `pks` (a list, in order)."""

label_recorded = Signal()
"""What turned out true for an answer was said, or corrected: `prediction` (a row of the log), `value, source, revision`."""

alert_raised = Signal()
"""Something was found that somebody should know, or it has become worse: `alert`."""

alert_resolved = Signal()
"""What an alert was about is over: `alert`."""
