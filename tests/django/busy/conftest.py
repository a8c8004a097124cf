"""The busy site, made once for all tests of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.django.busy.site import Site, make_site
from tests.django.busy.traffic import KINDS
from trivet.control.registry.declarations import Declaration, declare

ROWS = int(os.environ.get("TRIVET_TEST_BUSY_ROWS", "10000"))  # `make busy`: a million


@pytest.fixture(scope="module")
def made(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Path]]:
    """Fill the database, outside the transactions of tests, and empty it afterwards."""
    from django.test import override_settings

    home = tmp_path_factory.mktemp("busy")
    with django_db_blocker.unblock(), override_settings(TRIVET_HOME=home):
        began = time.perf_counter()
        site = make_site(ROWS, timezone.now())
        print(f"\n{ROWS:,} predictions in {time.perf_counter() - began:.0f} s")
        yield site, home
        call_command("flush", interactive=False, verbosity=0)
    for kind in KINDS:
        declare(kind.model, Declaration())


@pytest.fixture
def site(made: tuple[Site, Path], db: None, settings: Any) -> Site:
    """Return the busy site."""
    site, settings.TRIVET_HOME = made
    return site
