"""A corpus of bodies that are too large, that lie about themselves, come in crumbs, or unfold: made from a few tables.

Each case says how a prediction path and a page answer it first; `NOBODY` where the body never comes whole, so that nobody
is left to answer. The bound of a body is `MOST`: whoever serves them sets TRIVET_MAX_BODY_MB to it.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tests.acceptance.framing import CRLF, Target, chunked, length, post
from trivet.dataplane.frontends.asgi import MAX_CHUNKS
from trivet.dataplane.frontends.slow_lane import LARGE_BYTES
from trivet.dataplane.frontends.uvicorn import LENGTH_DIGITS, MAX_FRAMING, READ_BYTES
from trivet.dataplane.protocol.compression import MAX_RATIO

MIB = 1 << 20
MOST_MB = 4  # over 2.5, from where Django keeps a file that is sent in a file
MOST = MOST_MB * MIB
NOBODY = 0
DENIED = 403  # a page has read the form, and found no token in it
NEITHER = -1  # a page has read it, or refused it as no form
MILLION = 1_000_000
CODING = b"Transfer-Encoding: chunked"
NOTHING_LEFT = b"0\r\n\r\n"
SEED = 20_29


class Case(NamedTuple):
    """One request, and the status of its first answer where it goes to a prediction path, and where to a page."""

    name: str
    sent: bytes
    prediction: int
    page: int = DENIED


Family = Callable[[Target], Iterator[Case]]


def refused(name: str, sent: bytes, status: int) -> Case:
    """Return a case that both refuse alike: it is not HTTP, or beyond a bound that both have."""
    return Case(name, sent, status, status)


def in_pieces(body: bytes, size: int) -> bytes:
    """Return `body` in chunks of `size` bytes, and the last."""
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + NOTHING_LEFT


# --- sizes and lengths --------------------------------------------------------------------------------------------------


def sizes(target: Target) -> Iterator[Case]:
    """Bodies as long as they may be, a byte less and a byte more; the same where one road ends and the next begins."""
    for size in (MOST - 1, MOST, MOST + 1):
        body, wanted = target.body.ljust(size), (200, NEITHER) if size <= MOST else (413, 413)
        yield Case(f"{size} bytes", post(target, length(body), body=body), *wanted)
        yield Case(f"{size} bytes in one chunk", post(target, CODING, body=chunked(body)), *wanted)
        yield Case(f"{size} bytes in chunks", post(target, CODING, body=in_pieces(body, 65_537)), *wanted)
        waiting = post(target, b"Expect: 100-continue", length(body), body=body)
        yield Case(f"{size} bytes, once they may come", waiting, *wanted)
    for edge in (10 ** (LENGTH_DIGITS - 1), READ_BYTES, LARGE_BYTES):
        for size in (edge - 1, edge, edge + 1):
            body = target.body.ljust(size)
            yield Case(f"{size} bytes", post(target, length(body), body=body), 200)
    for body in (b"", b" ", b"{"):
        yield Case(f"the body {body!r}", post(target, length(body), body=body), 400)
        yield Case(f"the body {body!r} in a chunk", post(target, CODING, body=in_pieces(body, 1)), 400)
    for digits in (b"9" * 10, b"9" * 18):
        told = post(target, b"Content-Length: " + digits, body=target.body)
        yield refused(f"a length of {len(digits)} nines", told, 413 if len(digits) <= 10 else 400)


def lengths(target: Target) -> Iterator[Case]:
    """Lengths that are not the body's, that stand twice, that are no numbers."""
    body = target.body
    for told in (0, 1, len(body) - 1):
        yield Case(f"{told} told, {len(body)} sent", post(target, b"Content-Length: %d" % told), 400)
    for told in (len(body) + 1, 10**5 - 1, 10**5, MOST):
        yield refused(f"{told} told, {len(body)} sent", post(target, b"Content-Length: %d" % told), NOBODY)
    cut = post(target, CODING, body=chunked(body)[:-5])
    yield refused("chunks without their last", cut, NOBODY)
    yield refused("a chunk shorter than it says", post(target, CODING, body=b"%x\r\n%b" % (MOST, body)), NOBODY)
    for first, second in ((0, 0), (0, 5), (5, 0), (5, 5), (5, MOST + 1)):
        head = (b"Content-Length: %d" % (len(body) + first), b"Content-Length: %d" % (len(body) + second))
        yield refused(f"{first} and {second} more", post(target, *head), 400)
    own = b"%d" % len(body)
    for value in (
        b"-%b",
        b"+%b",
        b"--%b",
        b"%b.0",
        b"%be0",
        b"0x%b",
        b"%b,%b",
        b"%b, %b",
        b"%b;",
        b"'%b'",
        b"%b-",
        b"-0",
    ):
        given = value.replace(b"%b", own)
        yield refused(f"the length {given!r}", post(target, b"Content-Length: " + given), 400)


def tensor_lengths(target: Target) -> Iterator[Case]:
    """Lengths of the JSON before the tensors, and of tensors, that lie, stand twice, have a sign."""
    data = np.array([5.0], "<f8").tobytes()
    inputs = [
        {"name": "tenure", "shape": [1, 1], "datatype": "FP64", "parameters": {"binary_data_size": 8}},
        {"name": "plan", "shape": [1, 1], "datatype": "BYTES", "data": ["pro"]},
        {"name": "seats", "shape": [1, 1], "datatype": "INT64", "data": [3]},
    ]

    def sent(name: str, status: int, *, by: int = 0, size: object = 8, head: bytes = b"", more: bytes = data) -> Case:
        inputs[0]["parameters"] = {"binary_data_size": size}
        text = json.dumps({"inputs": inputs}).encode()
        line = head or b"Inference-Header-Content-Length: %d" % (len(text) + by)
        body = text + more
        return Case(name, post(target, line.replace(b"%b", b"%d" % len(text)), length(body), body=body), status)

    yield sent("as it should be", 200)
    for by in (-1, 1, len(data), len(data) + 1, 10**6):
        yield sent(f"JSON that is {by} longer", 400, by=by)
    for size in (7, 9, 0, -8, "8", 8.0, True, None, [8], 2**63, 2**64, -(2**63)):
        yield sent(f"a tensor of {size!r} bytes", 400, size=size)
    for more in (b"", data[:-1], data + b"\0", data * 2):
        yield sent(f"a tensor of 8 bytes, {len(more)} sent", 400, more=more)
    name = b"Inference-Header-Content-Length: "
    for value in (b"-%b", b"+%b", b"%b.0", b"0x%b", b"%b,%b", b"%b %b", b"", b"x", b"9" * 11):
        yield sent(f"the length {value!r}", 400, head=name + value)
    for second in (b"%b", b"0", b"x"):
        yield sent(f"a second length {second!r}", 400, head=name + b"%b\r\n" + name + second)


# --- chunks -------------------------------------------------------------------------------------------------------------


def crumbs(target: Target) -> Iterator[Case]:
    """Chunks of one byte: as many as there may be, one more, and a million."""
    for count in (MAX_CHUNKS - 1, MAX_CHUNKS, MAX_CHUNKS + 1, MILLION):
        body = in_pieces(target.body.ljust(count), 1)
        wanted = (200, DENIED) if count <= MAX_CHUNKS else (413, 413)
        yield Case(f"{count} chunks of a byte", post(target, CODING, body=body), *wanted)
    long = b"".join(b"%08x\r\n%c\r\n" % (1, byte) for byte in target.body) + NOTHING_LEFT
    yield Case("sizes with zeros before", post(target, CODING, body=long), 200)


def extensions(target: Target) -> Iterator[Case]:
    """What may stand behind the size of a chunk: some of it is right, none of it means anything here, all has a bound."""
    size, last = b"%x" % len(target.body), NOTHING_LEFT

    def framed(extension: bytes, end: bytes = last) -> bytes:
        return post(target, CODING, body=size + extension + CRLF + target.body + CRLF + end)

    few = (b";a", b";a=b", b';a="b"', b';a="b;c"', b";a=b;c=d", b";" + b"x" * 4_000, b";a=" + b"b" * 65_536)
    for right in (*few, b";a=1" * 500, b';a="' + b"b" * 300_000 + b'"'):
        yield Case(f"the extension {right[:12]!r} of {len(right)} bytes", framed(right), 200)
    yield Case("an extension of the last chunk", framed(b"", b"0;a=b\r\n\r\n"), 200)
    for wrong in (b";a=\x00", b";a\x01", b";a=b\r", b";a=b\n", b';a="b\r\n"', b" a", b"g;b", b",a=b", b":a", b"\x00"):
        yield refused(f"the extension {wrong!r}", framed(wrong), 400)
    yield refused("an endless extension", framed(b";a=" + b"b" * (2 * MAX_FRAMING)), 413)
    each = b"".join(b"1;%b\r\n%c\r\n" % (b"x" * 100, byte) for byte in target.body.ljust(20_000)) + last
    yield refused("extensions of a hundred bytes, on 20,000 chunks", post(target, CODING, body=each), 413)
    some = b"".join(b"1;%b\r\n%c\r\n" % (b"x" * 100, byte) for byte in target.body.ljust(5_000)) + last
    yield Case("extensions of a hundred bytes, on 5,000 chunks", post(target, CODING, body=some), 200)


def trailers(target: Target) -> Iterator[Case]:
    """Headers behind the body: they are read over, however many, up to a bound, and never become headers."""
    chunk = b"%x\r\n%b\r\n0\r\n" % (len(target.body), target.body)

    def ended(*lines: bytes) -> bytes:
        return post(target, CODING, body=chunk + b"".join(line + CRLF for line in lines) + CRLF)

    for line in (
        *(b"X: y", b"X:", b"Expires: 0", b"Authorization: Bearer x", b"X-Api-Key: x", b"Host: elsewhere"),
        *(b"Content-Type: application/x-pickle", b"Content-Encoding: gzip", b"Connection: close"),
        *(b"Inference-Header-Content-Length: 5", b"X-Request-Id: of-the-trailer", b"Expect: 100-continue"),
    ):
        yield Case(f"the trailer {line!r}", ended(line), 200)
    for count in (101, 1_000, 10_000):
        yield Case(f"{count} trailers", ended(*(b"X%d: y" % number for number in range(count))), 200)
    yield refused("200,000 trailers", ended(*(b"X%d: y" % number for number in range(200_000))), 413)
    yield refused("an endless trailer", ended(b"X: " + b"y" * (2 * MAX_FRAMING)), 413)
    for line in (b"Content-Length: 5", b"nonsense", b": y", b"X : y", b"X\x00: y", b"X: y\rZ: y", b" X: y", b"(X): y"):
        yield refused(f"the trailer {line!r}", ended(line), 400)


# --- encodings ----------------------------------------------------------------------------------------------------------


def bombs(target: Target) -> Iterator[Case]:
    """Small bodies that are large ones, in each of the ways that gzip and deflate have, at the bound and beyond."""
    noise = bytes(random.Random(SEED).choices(b" \t\r\n", k=65_536))
    room = (target.body + noise * (MOST // len(noise) + 1))[: MOST + 1]  # it shrinks, but not to a hundredth
    pack: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": _gzip, b"deflate": lambda data: zlib.compress(data, 1)}
    for encoding, packed in pack.items():
        for size in (MOST - 1, MOST, MOST + 1):
            yield _encoded(
                target, f"{size} bytes of {encoding!r}", encoding, packed(room[:size]), 200 if size <= MOST else 413
            )
        base = target.body + noise[:4_096]
        beyond = range(10_000, 400_000)
        most = beyond[bisect_left(beyond, True, key=lambda size: size > MAX_RATIO * len(packed(base.ljust(size))))]
        for size, status in ((most - 1, 200), (most, 413)):
            yield _encoded(target, f"{size} bytes by ratio of {encoding!r}", encoding, packed(base.ljust(size)), status)
        yield _encoded(target, f"a gigabyte of {encoding!r}", encoding, _endless(encoding, 1_024), 413)
    rng = random.Random(SEED)
    deep = _gzip(b"".join(b'{"%x":' % rng.getrandbits(32) for _ in range(10_000)))
    yield _encoded(target, "depth that unfolds", b"gzip", deep, 400)
    one = _gzip(target.body)
    yield _encoded(target, "10,000 members", b"gzip", one + _gzip(b" ") * 10_000, 415)
    named = bytearray(one)
    named[3] = 8  # a name follows, which ends with a zero
    yield _encoded(target, "a name of a megabyte", b"gzip", bytes(named[:10]) + b"n" * MIB + b"\0" + one[10:], 200)
    yield _encoded(target, "a name that never ends", b"gzip", bytes(named[:10]) + b"n" * MIB, 400)
    empty = b"\0\0\0\xff\xff" * 200_000  # stored blocks of no bytes
    yield _encoded(
        target, "blocks of nothing", b"deflate", b"\x78\x01" + empty + zlib.compress(target.body, 0)[2:], 200
    )
    yield _encoded(target, "blocks of nothing, and no end", b"deflate", b"\x78\x01" + empty, 400)


def broken_encodings(target: Target) -> Iterator[Case]:
    """Streams that are not what their header says, end too soon, or go on."""
    plain, zipped, shrunk = target.body, _gzip(target.body), zlib.compress(target.body)
    for name, encoding, body, status in (
        ("plain", b"gzip", plain, 400),
        ("plain", b"deflate", plain, 400),
        ("gzip", b"deflate", zipped, 400),
        ("deflate", b"gzip", shrunk, 400),
        ("deflate without a frame", b"deflate", shrunk[2:-4], 400),
        ("nothing", b"gzip", b"", 400),
        ("ten bytes", b"gzip", zipped[:10], 400),
        ("all but a byte", b"gzip", zipped[:-1], 400),
        ("all but a byte", b"deflate", shrunk[:-1], 400),
        ("a wrong sum", b"gzip", zipped[:-8] + bytes(8), 400),
        ("a wrong sum", b"deflate", shrunk[:-4] + bytes(4), 400),
        ("a wrong length", b"gzip", zipped[:-4] + b"\xff" * 4, 400),
        ("a dictionary that nobody has", b"deflate", _with_dictionary(plain), 400),
        ("a byte behind", b"gzip", zipped + b"x", 415),
        ("a byte behind", b"deflate", shrunk + b"x", 415),
        ("the plain body behind", b"gzip", zipped + plain, 415),
        ("as it should be", b"gzip", zipped, 200),
        ("as it should be", b"deflate", shrunk, 200),
        ("capitals", b"GZIP", zipped, 200),
        ("nothing done", b"identity", plain, 200),
    ):
        yield _encoded(target, f"{name} as {encoding!r}", encoding, body, status)
    rng = random.Random(SEED)
    for number in range(40):
        spoilt = bytearray(zipped)
        spoilt[rng.randrange(10, len(spoilt))] ^= 1 << rng.randrange(8)
        status = 200 if _is_whole(bytes(spoilt), plain) else 400  # a few bits mean nothing
        yield _encoded(target, f"bit {number} flipped", b"gzip", bytes(spoilt), status)


def double_encodings(target: Target) -> Iterator[Case]:
    """More than one encoding, in one header, in two, beneath each other, beside a transfer coding; and unknown ones."""
    zipped = _gzip(target.body)
    for value in (
        b"gzip, gzip",
        b"gzip,deflate",
        b"deflate, gzip",
        b"gzip, identity",
        b"identity, identity",
        b"gzip,",
        b",",
    ):
        yield _encoded(target, f"{value!r}", value, _gzip(zipped), 415)
    for value in (b"br", b"zstd", b"compress", b"x-gzip", b"lzma", b"gzip;q=1", b"*", b"aes128gcm", b"gz ip", b"\xff"):
        yield _encoded(target, f"{value!r}", value, zipped, 415)
    for second in (b"gzip", b"identity", b"br"):
        head = (b"Content-Encoding: gzip", b"Content-Encoding: " + second, length(zipped))
        yield Case(f"gzip and {second!r}", post(target, *head, body=zipped), 400, NEITHER)
    yield _encoded(target, "packed twice, told once", b"gzip", _gzip(zipped), 400)
    both = post(target, b"Content-Encoding: gzip", CODING, body=in_pieces(zipped, 7))
    yield Case("gzip in chunks", both, 200, NEITHER)
    for value in (b"gzip, chunked", b"gzip", b"chunked, gzip"):
        coded = post(target, b"Transfer-Encoding: " + value, body=chunked(zipped))
        yield refused(f"the transfer coding {value!r}", coded, 400)


def _encoded(target: Target, name: str, encoding: bytes, body: bytes, status: int) -> Case:
    """Return a case of one encoding; a page reads the bytes as they come, whatever they are called."""
    return Case(name, post(target, b"Content-Encoding: " + encoding, length(body), body=body), status, NEITHER)


def _is_whole(packed: bytes, plain: bytes) -> bool:
    try:
        return gzip.decompress(packed) == plain
    except (OSError, EOFError, zlib.error):
        return False


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def _endless(encoding: bytes, mebibytes: int) -> bytes:
    """Return so many mebibytes of spaces, packed; the sum at the end is wrong, but nobody should come so far."""
    stream = zlib.compressobj(9, wbits=-15)
    block = stream.compress(b" " * MIB) + stream.flush(zlib.Z_FULL_FLUSH)  # after which the same bits mean the same
    head = {b"gzip": _gzip(b"")[:10], b"deflate": b"\x78\xda"}[encoding]
    return head + block * mebibytes + b"\x03\x00" + bytes(8)


def _with_dictionary(data: bytes) -> bytes:
    stream = zlib.compressobj(zdict=b"inputs shape datatype")
    return stream.compress(data) + stream.flush()


# --- multipart ----------------------------------------------------------------------------------------------------------


def multipart(target: Target) -> Iterator[Case]:
    """Forms of parts, well and badly made: no prediction path reads any, and a page none without bounds."""

    def form(name: str, body: bytes, page: int = NEITHER, kind: bytes = b"form-data; boundary=b") -> Case:
        lines = (b"Content-Type: multipart/" + kind, length(body))
        head = Target(target.path, _without_type(target.head), body)
        return Case(name, post(head, *lines), page if page == 413 else 415, page)

    def part(head: bytes, body: bytes = b"v") -> bytes:
        return b"--b\r\n%b\r\n\r\n%b\r\n" % (head, body)

    field, end = b'Content-Disposition: form-data; name="%b"', b"--b--\r\n"
    file = field.replace(b"%b", b"f") + b'; filename="%b"\r\nContent-Type: application/octet-stream'
    yield form("one part", part(field % b"username") + end)
    yield form("no part", end)
    yield form("nothing", b"")
    yield form("no end", part(field % b"a"))
    yield form("no boundary", part(field % b"a") + end, 400, b"form-data")
    yield form("an empty boundary", part(field % b"a") + end, 400, b"form-data; boundary=")
    yield form("a boundary of 300 bytes", part(field % b"a") + end, 400, b"form-data; boundary=" + b"b" * 300)
    yield form("a boundary that is no text", part(field % b"a") + end, 400, b"form-data; boundary=\xff\xfe")
    yield form("mixed, not form-data", part(field % b"a") + end, DENIED, b"mixed; boundary=b")
    yield form("a thousand parts", b"".join(part(field % b"a%d" % number) for number in range(1_000)) + end)
    yield form("10,000 parts", b"".join(part(field % b"a%d" % number) for number in range(10_000)) + end, 400)
    yield form("200 files", b"".join(part(file % b"f%d" % number) for number in range(200)) + end, 400)
    yield form("a field of a megabyte", part(field % b"a", b"v" * MIB) + end)
    yield form("a file of a megabyte", part(file % b"f", b"v" * MIB) + end)
    yield form("a file of three", part(file % b"f", b"v" * 3 * MIB) + end)
    yield form("a file of three that never ends", part(file % b"f", b"v" * 3 * MIB))
    yield form("a head of a megabyte", part(field % (b"a" * MIB)) + end, 400)
    yield form("1,000 heads in a part", part(CRLF.join([field % b"a", *(b"X%d: y" % n for n in range(1_000))])) + end)
    yield form("no head", b"--b\r\n\r\nv\r\n" + end)
    yield form("a head that is none", part(b"\x00\xff") + end)
    for name in (b"../../x", b"/etc/passwd", b"..\\..\\x", b"C:\\x", b"\x00", b"a" * 5_000, b".", b"", b"x\r\n.y"):
        yield form(f"a file called {name[:10]!r}", part(file % name) + end)
    starred = field % b"f" + b"; filename*=utf-8''%2e%2e%2f%00x"
    yield form("a name in another form", part(starred) + end)
    for way in (b"base64", b"quoted-printable", b"x-uuencode", b"binary"):
        yield form(
            f"a part in {way!r}",
            part(field % b"a" + b"\r\nContent-Transfer-Encoding: " + way, b"!" * 999) + end,
        )
    yield form(
        "a part in another set", part(field % b"a" + b"\r\nContent-Type: text/plain; charset=utf-7", b"+ADw-") + end
    )
    inner = part(field % b"a").replace(b"--b", b"--c") + b"--c--\r\n"
    for _ in range(200):
        inner = part(b"Content-Type: multipart/mixed; boundary=c", inner)
    yield form("parts in parts in parts", inner + end)
    yield form("boundaries and nothing else", b"--b\r\n" * 100_000 + end)
    yield form("almost boundaries", part(field % b"a", b"\r\n--" * 200_000) + end)
    yield form("more than there may be", part(file % b"f", b"v" * MOST) + end, 413)


def _without_type(head: bytes) -> bytes:
    return CRLF.join(line for line in head.split(CRLF) if not line.lower().startswith(b"content-type"))


FAMILIES: dict[str, Family] = {
    "H20": sizes,
    "H21": lengths,
    "H22": tensor_lengths,
    "H23": crumbs,
    "H24": extensions,
    "H25": trailers,
    "H26": bombs,
    "H27": broken_encodings,
    "H28": double_encodings,
    "H29": multipart,
}
