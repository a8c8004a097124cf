"""Writing rows in bulk, past the ORM: columns of texts into a table, as each database takes them fastest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import Model

NOTHING = r"\N"  # of COPY
LINES_AT_ONCE = 10_000

Column = Sequence[str | None] | str | None  # one value for all rows, or one each


def write(table: type[Model], rows: int, columns: Mapping[str, Column]) -> None:
    """Write `rows` rows of a table. Both databases read numbers, moments and JSON from their texts."""
    spread = [repeat(value, rows) if value is None or isinstance(value, str) else value for value in columns.values()]
    quote = connection.ops.quote_name
    into = f"{quote(table._meta.db_table)} ({', '.join(map(quote, columns))})"
    lines = zip(*spread, strict=True)
    if connection.vendor == "postgresql":
        _copy(into, lines)
    else:
        connection.ensure_connection()
        marks = ", ".join(["?"] * len(columns))
        connection.connection.executemany(f"INSERT INTO {into} VALUES ({marks})", lines)


def _copy(into: str, lines: Iterator[tuple[str | None, ...]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN") as copy:
        while some := list(islice(lines, LINES_AT_ONCE)):
            copy.write("".join("\t".join(NOTHING if v is None else v for v in line) + "\n" for line in some))


def moments(microseconds: np.ndarray) -> list[str]:
    """Return moments since 1970 as both databases read them, in UTC."""
    texts = np.datetime_as_string(microseconds.astype("datetime64[us]"), unit="us").tolist()
    return [text.replace("T", " ") for text in texts]


def uuids(microseconds: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Return ids of version 7, in the order of their moments."""
    tails = rng.integers(0, 2**62, len(microseconds)).tolist()
    return [
        f"{made // 1000:012x}7{made % 1000 * 4:03x}{1 << 63 | tail:016x}"
        for made, tail in zip(microseconds.tolist(), tails, strict=True)
    ]


def as_json(template: str, columns: Iterable[np.ndarray]) -> Iterator[str]:
    """Return a text for each row, from a template with a place for each column."""
    rows: Iterable[tuple[Any, ...]] = zip(*(column.tolist() for column in columns), strict=True)
    return (template % row for row in rows)
