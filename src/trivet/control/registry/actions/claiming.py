"""Claims: whoever is about to register a bundle says so before it is stored, so that nobody prunes it meanwhile.

A claim is made, and a bundle is pruned, under the registry's lock. So a push either claims before a prune looks, and then
the bundle stays, or after the prune is through with it, and then it is stored anew.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from trivet.control.registry.actions.change import Change, changing
from trivet.control.registry.models import BundleClaim
from trivet.core.errors import Conflict

CLAIM_LASTS = timedelta(days=1)  # a push takes minutes; what one that was killed had claimed may go after that


def claim_bundle(digest: str) -> int:
    """Keep the bundle of `digest` from being pruned for a day; returns the claim, for `end_claim`."""
    with changing() as change:
        return change.rows(BundleClaim).create(digest=digest, at=Now()).pk


def end_claim(change: Change, claim: int) -> None:
    """End a claim in the transaction that registers its bundle; raises `Conflict` where it had lapsed and was cleared away."""
    if not change.rows(BundleClaim).filter(pk=claim).delete()[0]:
        raise Conflict("this push took longer than a day, and its bundle may be pruned: push it again.")


def clear_lapsed_claims(change: Change) -> None:
    """Take away the claims of pushes that did not end: from now on none of them can."""
    change.rows(BundleClaim).filter(at__lt=Now() - CLAIM_LASTS).delete()
