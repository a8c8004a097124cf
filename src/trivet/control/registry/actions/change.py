"""One change: the lock, the generation, the Event, the signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from django.db import router, transaction
from django.db.models import Model, QuerySet
from django.dispatch import Signal
from django.utils import timezone

from trivet.control.registry.history import head_of_history, sha256_of
from trivet.control.registry.models import Event, RegistryState

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Change:
    """What an action holds between taking the lock and committing."""

    database: str
    generation: int  # the one this change makes

    def rows(self, table: type[Row]) -> QuerySet[Row]:
        """Return the rows of `table` where the lock is held: a router may send other reads to a replica that lags."""
        return table._default_manager.using(self.database)

    def record(
        self,
        action: str,
        *,
        actor: str,
        model: str = "",
        version: int | None = None,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> Event:
        """Write the Event, chained to the one before, and move the registry to its generation."""
        event = Event(
            at=timezone.now(),
            actor=actor,
            action=action,
            model=model,
            version=version,
            generation=self.generation,
            before=before or {},
            after=after or {},
            reason=reason,
        )
        event.sha256 = sha256_of(event, head_of_history(self.database).sha256)
        RegistryState.objects.using(self.database).advance(self.generation, event.sha256)
        event.save(using=self.database, force_insert=True)
        return event

    def announce(self, signal: Signal, sender: type, **arguments: Any) -> None:
        """Send `signal` when the transaction has committed."""
        transaction.on_commit(partial(signal.send_robust, sender=sender, **arguments), using=self.database)


@contextmanager
def changing() -> Iterator[Change]:
    """Take the registry's lock for the block, in one transaction that commits with it."""
    database = router.db_for_write(RegistryState)
    with transaction.atomic(using=database):
        yield Change(database, RegistryState.objects.using(database).lock() + 1)
