"""`python -m benchmarks.crowd PROJECT`: a registry of 1,000 models, twenty of them with traffic, and 10,000 API keys."""

from __future__ import annotations

import os
import sys

MODELS = 1000
LIVE = 20  # with those that are there already
KEYS = 10_000


def crowd() -> None:
    """Fill the registry of the project whose settings are in force."""
    from trivet import conf
    from trivet.control.registry import actions
    from trivet.control.registry.models import ApiKey, RegisteredModel
    from trivet.control.registry.storage import fetch_bundle
    from trivet.core.keys import hash_secret, mint_key

    there = RegisteredModel.objects.count()
    version = RegisteredModel.objects.get(name="linear").versions.get(number=1)
    bundle = fetch_bundle(version.digest)
    for number in range(there, MODELS):
        name = f"crowd-{number}"
        actions.register_version(name=name, bundle=bundle, actor="benchmark")
        actions.mark_ready(model=name, version=1, actor="benchmark")
        if number < LIVE:
            actions.promote(model=name, version=1, actor="benchmark")
    pepper = conf.peppers()[0]
    minted = (mint_key() for _ in range(KEYS))
    ApiKey.objects.bulk_create(
        ApiKey(
            id=key_id,
            name=f"key {key_id}",
            hash=hash_secret(pepper, text),
            grants={f"crowd-{number % MODELS}": ["predict"]},
            created_by="benchmark",
        )
        for number, (key_id, text) in enumerate(minted)
    )


if __name__ == "__main__":
    os.environ["TRIVET_PROJECT"] = sys.argv[1]
    os.environ["DJANGO_SETTINGS_MODULE"] = "trivet.server.settings"
    import django

    django.setup()
    crowd()
