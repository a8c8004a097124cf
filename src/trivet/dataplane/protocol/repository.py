"""What the paths of the model repository are sent (protocol, section 12)."""

from __future__ import annotations

import msgspec

from trivet.core.errors import InvalidRequest, quoted
from trivet.dataplane.protocol.decode import decode_json
from trivet.dataplane.protocol.messages import Scalar


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What `/v2/repository/index` is sent."""

    ready: bool | None = None


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    """What `load` and `unload` are sent."""

    parameters: dict[str, Scalar] | None = None


_asked = msgspec.json.Decoder(_Asked)
_change = msgspec.json.Decoder(_Change)


def decode_index(body: bytes) -> bool:
    """Return whether only ready versions are asked for; the body may be empty. Raises `InvalidRequest`."""
    return bool(body) and bool(decode_json(_asked, body).ready)


def check_change(body: bytes) -> None:
    """Raise `InvalidRequest` for a body that would change what a bundle is; `unload_dependents` has no effect."""
    parameters = (decode_json(_change, body).parameters if body else None) or {}
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise InvalidRequest(
                f"parameter {quoted(name)}: a bundle is immutable; register another version.", code="BAD_PARAMETER"
            )
