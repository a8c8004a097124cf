"""Dimensions: the columns by whose values a version's rows are counted apart, and since when. Code declares them.

What is counted is a row for all processes to read, and stays for as long as its version: so whoever counts a prediction and
whoever counts its label go by the same, whatever release of the project's code they run.
"""

from __future__ import annotations

import hashlib
import logging
import time

import msgspec

from trivet.control.monitoring.models import Profile, ReferenceProfile
from trivet.control.monitoring.references import Watched
from trivet.control.registry.declarations import declared
from trivet.control.registry.models import ModelVersion
from trivet.core.errors import TrivetError, quoted
from trivet.core.profile.bins import TextBins
from trivet.core.profile.reference import NOTHING
from trivet.core.profile.segments import Dimension, decode_dimension, dimension_of, encode_dimension
from trivet.core.signature import unknown_input

logger = logging.getLogger(__name__)

MINUTE_NANOSECONDS = 60 * 10**9
NOTICED_MINUTES = 3  # until everybody who counts has read that there is another: they look each minute
LONGEST_NAME = 128  # letters, as the column takes them


def dimensions_of(version: ModelVersion) -> tuple[Dimension, ...]:
    """Return what the rows of `version` are counted apart by, in the order in which that began."""
    rows = ReferenceProfile.objects.filter(version=version, is_current=True).exclude(segment="").order_by("pk")
    found: dict[str, Dimension] = {}
    for name, payload in rows.values_list("segment", "payload"):
        try:
            found.setdefault(name, decode_dimension(payload))
        except TrivetError as error:  # damaged, or of a later release: the others are counted
            logger.warning("event=dimension_unreadable version=%d name=%s error=%s", version.pk, quoted(name), error)
    return tuple(found.values())


def begin_counting(found: Watched) -> tuple[Dimension, ...]:
    """Return what the rows of a version are counted apart by; what its model declares besides is from soon on.

    Of a version of which nothing was counted yet, it is from its first prediction on.
    """
    known = dimensions_of(found.version)
    there = {dimension.name for dimension in known}
    names = dict.fromkeys(name for name in declared(found.version.model.name).segments if name not in there)
    possible = (places_of(found, name) for name in names if not why_not(found, name))
    new = [dimension for dimension in possible if dimension is not None]
    if not new:
        return known
    is_counted = Profile.objects.filter(version=found.version).exists()
    since = (time.time_ns() // MINUTE_NANOSECONDS + NOTICED_MINUTES) * MINUTE_NANOSECONDS if is_counted else 0
    rows = [_row(found, msgspec.structs.replace(dimension, since=since)) for dimension in new]
    ReferenceProfile.objects.bulk_create(rows, ignore_conflicts=True)
    return dimensions_of(found.version)  # where somebody else began meanwhile, theirs is what counts


def why_not(found: Watched, name: str) -> str:
    """Return why a version's rows cannot be counted apart by the column called `name`; empty where they can."""
    if found.reference.task == NOTHING:
        return "this model gives nothing that can turn out right or wrong."
    return why_no_places(found, name)


def why_no_places(found: Watched, name: str) -> str:
    """Return why the values of the column called `name` part no rows of a version; empty where they do."""
    signature, hidden = found.version.read_signature(), found.version.model.sensitive or ()
    spec = next((one for one in signature.inputs if name in one.field_names), None)
    if spec is None:
        return unknown_input(name, signature.field_names)
    if name in hidden or spec.name in hidden:
        return f"{quoted(name)} is sensitive: no record has its values, so no row can be told by them."
    if any(isinstance(bins, TextBins) and bins.name == name for bins in found.reference.features):
        return f"{quoted(name)} is a free text: nearly each row has a value of its own."
    if len(name) > LONGEST_NAME or places_of(found, name) is None:
        return f"the reference of this version does not count {quoted(name)}."
    return ""


def places_of(found: Watched, name: str) -> Dimension | None:
    """Return how the values of the column called `name` part the rows of a version; None where they cannot."""
    specs = found.version.read_signature().inputs
    is_whole = any("INT" in spec.datatype for spec in specs if name in spec.field_names)
    return dimension_of(found.reference, name, is_whole=is_whole)


def _row(found: Watched, dimension: Dimension) -> ReferenceProfile:
    payload = encode_dimension(dimension)
    return ReferenceProfile(
        version=found.version,
        segment=dimension.name,
        payload=payload,
        rows=found.reference.whole.rows,
        sha256=hashlib.sha256(payload).hexdigest(),
    )
