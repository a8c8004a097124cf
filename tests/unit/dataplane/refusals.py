"""What holds of every refusal, whoever asked and however: the worlds of these tests look at each answer that they pass on."""

from __future__ import annotations

import json
import re

from trivet.dataplane.frontends.rest import Response
from trivet.dataplane.protocol.catalogue import HTTP_STATUS

LEAKS = re.compile(rb"Traceback|File \"|/src/|\.py\b|0x[0-9a-f]{6,}|trivet\.[a-z]")
OF_HEALTH = {"ready", "live", "name"}


def check_refusal(response: Response) -> None:
    """Raise where a refusal leaks, or is not the status, the header and the one key of its code (items 39 and 40)."""
    if response.status < 400:
        return
    headers = {name.decode(): value.decode() for name, value in response.headers}
    code = headers["trivet-error"]
    assert HTTP_STATUS[code] == response.status, code
    assert headers["content-type"] == "application/json"
    assert ("retry-after" in headers) == (response.status in (429, 503)), code
    assert not LEAKS.search(response.body), response.body
    if response.body:  # HEAD has none
        told = json.loads(response.body)
        assert isinstance(told["error"], str)
        assert set(told) - OF_HEALTH == ({"error", "errors"} if code == "INVALID_ROWS" else {"error"}), told
