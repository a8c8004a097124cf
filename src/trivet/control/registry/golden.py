"""A model's golden cases: read, and put to a version in a fresh process."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from django.db import router

from trivet.control.registry.models import GoldenCaseRow, ModelVersion
from trivet.control.registry.probing import probe_here
from trivet.control.registry.storage import fetch_bundle
from trivet.core.errors import Refused
from trivet.model.bundle.golden import GoldenCase
from trivet.model.probe import ProbeResult


def case_of(row: GoldenCaseRow) -> GoldenCase:
    """Return what a row keeps, as a bundle's file has it."""
    return msgspec.convert({"inputs": row.inputs, "expect": row.expect}, GoldenCase)


def cases_of(model: str) -> list[GoldenCase]:
    """Return the cases that are in force for the model called `model`, oldest first."""
    database = router.db_for_write(GoldenCaseRow)  # a replica may not know yet of one that was added just now
    return [case_of(row) for row in GoldenCaseRow.objects.using(database).in_force().filter(model__name=model)]


class Proof(NamedTuple):
    """What a version was asked before it may have traffic: whoever holds the lock compares it with what is in force."""

    cases: list[GoldenCase]


def prove(version: ModelVersion) -> Proof:
    """Put the model's golden cases to `version`; raises `Refused` with the first that fails.

    Takes about a second where there are cases, and nothing where there are none. Call it outside of a transaction.
    """
    cases = cases_of(version.model.name)
    if cases:
        found = probe_here(fetch_bundle(version.digest), cases)
        if why := refusal_of(version, found):
            raise Refused(why)
    return Proof(cases)


def refusal_of(version: ModelVersion, found: ProbeResult) -> str:
    """Return why a version that answered so gets no traffic; "" when it may."""
    if not found.passed:
        return f"{version} cannot be asked its golden cases: {found.reason}."
    if found.golden_failures:
        first, *others = found.golden_failures
        more = f" And {len(others)} more." if others else ""
        return f"{version} fails a golden case: {first}.{more}"
    return ""
