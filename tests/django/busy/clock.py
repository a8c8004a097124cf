"""The clock: what a page costs, which is its process's time and the time it waits for the database; and how it was found."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.http.response import HttpResponseBase
from django.test import Client

BEST_OF = 3  # a neighbour on the machine takes its time from some of them
LOG = "trivet_prediction"


@dataclass
class Asked:
    """What one request asked of the database, and for how long it waited there."""

    queries: list[tuple[str, Any]] = field(default_factory=list)
    waited: float = 0.0  # seconds, beyond what this process computed meanwhile

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        """Run a query: Django's contract of a wrapper."""
        wall, own = time.perf_counter(), time.process_time()
        try:
            return execute(sql, params, many, context)
        finally:
            self.waited += max((time.perf_counter() - wall) - (time.process_time() - own), 0.0)
            self.queries.append((sql, params))


@dataclass(frozen=True)
class Cost:
    """What a page costs at best."""

    status: int
    milliseconds: float
    queries: tuple[tuple[str, Any], ...]


@contextmanager
def asking() -> Iterator[Asked]:
    """Note what is asked of the database meanwhile."""
    asked = Asked()
    with connection.execute_wrapper(asked):
        yield asked


def cost_of(client: Client, address: str, *, times: int = BEST_OF) -> Cost:
    """Ask for a page some times, and return what the quickest took."""
    return min((_once(client, address) for _ in range(times)), key=lambda cost: cost.milliseconds)


def _once(client: Client, address: str) -> Cost:
    own = time.process_time()
    with asking() as asked:
        response = client.get(address)
        _read(response)
    seconds = time.process_time() - own + asked.waited
    return Cost(response.status_code, seconds * 1000, tuple(asked.queries))


def _read(response: HttpResponseBase) -> None:
    if response.streaming:
        for _ in response:  # type: ignore[attr-defined]  # Django's own is one
            pass


def full_scans(queries: tuple[tuple[str, Any], ...], *, is_large: bool) -> list[str]:
    """Return the plans of those of `queries` that look at every row of the log.

    Of a log that is not large PostgreSQL rightly reads it all; then the plan is that of one that may not, where it need not.
    """
    asked = [(sql, params) for sql, params in queries if sql.startswith("SELECT") and f'"{LOG}"' in sql]
    return [f"{sql}\n{plan}" for sql, params in asked if _is_full(plan := _plan(sql, params, is_large=is_large))]


def _plan(sql: str, params: Any, *, is_large: bool) -> str:
    is_postgres = connection.vendor == "postgresql"
    explain = "EXPLAIN" if is_postgres else "EXPLAIN QUERY PLAN"
    with transaction.atomic(), connection.cursor() as cursor:
        if is_postgres and not is_large:
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{explain} {sql}", params)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def _is_full(plan: str) -> bool:
    if connection.vendor == "postgresql":
        return bool(re.search(rf"Seq Scan on {LOG}\b", plan))
    return bool(re.search(rf"SCAN {LOG}\b(?! USING)", plan))
