"""Deadline: the instant by which a request is answered, or told that it will not be."""

from __future__ import annotations

from collections.abc import Mapping

from trivet.core.errors import DeadlineExceeded, InvalidRequest, quoted
from trivet.dataplane.protocol.messages import Scalar


def deadline_of(parameters: Mapping[str, Scalar] | None, most_seconds: float, now: float) -> float:
    """Return the deadline of a request that came at `now`, as an instant of `time.monotonic()`.

    It is `most_seconds` away, or as many microseconds as the request's parameter `timeout` says, if those are fewer; 0
    says nothing, as in Triton. Raises `InvalidRequest` for a `timeout` that is no count of microseconds.
    """
    if not parameters or (timeout := parameters.get("timeout")) is None:
        return now + most_seconds
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise InvalidRequest(f"timeout is {quoted(timeout)}: a whole number of microseconds.", code="BAD_PARAMETER")
    return now + min(timeout * 1e-6 or most_seconds, most_seconds)


def too_late(model: str, parameters: Mapping[str, Scalar] | None, most_seconds: float) -> DeadlineExceeded:
    """Return what is raised when the deadline is over: nothing was recorded, and the answer, if any, is not given."""
    timeout = (parameters or {}).get("timeout")
    seconds = deadline_of(parameters, most_seconds, 0.0)
    allowed = (
        f"{seconds:g} s, the request's own timeout"
        if timeout and seconds < most_seconds
        else f"the {seconds:g} s of TRIVET_DEADLINE_SECONDS"
    )
    return DeadlineExceeded(f"{model}: no answer within {allowed}. Send fewer rows at a time, or allow more time.")
