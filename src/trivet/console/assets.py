"""The files a page loads: our own, and htmx as the installed django-htmx brings it.

They are served by the console itself, under an address that holds their digest, so a host project needs neither
static files set up nor django-htmx in `INSTALLED_APPS`. Where django-htmx is not installed the pages go without;
every form also works as a plain POST.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

HTMX = "htmx.js"
TYPES = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "trivet.svg": "image/svg+xml",
    HTMX: "text/javascript; charset=utf-8",
}
HTMX_FILES = ("htmx-2.min.js", "htmx.min.js")  # newer releases of django-htmx name it by its major version


@dataclass(frozen=True)
class Asset:
    """A file and the first digits of its SHA-256, which stand in its address so that it may be cached for ever."""

    name: str
    content_type: str
    content: bytes
    fingerprint: str


@cache
def asset(name: str) -> Asset | None:
    """Return the file a page knows as `name`, or None for any other name and for htmx where it is not installed."""
    if name not in TYPES:
        return None
    file = _htmx() if name == HTMX else files("trivet.console") / "files" / name
    if file is None:
        return None
    content = file.read_bytes()
    return Asset(name, TYPES[name], content, hashlib.sha256(content).hexdigest()[:16])


def _htmx() -> Traversable | None:
    try:
        folder = files("django_htmx") / "static" / "django_htmx"
    except ModuleNotFoundError:
        return None
    return next((folder / name for name in HTMX_FILES if (folder / name).is_file()), None)
