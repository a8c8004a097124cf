"""A process that ends keys when told to: revokes one, disables or deletes its owner; and says when it had done so.

`keymaster` starts it and is what tests use; `python -m tests.acceptance.keymaster` is the process. Both read the same
clock (CLOCK_MONOTONIC is the machine's).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from tests.acceptance.servers import DEADLINE_SECONDS, clean_environment

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def keymaster(project: Path) -> Iterator[Callable[..., dict]]:
    """Yield a function that does one thing, by its name and words, and returns what came of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.keymaster"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(TRIVET_PROJECT=str(project), DJANGO_SETTINGS_MODULE="trivet.server.settings"),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told, heard = process.stdin, process.stdout

    def do(*words: str) -> dict:
        told.write(json.dumps(words) + "\n")
        told.flush()
        return json.loads(heard.readline())

    try:
        yield do
    finally:
        with suppress(BrokenPipeError):  # it has ended, and said why
            told.close()
        process.wait(timeout=DEADLINE_SECONDS)
        heard.close()


def main() -> None:
    """Do what each line says."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model

    from trivet.control.registry import actions
    from trivet.control.registry.models import RegistryState
    from trivet.serving.acknowledgement import wait_for_workers

    users = get_user_model().objects

    def issue(owner: str = "", seconds: str = "") -> dict:
        key, text = actions.issue_key(
            name="k",
            grants={"churn": ["predict"]},
            owner=users.create_user(owner) if owner else None,
            expires=timedelta(seconds=int(seconds)) if seconds else None,
            actor="process:test",
        )
        return {"id": key.pk, "key": text, "behind": behind()}

    def rotate(key: str, at_once: str = "") -> dict:
        _, text = actions.rotate_key(key=key, at_once=bool(at_once), actor="process:test")
        return {"key": text, "behind": behind()}

    def behind() -> list[str]:
        return list(wait_for_workers(RegistryState.objects.generation()).behind)

    def revoke(key: str) -> dict:
        actions.revoke_key(key=key, actor="process:test")
        return {"behind": behind()}

    def disable(owner: str) -> dict:
        user = users.get(username=owner)
        user.is_active = False
        user.save()
        return {}

    def disable_unheard(owner: str) -> dict:
        users.filter(username=owner).update(is_active=False)  # which sends no signal
        return {}

    def delete(owner: str) -> dict:
        users.filter(username=owner).delete()
        return {}

    deeds = {one.__name__: one for one in (issue, rotate, revoke, disable, disable_unheard, delete)}
    for line in sys.stdin:
        name, *words = json.loads(line)
        done = deeds[name](*words)
        print(json.dumps({**done, "returned": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
