"""Testing: answers in place of models, what was asked of them, and assertions, for the tests of projects that use Trivet.

Once Django's test environment is set up no version is loaded, and neither model files nor what trains models is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivet.serving.stubs import Asked as Asked, Outbox as Outbox, outbox as outbox
    from trivet.testing.assertions import PredictionAssertions as PredictionAssertions
    from trivet.testing.overriding import override_predictor as override_predictor, real_predictions as real_predictions

_HOMES = {
    "Asked": "trivet.serving.stubs",
    "Outbox": "trivet.serving.stubs",
    "PredictionAssertions": "trivet.testing.assertions",
    "outbox": "trivet.serving.stubs",
    "override_predictor": "trivet.testing.overriding",
    "real_predictions": "trivet.testing.overriding",
}

__all__ = ["Asked", "Outbox", "PredictionAssertions", "outbox", "override_predictor", "real_predictions"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # on first use: pytest reads `plugin` before Django has settings
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'trivet.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
