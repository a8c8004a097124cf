"""The headers of the console's own responses: nothing runs or loads but what this site serves itself."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from django.utils.cache import add_never_cache_headers

DIRECTIVES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
}
CONTENT_SECURITY_POLICY = "; ".join(f"{directive} {source}" for directive, source in DIRECTIVES.items())
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def guard(response: HttpResponseBase) -> None:
    """Put the console's headers on `response`, and keep caches from keeping it."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    add_never_cache_headers(response)
