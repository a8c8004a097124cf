"""How a version compares with the champion, for whoever is about to give it traffic."""

from __future__ import annotations

from django.db import router

from trivet.control.registry.models import CHAMPION, Alias, ModelVersion
from trivet.core.signature import enumerate_names, input_changes


def unlike_champion(version: ModelVersion) -> str:
    """Return in what the inputs of `version` differ from the champion's, as a sentence; "" where nothing does."""
    aliases = Alias.objects.using(router.db_for_write(Alias)).filter(model=version.model_id, name=CHAMPION)
    champion = aliases.select_related("version").first()
    if champion is None or champion.version_id == version.pk:
        return ""
    changes = input_changes(champion.version.read_signature(), version.read_signature())
    number = champion.version.number
    return f"inputs differ from the champion's version {number}: {enumerate_names(changes)}." if changes else ""
