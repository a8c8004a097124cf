"""Parameters: which a request may carry, of what type, and within which bounds (protocol, sections 6 and 18)."""

from __future__ import annotations

from collections.abc import Mapping

from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.protocol.messages import Scalar

MAX_PARAMETERS = 64
MAX_KEY = 64  # characters
MAX_TEXT = 1024
MAX_CALLERS_KEY = 128  # characters of `route_key` and `entity_key`
LEAST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1  # what a record can hold

_BOOL, _INTEGER, _DURATION = "true or false", "a whole number", "a whole number of microseconds"
_TEXT = f"a string of at most {MAX_CALLERS_KEY} characters"
_KINDS = {
    "binary_data": _BOOL,
    "binary_data_output": _BOOL,
    "cache": _BOOL,
    "classification": _INTEGER,
    "entity_key": _TEXT,
    "priority": _INTEGER,
    "route_key": _TEXT,
    "timeout": _DURATION,
}
_NEVER = ("sequence_", "shared_memory_", "triton_")  # what such names begin with
_CONTENT_TYPES = ("np", "pd", "str", "base64")


def check_parameters(parameters: Mapping[str, Scalar]) -> None:
    """Raise `InvalidRequest` for parameters beyond their bounds, of the wrong type, or ones no request may set.

    Those of a request, of a tensor and of a requested output share one list of names; null counts as absent.
    """
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidRequest(f"{len(parameters)} parameters; at most {MAX_PARAMETERS} are read.", code="TOO_MANY")
    for key, value in parameters.items():
        if len(key) > MAX_KEY or (isinstance(value, str) and len(value) > MAX_TEXT):
            raise InvalidRequest(
                f"parameter {quoted(key)}: keys have at most {MAX_KEY} characters, values {MAX_TEXT}.",
                code="BAD_PARAMETER",
            )
        if value is None:
            continue
        if isinstance(value, int) and not LEAST_INTEGER <= value <= LARGEST_INTEGER:
            raise InvalidRequest(f"parameter {quoted(key)} has over 64 bits.", code="BAD_PARAMETER")
        if (kind := _KINDS.get(key)) is not None:
            if not _is(kind, value):
                raise InvalidRequest(f"parameter {quoted(key)} is {quoted(value)}; it is {kind}.", code="BAD_PARAMETER")
        elif key == "content_type":
            if value not in _CONTENT_TYPES:
                raise InvalidRequest(f"content_type {quoted(value)} is not read here.", code="BAD_PARAMETER")
        elif key == "headers" or (key.startswith(_NEVER) and not (key == "sequence_id" and value in (0, ""))):
            raise InvalidRequest(f"parameter {quoted(key)} is not offered here.", code="BAD_PARAMETER")


def _is(kind: str, value: Scalar) -> bool:
    if kind is _BOOL:
        return isinstance(value, bool)
    if kind is _TEXT:
        return isinstance(value, str) and len(value) <= MAX_CALLERS_KEY
    return isinstance(value, int) and not isinstance(value, bool)
