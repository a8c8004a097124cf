"""A version's OpenAPI document for whoever stands above the planes: what its address answers, without a process that answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivet import conf
from trivet.core.signature import Signature
from trivet.dataplane.protocol.openapi import document


def openapi_document(
    model: str, number: int, signature: Signature, row: Mapping[str, Any], *, at: str | None, server: str
) -> dict[str, Any]:
    """Return the document of version `number` of `model`: `row` is its example, `at` the version in its paths.

    `server` is the address before `/v2`, so that the document may be read from anywhere.
    """
    found = document(model, number, signature, row, max_rows=conf.MAX_ROWS(), at=at)
    return found | {"servers": [{"url": server}]}
