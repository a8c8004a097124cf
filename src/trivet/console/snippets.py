"""How to call a model, to be copied: the same row by each door."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from trivet.console.samples import Row
from trivet.core.examples import infer_body
from trivet.core.signature import Signature

LINE = 88  # characters
KEY = "$TRIVET_API_KEY"  # the shell's to fill in: no page shows a key


@dataclass(frozen=True)
class Snippet:
    """One way to call: its title, the text to copy, and for whom it is."""

    id: str
    title: str
    note: str
    text: str


def snippets(model: str, signature: Signature, row: Row, base_url: str) -> tuple[Snippet, ...]:
    """Return the ways to call `model` with `row`; `base_url` ends where `/v2` begins."""
    address = f"{base_url}/v2/models/{model}"
    return (
        Snippet(
            "rows",
            _("HTTP, named rows"),
            _("The short form: a row by name, a decision back."),
            curl(f"{address}/predict", {"rows": [row]}, depth=2),
        ),
        Snippet(
            "infer",
            _("Open Inference Protocol"),
            _("What every client of the protocol sends: named tensors."),
            curl(f"{address}/infer", infer_body(signature, row), depth=2),
        ),
        Snippet(
            "python", _("Python, in this project"), _("In any view or task; no network between."), _python(model, row)
        ),
    )


def curl(address: str, body: Mapping[str, Any], *, depth: int) -> str:
    """Return a shell command that posts `body`, one item a line down to `depth`; the shell fills in the key."""
    return "\n".join(
        (
            f"curl -s {shlex.quote(address)} \\",
            f'  -H "Authorization: Bearer {KEY}" \\',
            '  -H "Content-Type: application/json" \\',
            f"  -d {shlex.quote(_json(body, depth))}",
        )
    )


def _json(value: Any, depth: int, indent: str = "") -> str:
    """Return JSON with one item a line down to `depth`, and lines of some 88 characters below it."""
    inner = indent + "  "
    if depth and isinstance(value, dict):
        items = [f"{inner}{whole(key)}: {_json(part, depth - 1, inner)}" for key, part in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if depth and isinstance(value, list):
        return "[\n" + ",\n".join(inner + _json(item, depth - 1, inner) for item in value) + f"\n{indent}]"
    if isinstance(value, dict) and len(whole(value)) > LINE:
        items = [f"{whole(key)}: {whole(part)}" for key, part in value.items()]
        return "{" + _filled(items, indent + " ") + "}"
    return whole(value)


def whole(value: Any) -> str:
    """Return a value as JSON in one line, letters as they are."""
    return json.dumps(value, ensure_ascii=False)


def _filled(items: list[str], indent: str) -> str:
    """Return `items`, separated by commas, in lines no longer than they must be."""
    lines = [items[0]]
    for item in items[1:]:
        if len(indent) + len(lines[-1]) + len(item) + 2 > LINE:
            lines.append(item)
        else:
            lines[-1] += f", {item}"
    return f",\n{indent}".join(lines)


def _python(model: str, row: Row) -> str:
    items = _filled([f"{name!r}: {value!r}" for name, value in row.items()], "    ") if row else ""
    call = f"prediction = trivet.predict({model!r}, {{\n    {items},\n}})"
    return f"import trivet\n\n{call}\nprediction.decision, prediction.value, prediction.version"
