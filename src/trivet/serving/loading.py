"""Carries a wish to load or unload from the data plane's front door to the registry, and waits for the workers."""

from __future__ import annotations

from django.db import Error as DatabaseFailure, connections

from trivet.control.registry import actions
from trivet.core.errors import Conflict, Refused, Unavailable
from trivet.dataplane.plane import LoadingChange
from trivet.serving.acknowledgement import wait_for_workers


def change_loading(change: LoadingChange) -> None:
    """Change what is loaded, and return once every live worker has followed. Blocks: the registry and leases decide how long.

    Raises `Conflict` when the registry's rules forbid it now, `NotFound`, and `Unavailable` when the registry is away
    or a worker did not follow in time.
    """
    _close_old_connections()
    verb = actions.load if change.is_load else actions.unload
    try:
        generation = verb(model=change.model, version=change.version, actor=change.actor)
        behind = wait_for_workers(generation, change.model).behind
    except Refused as error:
        raise Conflict(error.message) from error
    except DatabaseFailure as error:
        raise Unavailable("the registry is away; ask again.", code="MANAGEMENT_AWAY") from error
    finally:
        _close_old_connections()
    if behind:
        raise Unavailable(
            f"it is done, but {len(behind)} workers have not followed yet; ask again to know.",
            code="VERSION_NOT_LOADED",
        )


def _close_old_connections() -> None:
    """Do for a thread of ours what Django does between requests; a caller's transaction is left alone."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
