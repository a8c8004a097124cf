"""The runtime `skops`: a scikit-learn estimator or pipeline, saved by skops and loaded when all its types are allowed."""

from __future__ import annotations

from typing import Any, ClassVar

from skops import io

from trivet.core.errors import BundleError
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.native import Native
from trivet.model.runtimes.native.base import NativeRuntime
from trivet.model.runtimes.native.types import unlisted_types


class SkopsRuntime(NativeRuntime):
    """Any estimator that skops can save."""

    name: ClassVar[str] = "skops"
    files: ClassVar[tuple[str, ...]] = ("model.skops",)

    @classmethod
    def open(cls, data: bytes, name: str, bundle: Bundle, native: Native) -> Any:
        try:
            asked = io.get_untrusted_types(data=data)
            if strange := unlisted_types(asked, native.accepted_types):
                raise BundleError(
                    f"{name} holds types that are on no list and that nobody accepted: {', '.join(strange)}."
                )
            return io.loads(data, trusted=asked)
        except BundleError:
            raise
        except Exception as error:  # its exceptions, and those of the objects, share no base class
            raise BundleError(f"bundle {bundle.digest[:12]}…: skops cannot load it: {error}") from error
