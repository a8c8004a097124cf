"""Namespaces: a network, System V objects and a host name of one's own, in which there is nothing."""

from __future__ import annotations

from trivet.model.sandbox.kernel import unshare

NEW_USER, NEW_NETWORK, NEW_IPC, NEW_UTS = 0x10000000, 0x40000000, 0x08000000, 0x04000000


def leave() -> None:
    """Leave the host's network, IPC and host name; the new user namespace is what allows it without privileges.

    Raises `OSError` where the host or its container forbids that, and where this process has several threads.
    """
    unshare(NEW_USER | NEW_NETWORK | NEW_IPC | NEW_UTS)
