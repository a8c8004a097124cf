"""The headers of a request: how often they stand, who calls, from where, and what the body is said to be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from trivet.core.errors import InvalidRequest, TooLarge, Unauthenticated, UnsupportedMedia, quoted
from trivet.dataplane.protocol.compression import check_encoding

Headers = dict[bytes, bytes]
READ_AS_JSON = frozenset({"", "application/json", "application/octet-stream", "application/x-www-form-urlencoded"})
OTHER_MEDIA = frozenset({"predict_csv", "feedback_lines"})  # kinds whose media type was looked at to tell them
READ_BESIDES = {
    "predict": "application/json, or a table as text/csv in UTF-8",
    "feedback": "application/json, or a label a line as application/x-ndjson",
}
JSON_LENGTH = b"inference-header-content-length"  # of the JSON before binary tensors
SINGLE = (b"authorization", b"x-api-key", b"host", b"content-type", b"content-encoding", b"content-length", JSON_LENGTH)
REPEATED = b":repeated"  # no client can send a header of this name
_LENGTH = re.compile(rb"[0-9]{1,10}")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
_HOST = re.compile(r"(?P<name>[a-z0-9.-]+|\[[a-f0-9:.]+\])(:[0-9]+)?")


def read_headers(pairs: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Return headers by lower-case name. One that must stand once and does not is marked, for `Exchange` to refuse:
    a proxy in front may have judged the other.
    """
    headers = dict(pairs)
    if len(headers) != len(pairs):
        names = [name for name, _ in pairs]
        for name in SINGLE:
            if names.count(name) > 1:
                headers[REPEATED] = name
    return headers


def content_length(value: bytes | None) -> int:
    """Return the length a request declares, 0 where it declares none; raises `InvalidRequest` for what is no length."""
    if value is None:
        return 0
    if not _LENGTH.fullmatch(value):
        raise InvalidRequest("Content-Length is not a number of up to ten digits.", code="BAD_HEADER")
    return int(value)


def check_length(headers: Headers, most: int) -> None:
    """Judge the length of a body before it is read; raises `InvalidRequest`, `TooLarge` beyond `most` bytes."""
    if content_length(headers.get(b"content-length")) > most:
        raise too_large(most)


def too_large(most: int) -> TooLarge:
    """Return what is raised of a body over `most` bytes."""
    return TooLarge(f"the body is over {most} bytes (TRIVET_MAX_BODY_MB).")


def presented_key(headers: Headers) -> str | None:
    """Return the key a request presents; two different ones are refused, so that no proxy and server disagree."""
    authorization = headers.get(b"authorization")
    header = headers.get(b"x-api-key")
    key = None
    if authorization is not None:
        scheme, _, value = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not value:
            raise Unauthenticated("an API key is sent as 'Authorization: Bearer <key>'.", reason="malformed")
        key = value.strip()
    if header is not None:
        if key is not None and header.strip() != key:
            raise Unauthenticated("two different API keys were sent.", reason="conflicting")
        key = header.strip()
    return key.decode("latin-1") if key is not None else None


def presented_traceparent(headers: Headers) -> str:
    """Return the caller's place in its own trace; empty for none, and for what is none."""
    given = headers.get(b"traceparent", b"").decode("latin-1")
    return given if _TRACEPARENT.fullmatch(given) else ""


@lru_cache(maxsize=256)
def is_allowed_host(host: bytes, allowed: tuple[str, ...]) -> bool:
    """Judge a Host header as Django does: exact names, '.example.com' for a domain and what is below it, or '*'."""
    match = _HOST.fullmatch(host.decode("latin-1").lower())
    if match is None:
        return False
    name = match["name"].rstrip(".")
    return any(
        pattern in ("*", name) or (pattern.startswith(".") and (name.endswith(pattern) or name == pattern[1:]))
        for pattern in allowed
    )


def check_media(headers: Headers, kind: str) -> int | None:
    """Judge what the headers say of the body; return the length of the JSON that comes before binary tensors."""
    content_type, encoding = headers.get(b"content-type"), headers.get(b"content-encoding")
    if content_type is not None and kind not in OTHER_MEDIA and not _is_json(content_type):
        read = READ_BESIDES.get(kind, "application/json")
        raise UnsupportedMedia(f"content type {quoted(content_type.decode('latin-1'))} is not read here; send {read}.")
    if encoding is not None:
        check_encoding(encoding)
    length = headers.get(JSON_LENGTH)
    if length is None:
        return None
    if kind != "infer":
        raise InvalidRequest("binary tensors are for /infer; this path takes JSON.", code="BAD_HEADER")
    if not _LENGTH.fullmatch(length):
        raise InvalidRequest(
            f"Inference-Header-Content-Length is {quoted(length.decode('latin-1'))}; it is a number of up to ten digits.",
            code="BAD_HEADER",
        )
    return int(length)


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    media, parameters = _media_type(content_type)
    return media in READ_AS_JSON and parameters.get("charset", "utf-8") in ("utf-8", "utf8")


@lru_cache(maxsize=256)
def is_csv(content_type: bytes) -> bool:
    """True for a table in UTF-8 with a header line: without one nobody knows which column is which input."""
    media, parameters = _media_type(content_type)
    is_utf_8 = parameters.get("charset", "utf-8") in ("utf-8", "utf8")
    return media == "text/csv" and is_utf_8 and parameters.get("header", "present") == "present"


@lru_cache(maxsize=256)
def is_ndjson(content_type: bytes) -> bool:
    """True for JSON in UTF-8, a value a line."""
    media, parameters = _media_type(content_type)
    return media == "application/x-ndjson" and parameters.get("charset", "utf-8") in ("utf-8", "utf8")


def _media_type(content_type: bytes) -> tuple[str, dict[str, str]]:
    media, *parameters = (part.strip().lower() for part in content_type.decode("latin-1").split(";"))
    pairs = (parameter.partition("=") for parameter in parameters)
    return media, {name: value.strip('"') for name, _, value in pairs}
