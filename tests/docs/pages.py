"""Reads the pages: their fenced blocks, the markers before them, and the commands in a console block.

A marker is an HTML comment on the line before a block, `<!-- test: WORDS -->`:

file=PATH      a `python` or `html` block is the whole of that file
append=PATH    such a block goes to the end of that file
exit=N         the last command of the block ends with N
eventually     what is expected may take a moment: the block is tried again until a deadline
stopped        servers are stopped first
skip REASON    the block is not run
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WRITTEN = frozenset({"html", "python"})
RUN = WRITTEN | {"console", "pycon"}
SHOWN = frozenset({"ini", "json", "nginx", "text", "yaml"})
WILDCARD = "…"
_FENCE = re.compile(r"```(\w*)")
_MARKER = re.compile(r"<!-- test: (.+) -->")
_PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str
    marker: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def skipped(self) -> str | None:
        """Why it is not run; None when it is."""
        word, _, reason = self.marker.partition(" ")
        return reason if word == "skip" else None

    def option(self, name: str) -> str | None:
        """Return what the marker says after `name=`."""
        word, equals, value = self.marker.partition("=")
        return value if equals and word == name else None


@dataclass(frozen=True)
class Command:
    """One command of a console block, and the lines that are printed under it."""

    text: str
    expected: tuple[str, ...]


def all_pages() -> list[str]:
    """Return the pages whose blocks are run, from the root of the repository."""
    found = [REPOSITORY / "README.md"]
    for folder in ("tutorial", "how-to"):
        found += sorted((REPOSITORY / "docs" / folder).glob("*.md"))
    return [page.relative_to(REPOSITORY).as_posix() for page in found]


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of `page` in order."""
    marker, language, start = "", None, 0
    held: list[str] = []
    for number, line in enumerate((REPOSITORY / page).read_text(encoding="utf-8").splitlines(), 1):
        if language is not None:
            if line == "```":
                yield Block(page, start, language, "\n".join(held) + "\n", marker)
                marker, language, held = "", None, []
            else:
                held.append(line)
        elif fence := _FENCE.fullmatch(line):
            language, start = fence[1], number
        elif found := _MARKER.fullmatch(line):
            marker = found[1]
        elif line.lstrip().startswith("```"):
            raise ValueError(f"{page}:{number}: a fence begins its line, and names one language")
        elif line:
            marker = ""


def commands(block: Block) -> list[Command]:
    """Return what a console block types, and what it then shows."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith(_PROMPT):
            found.append(Command(line.removeprefix(_PROMPT), ()))
        elif not found:
            raise ValueError(f"{block}: a console block begins with '$ '")
        elif _is_unfinished(found[-1].text):
            found[-1] = Command(f"{found[-1].text}\n{line}", ())
        else:
            found[-1] = Command(found[-1].text, (*found[-1].expected, line))
    return found


def matches(expected: tuple[str, ...], output: str) -> bool:
    """True when `output` is what the page shows: `…` stands for anything in a line, alone on it for any lines."""
    if not expected:
        return True
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == WILDCARD else ".*?".join(map(re.escape, _plain(line).split(WILDCARD))) + r"\n"
        for line in expected
    )
    return re.fullmatch(pattern, "".join(_plain(line) + "\n" for line in output.splitlines())) is not None


def _plain(line: str) -> str:
    """Return `line` with its runs of spaces as one: columns are as wide as what stands in them."""
    return " ".join(line.split())


def _is_unfinished(command: str) -> bool:
    """True while a quote is open, or the last line ends in a backslash."""
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False
