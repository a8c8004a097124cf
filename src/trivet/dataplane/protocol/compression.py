"""Compression: bodies inflated under bounds, answers deflated for callers who take it (protocol, section 3)."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache

from trivet.core.errors import InvalidRequest, TooLarge, UnsupportedMedia, quoted

MAX_RATIO = 100  # bytes out for each byte in; JSON of numbers stays below 10
COMPRESSED_FROM = 4096  # bytes; a smaller answer fits a few packets, and inflating it costs more than they do
LEVEL = 1  # the fastest: higher ones take twice as long on an answer's digits, for a tenth less

_WINDOW_BITS = {"gzip": 31, "deflate": 15}  # as zlib numbers its containers; deflate on the web is the zlib format
_ZERO = re.compile(r"0(\.0*)?")


def check_encoding(encoding: bytes) -> str:
    """Return the name of a Content-Encoding that is read here, "" for none; raises `UnsupportedMedia` for another."""
    name = encoding.decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return ""
    if name not in _WINDOW_BITS:
        raise UnsupportedMedia(
            f"content encoding {quoted(name)} is not read here; send gzip, deflate, or the body as it is.",
            code="CONTENT_ENCODING",
        )
    return name


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return `body` without its gzip or deflate encoding; at most one byte beyond a bound is ever produced.

    Raises `TooLarge` beyond `limit` bytes or `MAX_RATIO`, `InvalidRequest` for a stream that is broken or cut off,
    `UnsupportedMedia` for anything after its end, a second gzip member included.
    """
    most = min(limit, MAX_RATIO * len(body))
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = stream.decompress(body, most + 1)
    except zlib.error:
        raise InvalidRequest(
            f"the body is not {encoding}, as its Content-Encoding says.", code="BAD_ENCODING"
        ) from None
    if len(plain) > most:
        bound = f"{limit} bytes (TRIVET_MAX_BODY_MB)" if most == limit else f"{MAX_RATIO} times its size"
        raise TooLarge(f"the inflated body is over {bound}.")
    if not stream.eof:
        raise InvalidRequest(f"the {encoding} body is cut off.", code="BAD_ENCODING")
    if stream.unused_data:
        raise UnsupportedMedia(
            f"something follows the {encoding} body; one encoding of one part is read.", code="CONTENT_ENCODING"
        )
    return plain


def deflate(body: bytes, encoding: str) -> bytes:
    """Return `body` as gzip or deflate."""
    stream = zlib.compressobj(LEVEL, wbits=_WINDOW_BITS[encoding])
    return stream.compress(body) + stream.flush()


@lru_cache(maxsize=256)
def accepted_encoding(accept: bytes) -> str:
    """Return the encoding to answer in: gzip, else deflate, where `Accept-Encoding` takes them; "" for neither."""
    taken: dict[str, bool] = {}
    for part in accept.decode("latin-1").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p.partition("=")[2].strip() for p in parameters if p.partition("=")[0].strip() == "q"), "1")
        taken[name] = not _ZERO.fullmatch(quality)
    return next((name for name in _WINDOW_BITS if taken.get(name, taken.get("*", False))), "")
