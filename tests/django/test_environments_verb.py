"""`trivet environments` where not all is as it should be: a bundle that cannot be read, an environment that is half there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.django.command_line import trivet
from tests.django.test_libraries import OLD, live
from tests.unit.environments.test_environments import make_by_hand
from trivet.cli.verb import DONE, REFUSED, WRONG
from trivet.control.registry.environments import environments_in_use
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.storage import stored_name
from trivet.model.environments.environment import Needs

pytestmark = pytest.mark.django_db


def version_with(library: str, home: Path) -> tuple[ModelVersion, Needs]:
    """Make a version live that needs `library`, in an environment that is there."""
    version = live(library.partition("==")[0], runtime="skops", source=OLD, requirements=f"{library}\n".encode())
    needs = Needs(f"{library}\n".encode(), "3.12")
    make_by_hand(home / "environments", needs)
    return version, needs


def test_a_damaged_bundle_is_named_hides_no_other_environment_and_none_is_removed_meanwhile(home, capsys):
    damaged, _ = version_with("damaged==1.0", home)
    _, needs = version_with("whole==1.0", home)
    (home / "bundles" / stored_name(damaged.digest, "requirements.txt")).write_text("")
    assert list(environments_in_use().needed) == [needs]

    for step in ("make", "list"):
        assert trivet("environments", step, "--json") == WRONG
        told = capsys.readouterr()
        assert needs.key in [fact["key"] for fact in json.loads(told.out)]
        assert "what damaged 1 needs cannot be told: bundle" in told.err
    assert trivet("environments", "remove", needs.key) == REFUSED
    assert "damaged 1 may need it, which cannot be told" in capsys.readouterr().err

    damaged.aliases.all().delete()
    damaged.routes.all().delete()
    assert trivet("environments", "list") == DONE
