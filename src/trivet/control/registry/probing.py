"""Probing a bundle on this machine, which keeps the environments that versions have of their own."""

from __future__ import annotations

from collections.abc import Collection

from trivet.control.registry.storage import environments_folder
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.golden import GoldenCase
from trivet.model.probe import ProbeResult, probe_in_fresh_process


def probe_here(bundle: Bundle, cases: Collection[GoldenCase]) -> ProbeResult:
    """Return what a fresh process finds of `bundle` and says to `cases`, in its own environment where it needs one."""
    return probe_in_fresh_process(bundle, cases, environments=environments_folder())
