"""requirements.txt of a bundle: exact versions, nothing else. It is data that an installer is told, so every line is judged."""

from __future__ import annotations

import re
from typing import NamedTuple

from trivet.core.errors import BundleError, quoted
from trivet.model.bundle.libraries import REQUIREMENTS_NAME

MOST_BYTES = 256 * 1024
# In every model directory of MLflow, of which only what is in it is opened; and ours, which is not installed there.
NEVER_NEEDED = frozenset({"mlflow", "mlflow-skinny", "trivet"})
MOST_OF_A_LINE = 1000  # characters before its hashes; a long marker has 200
# Of a line in which words are one space apart: so no two parts can share a space, and what does not match is told in one pass.
_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<extras>\[[A-Za-z0-9._, -]*\])? ?== ?(?P<version>[A-Za-z0-9.!+_-]+)"
    r"(?: ?; ?(?P<marker>[\w.<>=!~'\"()][\w .<>=!~'\"()]*?))?"
    r"(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})*)"
)
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
_SEPARATORS = re.compile(r"[-_.]+")


class Requirement(NamedTuple):
    """One distribution in one version; `text` is its line in canonical form."""

    name: str
    version: str
    text: str
    is_hashed: bool


def read_requirements(data: bytes) -> tuple[Requirement, ...]:
    """Return what `data`, a requirements file, asks for, in the order of names.

    Raises `BundleError` for a line that is not `NAME==VERSION`, perhaps with a marker and hashes: no address, no path, no
    option, no range. With hashes on some lines, all have to have them.
    """
    if len(data) > MOST_BYTES:
        raise BundleError(f"{REQUIREMENTS_NAME} has {len(data)} bytes; at most {MOST_BYTES} are read.")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BundleError(f"{REQUIREMENTS_NAME} is no text in UTF-8.") from None
    lines = _COMMENT.sub("", text.replace("\\\r\n", " ").replace("\\\n", " ")).splitlines()
    found = sorted(_requirement(" ".join(line.split())) for line in lines if line.strip())
    wanted = tuple(one for one in found if one.name not in NEVER_NEEDED)
    if not wanted:
        raise BundleError(f"{REQUIREMENTS_NAME} names no library.")
    if len({one.is_hashed for one in wanted}) > 1:
        bare = next(one for one in wanted if not one.is_hashed)
        raise BundleError(f"{REQUIREMENTS_NAME} has hashes, but none for {bare.name}: give every line one, or none.")
    return wanted


def canonical(requirements: tuple[Requirement, ...]) -> bytes:
    """Return the file that a bundle keeps: one line each, in the order of names."""
    return "".join(f"{one.text}\n" for one in requirements).encode()


def _requirement(line: str) -> Requirement:
    is_long = len(line.partition(" --hash=")[0]) > MOST_OF_A_LINE
    match = None if is_long else _LINE.fullmatch(line)
    if match is None:
        raise BundleError(
            f"{REQUIREMENTS_NAME} says {quoted(line[:200])}: each line is NAME==VERSION, exactly, perhaps with hashes. No"
            " ranges, addresses, paths or options."
        )
    name = _SEPARATORS.sub("-", match["name"]).lower()
    marker = f" ; {match['marker']}" if match["marker"] else ""
    hashes = "".join(f" {one}" for one in sorted(match["hashes"].split()))
    text = f"{name}{''.join((match['extras'] or '').split())}=={match['version']}{marker}{hashes}"
    return Requirement(name, match["version"], text, bool(hashes))
