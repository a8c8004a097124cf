"""All that callers were told in a run, and the search of it for what is of the inside: paths, classes, SQL, others' names."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from django.apps import apps

LIBRARIES = "asyncio|concurrent|google|grpc.aio|httptools|msgspec|numpy|onnxruntime|psycopg|sklearn|sqlite3|uvicorn"
ROOMS = (
    r"trivet\.(?:cli|conf|console|control|core|dataplane|model|server|serving)"
    r"|django\.(?:conf|contrib|core|db|http|urls|utils)"
)
A_SCHEMA = r"(?!RowError\b)"  # of the OpenAPI document
CLASSES = (
    rf"\b{A_SCHEMA}[A-Za-z_]+(?:Error|Exception|Warning|Interrupt)\b"
    r"|<class|<function|\bobject at\b|__(?:class|dict|init|main|module)__"
)


def _tables() -> str:
    return "|".join(sorted(model._meta.db_table for model in apps.get_models()))


def patterns() -> dict[str, re.Pattern[bytes]]:
    """Return what nobody may read, wherever they come from and whatever they asked."""
    folders = {str(Path(path)) for path in (sys.prefix, sysconfig.get_path("stdlib"), Path(__file__).parents[3])}
    paths = "|".join(map(re.escape, folders))
    found = {
        "traceback": r"Traceback|File \"|\", line \d|\bat line \d+ of\b",
        "path": rf"{paths}|site-packages|/(?:home|root|tmp|usr|opt|var|proc|etc|srv|run)/|\.trivet\b|\.(?:py|sqlite3|sock|so)\b",
        "address": r"0x[0-9a-fA-F]{5,}",
        "class": rf"{CLASSES}|\b(?:{LIBRARIES})\.[a-z_]+[.(]|\b(?:{ROOMS})\b",
        "SQL": rf"\b(?:SELECT|INSERT|UPDATE|DELETE)\s.*\b(?:FROM|INTO|SET|WHERE)\b|\bconstraint failed\b|\b(?:{_tables()})\b",
        "key": r"trivet_[A-Za-z0-9]{8}_",
    }
    return {name: re.compile(pattern.encode(), re.DOTALL) for name, pattern in found.items()}


class Told(NamedTuple):
    """What one caller was told: status line, headers and body, or what gRPC has of them."""

    who: str
    asked: bytes
    content: bytes


class Recorder:
    """Keeps what was told. A text that stood in the question may stand in the answer: it is the caller's own."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def keep(self, who: str, asked: bytes, content: bytes) -> None:
        """Note what `who` was told when it asked `asked`."""
        self.told.append(Told(who, asked, content))

    def found(self, names: Iterable[str] = (), *, known: Mapping[str, Iterable[str]] | None = None) -> dict[str, str]:
        """Return what of the inside somebody was told, each once, and where.

        `names` are of others: people, models, keys; `known` are those that somebody may be told.
        """
        search, hits = patterns(), {}
        for told in self.told:
            hidden = set(names) - set((known or {}).get(told.who, ()))
            for what, match in _matches(told, search, hidden):
                around = told.content[max(0, match.start() - 60) : match.end() + 60]
                hits.setdefault(f"{what} {match[0]!r}", f"{told.who} {told.asked[:120]!r}: {around!r}")
        return hits


def _matches(
    told: Told, search: Mapping[str, re.Pattern[bytes]], hidden: Iterable[str]
) -> Iterator[tuple[str, re.Match[bytes]]]:
    own = told.asked + unquote_to_bytes(told.asked)
    named = re.compile("|".join(map(re.escape, sorted(hidden))).encode() or rb"(?!)")
    for what, pattern in {**search, "name": named}.items():
        yield from ((what, match) for match in pattern.finditer(told.content) if match[0] not in own)
