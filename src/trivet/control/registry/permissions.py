"""Who may do what with which model: the one place where that is answered, for every door.

A person's Django permissions hold for all models, their `Grant`s and those of their groups for one; an API key has its
grants in its own row. What the data plane knows of keys is the same, in the Snapshot: it asks nobody.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from trivet.control.registry.models import ApiKey, Grant
from trivet.core.errors import NotFound, PermissionDenied, TrivetError, did_you_mean, quoted
from trivet.core.snapshot import ANY_MODEL, NO_VERBS, with_implied

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

    Person = AbstractBaseUser | AnonymousUser
    Principal = Person | ApiKey
    Actor = str | AbstractBaseUser

VERBS_OF_MODELS = {
    "view": "view_registeredmodel",
    "predict": "predict",
    "explain": "explain",
    "view_predictions": "view_predictions",
    "view_inputs": "view_inputs",
    "export_predictions": "export_predictions",
    "label": "label",
    "push": "push",
    "retrain": "retrain",
    "promote": "promote",
    "approve": "approve",
}
"""What may be granted for one model, and the Django permission that allows it with all of them."""

VERBS_OF_REGISTRY = {"manage_keys": "manage_keys", "manage_grants": "manage_grants", "prune": "prune"}
"""What is about no single model: Django permissions alone allow it."""

_PERMISSIONS = {verb: f"trivet.{name}" for verb, name in (VERBS_OF_MODELS | VERBS_OF_REGISTRY).items()}
_GRANTS = "_trivet_grants"  # on a user, as Django keeps their permissions there: read once a request


def permission_of(verb: str) -> str:
    """Return the name of the Django permission for `verb`, which holds for every model."""
    return _PERMISSIONS[verb]


def can(principal: Principal, verb: str, model: str | None = None) -> bool:
    """Return whether a user or an API key may `verb` with `model`; without one, with every model.

    Who may do anything with a model may know of it, so any grant includes `view`. Whoever was disabled may do nothing.
    A user's permissions and grants are read once, and kept with the object, as Django keeps them.
    """
    if isinstance(principal, ApiKey):
        return principal.is_usable and verb in _verbs_of_key(principal, model)
    if _has_permission(principal, verb):
        return True
    if model is None:
        return False
    granted = _grants(principal).get(model, NO_VERBS)
    return verb in granted or (verb == "view" and bool(granted))


def models_open_to(person: Person, verb: str = "view") -> frozenset[str] | None:
    """Return the names of the models with which `person` may `verb`; None where with every one, also those to come."""
    if _has_permission(person, verb):
        return None
    return frozenset(model for model, verbs in _grants(person).items() if verb in verbs or (verb == "view" and verbs))


def why_not(person: Person, verb: str, model: str | None = None) -> TrivetError | None:
    """Return what to raise where `person` may not `verb` with `model`; None where they may.

    For who may not know of the model it is the same `NotFound` as for a name that nothing has.
    """
    if can(person, verb, model):
        return None
    if model is not None and not can(person, "view", model):
        meant = did_you_mean(model, models_open_to(person) or ())
        return NotFound(f"no model {quoted(model)} here.{meant}", code="UNKNOWN_MODEL")
    about = f" {verb.replace('_', ' ')}" + (f" with {quoted(model)}" if model is not None else "")
    return PermissionDenied(f"you may not{about}: that takes {_PERMISSIONS[verb]!r}{_or_a_grant(verb, model)}.")


def _or_a_grant(verb: str, model: str | None) -> str:
    return f", or a grant of {verb!r} for this model" if model is not None and verb in VERBS_OF_MODELS else ""


def _has_permission(person: Person, verb: str) -> bool:
    has_perm = getattr(person, "has_perm", None)  # which a site's own class of users may lack
    return bool(person.is_active and has_perm is not None and has_perm(_PERMISSIONS[verb]))


def _grants(person: Person) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] | None = getattr(person, _GRANTS, None)
    if found is None:
        found = _read_grants(person) if person.is_authenticated and person.is_active else {}
        setattr(person, _GRANTS, found)
    return found


def _read_grants(person: Person) -> dict[str, frozenset[str]]:
    verbs: dict[str, set[str]] = defaultdict(set)
    for model, granted in Grant.objects.of_person(person).order_by().values_list("model__name", "verbs"):
        verbs[model] |= set(granted)
    return {model: with_implied(granted) for model, granted in verbs.items()}


def _verbs_of_key(key: ApiKey, model: str | None) -> frozenset[str]:
    names = (ANY_MODEL,) if model is None else (ANY_MODEL, model)
    return frozenset().union(*(with_implied(key.grants.get(name, ())) for name in names))
