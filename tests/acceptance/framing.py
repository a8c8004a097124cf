"""A corpus of requests whose frame is doubtful, made from a few tables: what one server reads one way, another reads another.

Each case says what is right: `refused` (no 2xx may come of it), `answered` (it is odd but means one thing), or `either`.
Where a case carries a second request inside, that one asks for `SMUGGLED`, and nobody may ever answer it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Wanted = Literal["refused", "answered", "either"]
SMUGGLED = "/v2/health/live"  # public, so a request that got through would be answered with 200 {"live":true}
INNER = f"GET {SMUGGLED} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
SEED = 20_46
CRLF = b"\r\n"


class Target(NamedTuple):
    """Where a case goes: the prediction path and its key, or a page of the site behind."""

    path: bytes
    head: bytes  # lines that every request has
    body: bytes


class Case(NamedTuple):
    """One case: what is sent, and what is right."""

    name: str
    sent: bytes
    wanted: Wanted
    may_continue: bool = True  # False: what comes after it on the connection is not HTTP any more


Family = Callable[[Target], Iterator[Case]]


def post(target: Target, *lines: bytes, body: bytes | None = None, version: bytes = b"1.1", path: bytes = b"") -> bytes:
    """Return a POST whose head is `lines` beside the target's own."""
    head = [b"POST %b HTTP/%b" % (path or target.path, version), target.head, *lines]
    return CRLF.join(head) + 2 * CRLF + (target.body if body is None else body)


def length(body: bytes) -> bytes:
    return b"Content-Length: %d" % len(body)


def chunked(body: bytes) -> bytes:
    """Return `body` as one chunk, and the last."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def length_and_chunks(target: Target) -> Iterator[Case]:
    """Both ways to say how long a body is, in either order, in either version."""
    chunks = chunked(target.body)
    coding = b"Transfer-Encoding: chunked"
    for version in (b"1.1", b"1.0"):
        for told in (0, 4, len(chunks), len(chunks) + len(INNER)):
            given = b"Content-Length: %d" % told
            for order in ((given, coding), (coding, given)):
                yield Case(
                    f"CL {told} and TE in {version.decode()} {order[0][:2].decode()}",
                    post(target, *order, body=chunks + INNER, version=version),
                    "refused",
                )
    for value in (b"0", b"5, 5", b"5,6", b"5 5", b"+5", b"-5", b"0x5", b"5.0", b"", b"5;", b"\xb25", b"1" * 20, b"1e1"):
        yield Case(f"CL {value!r}", post(target, b"Content-Length: " + value, body=target.body + INNER), "refused")
    for first, second in ((5, 6), (len(target.body), 0), (0, len(target.body))):
        lines = (b"Content-Length: %d" % first, b"Content-Length: %d" % second)
        yield Case(f"CL {first} then {second}", post(target, *lines, body=target.body + INNER), "refused")
    same = length(target.body)
    yield Case("CL twice the same", post(target, same, same), "refused")
    yield Case("CL with zeros before", post(target, b"Content-Length: 000%d" % len(target.body)), "either")
    yield Case("CL behind a tab", post(target, b"Content-Length:\t%d" % len(target.body)), "answered")


def obscured_coding(target: Target) -> Iterator[Case]:
    """A transfer coding in words that one server takes for `chunked` and another does not."""
    body = chunked(target.body)
    for value in (b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked "):
        yield Case(f"TE {value!r}", post(target, b"Transfer-Encoding: " + value, body=body), "answered")
    for value in (
        *(b"xchunked", b"chunke", b"chunkedd", b"chunk", b"identity", b"gzip", b"x", b'"chunked"', b"chunked;q=1"),
        *(b"chunked, identity", b"chunked, gzip", b"gzip, chunked", b"identity, chunked", b"chunked, chunked"),
        *(b", chunked", b"chunked,", b"chunked\x0b", b"\x0bchunked", b"\x0cchunked", b"chunked\x00", b"\xa0chunked"),
        *(b"", b"trailers", b"chunked chunked", b"chunked\xff", b"deflate, chunked"),
    ):
        yield Case(f"TE {value!r}", post(target, b"Transfer-Encoding: " + value, body=body + INNER), "refused")
    for line in (
        *(b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked"),
        *(b"Transfer Encoding: chunked", b"Transfer-Encoding\x00: chunked", b"Transfer-Encoding:\x00chunked"),
        *(b"Transfer-Encoding:\n chunked", b"Transfer-Encoding:\r\n chunked", b"X: y\rTransfer-Encoding: chunked"),
        *(b"X: y\nTransfer-Encoding: chunked", b"Transfer-Encoding\xc2\xa0: chunked", b"Transfer-Encoding"),
    ):
        sent = post(target, line, b"Content-Length: %d" % len(body), body=body + INNER)
        yield Case(f"TE line {line!r}", sent, "refused")
    for pair in ((b"chunked", b"chunked"), (b"chunked", b"identity"), (b"identity", b"chunked"), (b"x", b"chunked")):
        lines = [b"Transfer-Encoding: " + value for value in pair]
        yield Case(f"TE twice {pair}", post(target, *lines, body=body + INNER), "refused")
    named = post(target, b"Transfer_Encoding: chunked", length(target.body))
    yield Case("a name with an underscore is another name", named, "answered")


def chunk_sizes(target: Target) -> Iterator[Case]:
    """The sizes of chunks, and what stands around them."""
    coding, size = b"Transfer-Encoding: chunked", b"%x" % len(target.body)
    for before in (b"0x" + size, b"+" + size, b"-" + size, b" " + size, size + b" ", b"", b"g", size + b"\x00"):
        frame = before + CRLF + target.body + CRLF + b"0\r\n\r\n"
        yield Case(f"chunk size {before!r}", post(target, coding, body=frame + INNER), "refused")
    for before in (b"f" * 16, b"f" * 17, b"1" + b"0" * 16, b"8" + b"0" * 15):
        frame = before + CRLF + target.body + CRLF + b"0\r\n\r\n"
        yield Case(f"chunk size {before!r}", post(target, coding, body=frame + INNER), "refused", may_continue=False)
    for before in (b"0000" + size, size.upper(), size + b";a=b", size + b";a", size + b';a="b"'):
        frame = before + CRLF + target.body + CRLF + b"0\r\n\r\n"
        yield Case(f"chunk size {before!r}", post(target, coding, body=frame), "answered")
    for after in (b"", b"X", b"XX", b"\n", b"\r", b"X\r\n"):
        frame = size + CRLF + target.body + after + b"0\r\n\r\n"
        yield Case(f"chunk ends with {after!r}", post(target, coding, body=frame + INNER), "refused")
    for ending in (b"\n", b"\r"):
        frame = size + ending + target.body + CRLF + b"0\r\n\r\n"
        yield Case(f"chunk line ends with {ending!r}", post(target, coding, body=frame + INNER), "refused")
    for trailer in (b"X: y", b"Content-Length: 5", b"Host: elsewhere", b"Transfer-Encoding: chunked"):
        frame = size + CRLF + target.body + CRLF + b"0\r\n" + trailer + 2 * CRLF
        yield Case(f"trailer {trailer!r}", post(target, coding, body=frame), "either")
    yield Case("a trailer without a colon", post(target, coding, body=b"0\r\nnonsense\r\n\r\n" + INNER), "refused")


def bare_ends(target: Target) -> Iterator[Case]:
    """Lines that end with half of what they should."""
    good = post(target, length(target.body))
    head = good[: good.index(2 * CRLF)]
    for name, ending in (("LF", b"\n"), ("CR", b"\r"), ("CR CR LF", b"\r\r\n"), ("LF CR", b"\n\r")):
        sent = head.replace(CRLF, ending) + 2 * ending + target.body + INNER
        yield Case(f"lines end with {name}", sent, "refused", may_continue=name != "CR")
        yield Case(f"the request line ends with {name}", good.replace(CRLF, ending, 1) + INNER, "refused")
        inside = post(target, b"X: a%bY: b" % ending, length(target.body)) + INNER
        yield Case(f"{name} between two headers", inside, "refused")
    yield Case("CR in a value", post(target, b"X: a\rb", length(target.body)) + INNER, "refused")
    yield Case("CR LF before the request line", CRLF + good, "answered")
    yield Case("ten empty lines before the request line", 10 * CRLF + good, "either")


def controls(target: Target) -> Iterator[Case]:
    """Bytes that have no place in a head, at every place of it."""
    own = length(target.body)
    for byte in (0, 1, 7, 8, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F):
        it = bytes([byte])
        yield Case(f"{byte:#x} in a name", post(target, b"X" + it + b"Y: z", own) + INNER, "refused")
        yield Case(f"{byte:#x} in the path", post(target, own, path=target.path + it) + INNER, "refused")
        yield Case(f"{byte:#x} in the method", it + post(target, own) + INNER, "refused")
        yield Case(f"{byte:#x} in a value", post(target, b"X: y" + it + b"z", own), "either")
    yield Case("NUL in a value", post(target, b"X: y\x00z", own) + INNER, "refused")
    for byte in (0x80, 0xA0, 0xE9, 0xFF):
        it = bytes([byte])
        yield Case(f"{byte:#x} in the path", post(target, own, path=target.path + it) + INNER, "refused")
        yield Case(f"{byte:#x} in a name", post(target, b"X" + it + b": z", own) + INNER, "refused")
        yield Case(f"{byte:#x} in a value", post(target, b"X: " + it, own), "answered")


def folding(target: Target) -> Iterator[Case]:
    """Values that go on in the next line, lines without a name, spaces where none may be."""
    own = length(target.body)
    for fold in (b" ", b"\t", b"  \t"):
        for line in (
            b"X: a\r\n" + fold + b"b",
            b"Content-Length:\r\n" + fold + b"0",
            b"Host: 127.0.0.1\r\n" + fold + b"x",
        ):
            yield Case(f"folded {line!r}", post(target, line, own) + INNER, "refused")
        first = b"POST %b HTTP/1.1\r\n%bX: y\r\n" % (target.path, fold) + target.head + CRLF + own + 2 * CRLF
        yield Case(f"{fold!r} before the first header", first + target.body + INNER, "refused")
    for line in (b": y", b"X", b"X y", b"X : y", b"X\t: y", b"(X): y", b"X[]: y", b"@: y", b"=", b"X\xe2\x80\x8b: y"):
        yield Case(f"the line {line!r}", post(target, line, own) + INNER, "refused")
    good = post(target, own)
    for sent in (b" " + good, b"\t" + good, good.replace(b"POST ", b"POST\t", 1), good.replace(b" HTTP", b"\tHTTP", 1)):
        yield Case(f"spaces of the request line {sent[:12]!r}", sent + INNER, "refused")


def forms(target: Target) -> Iterator[Case]:
    """Request targets that are no path."""
    own = length(target.body)
    yield Case("absolute", post(target, own, path=b"http://127.0.0.1" + target.path), "answered")
    for host in (b"elsewhere", b"127.0.0.1:99999", b"user@127.0.0.1", b"127.0.0.1.elsewhere", b"", b"[::1", b"%00"):
        yield Case(f"absolute, {host!r}", post(target, own, path=b"http://" + host + target.path) + INNER, "refused")
    for path in (b"//elsewhere" + target.path, b"file:///etc", b"gopher://127.0.0.1/", b"javascript:x", b"*", b"\\\\x"):
        yield Case(f"the target {path!r}", post(target, own, path=path), "refused")
    for path in (b"127.0.0.1:80", b"?" + target.path, b"#x", b"v2/models", b"", b" ", b"/ /", b".", b"%2f"):
        yield Case(f"the target {path!r}", post(target, own, path=path or b" ") + INNER, "refused", may_continue=False)
    yield Case("a fragment", post(target, own, path=target.path + b"#fragment"), "either")
    for line in (b"CONNECT 127.0.0.1:80 HTTP/1.1", b"CONNECT / HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET * HTTP/1.1"):
        yield Case(repr(line), line + CRLF + target.head + 2 * CRLF, "refused", may_continue=False)


def versions(target: Target) -> Iterator[Case]:
    """Versions there are not, and the one without headers."""
    own = length(target.body)
    for version in (
        b"0.9",
        b"1.2",
        b"2.0",
        b"3.0",
        b"9.9",
        b"1",
        b"1.",
        b".1",
        b"1.1.1",
        b"01.1",
        b"1.10",
        b"-1.1",
        b"x",
    ):
        yield Case(f"HTTP/{version.decode()}", post(target, own, version=version) + INNER, "refused")
    for version in (b"0.9", b"2.0"):
        for line in (b"Connection: keep-alive", b"Connection: x, Keep-Alive", b"Proxy-Connection: keep-alive"):
            yield Case(
                f"HTTP/{version.decode()}, {line!r}", post(target, line, own, version=version) + INNER, "refused"
            )
    for line in (b"GET /v2/health/live", b"GET /v2", b"POST " + target.path, b"GET /", b"GET", b"/v2", b"\x00"):
        yield Case(f"no version {line!r}", line + CRLF + CRLF, "refused")
    for word in (b"http/1.1", b"HTTPS/1.1", b"HTTP 1.1", b"HTTP/1,1", b"HTP/1.1", b"TTP/1.1"):
        yield Case(f"{word!r}", post(target, own).replace(b"HTTP/1.1", word, 1) + INNER, "refused")
    yield Case("1.0", post(target, own, version=b"1.0") + INNER, "answered", may_continue=False)
    late = post(target, b"Connection: close", own) + INNER
    yield Case("what comes after a close", late, "answered", may_continue=False)


def upgrades(target: Target) -> Iterator[Case]:
    """Other protocols, asked for or spoken at once."""
    own = length(target.body)
    for wish in (b"h2c", b"h2c, websocket", b"websocket", b"TLS/1.0", b"HTTP/2.0", b"x" * 300):
        lines = (
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: " + wish,
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        )
        yield Case(f"upgrade to {wish[:20]!r}", post(target, *lines, own), "answered")
        get = b"GET /v2/health/ready HTTP/1.1\r\n" + CRLF.join((target.head, *lines)) + 2 * CRLF
        yield Case(f"GET, upgrade to {wish[:20]!r}", get, "answered")
    yield Case("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", "refused", False)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64))
    yield Case("a TLS hello", hello, "refused", False)
    for word in (
        b"SSH-2.0-x\r\n",
        b"EHLO x\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x04\x01\x00\x50",
        b"{}\r\n",
        b"\r\n\r\n\x00",
    ):
        yield Case(f"the words {word!r}", word + CRLF, "refused", False)


def expectations_and_methods(target: Target) -> Iterator[Case]:
    """Expectations nobody has, methods nobody offers."""
    own = length(target.body)
    for value in (b"x", b"200-ok", b"100-continue, x", b"", b"100", b"100-Continue-x", b"\xff", b"x" * 500):
        yield Case(f"Expect {value[:20]!r}", post(target, b"Expect: " + value, own), "either")
    for value in (b"100-continue", b"100-CONTINUE"):
        yield Case(f"Expect {value!r}", post(target, b"Expect: " + value, own), "answered")
    for version in (b"1.0",):
        sent = post(target, b"Expect: 100-continue", own, version=version)
        yield Case("Expect of HTTP/1.0", sent, "answered", may_continue=False)
    good = post(target, own)
    yield Case("method OPTIONS", good.replace(b"POST", b"OPTIONS", 1), "either")  # a page may offer it
    for method in (
        *(b"PUT", b"PATCH", b"DELETE", b"TRACE", b"PROPFIND", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"PURGE"),
        *(
            b"SEARCH",
            b"REPORT",
            b"QUERY",
            b"LINK",
            b"SOURCE",
            b"M-SEARCH",
            b"post",
            b"Post",
            b"POSTX",
            b"PO ST",
            b"P\xd6ST",
        ),
        *(b"X" * 9000, b"GETPOST", b"-", b"POST\x00", b"<script>", b"DESCRIBE", b"BREW"),
    ):
        yield Case(
            f"method {method[:20]!r}",
            good.replace(b"POST", method, 1) + (b"" if method.isupper() else INNER),
            "refused",
        )


def after_an_error(target: Target) -> Iterator[Case]:
    """Requests that come in one piece with one that is wrong, before it and behind it."""
    good = post(target, length(target.body))
    for wrong in (b"NONSENSE\r\n\r\n", post(target, b"Content-Length: x"), b"GET / HTTP/9.9\r\n\r\n", b"\x00"):
        yield Case(f"behind {wrong[:12]!r}", wrong + INNER, "refused")
        yield Case(f"good, then {wrong[:12]!r}, then another", good + wrong + INNER, "answered", may_continue=False)
        twice = good + good + wrong + INNER
        yield Case(f"good twice, then {wrong[:12]!r}, then another", twice, "answered", may_continue=False)
    broken = post(target, b"Transfer-Encoding: chunked", body=b"x\r\n")
    yield Case("good, then a broken chunk", good + broken + INNER, "answered", may_continue=False)
    for wrong in (b'{"inputs":', b"\xff\xfe", b"[]", b""):
        refused = post(target, length(wrong), body=wrong)
        yield Case(f"a body that is refused {wrong!r}", refused, "refused")


FAMILIES: dict[str, Family] = {
    "H46": length_and_chunks,
    "H47": obscured_coding,
    "H48": bare_ends,
    "H49": controls,
    "H50": folding,
    "H51": forms,
    "H52": versions,
    "H53": after_an_error,
    "H54": upgrades,
    "H55": expectations_and_methods,
    "H46+": chunk_sizes,
}


def mutated(target: Target, count: int) -> Iterator[Case]:
    """`count` requests of which a few bytes were dropped, doubled, swapped or replaced, in the head or around it."""
    rng = random.Random(SEED)
    good = post(target, b"Transfer-Encoding: chunked", body=chunked(target.body))
    bytes_of_note = b"\r\n\t \0:;,/%\x7f\x80\xff0"
    for number in range(count):
        sent = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(good.index(2 * CRLF) + 4)
            kind = rng.randrange(4)
            if kind == 0:
                del sent[at : at + rng.randint(1, 3)]
            elif kind == 1:
                sent[at:at] = bytes([rng.choice(bytes_of_note)])
            elif kind == 2:
                sent[at] = rng.choice(bytes_of_note)
            else:
                sent[at:at] = sent[at : at + rng.randint(1, 12)]
        yield Case(f"mutation {number} of seed {SEED}", bytes(sent), "either", may_continue=False)
