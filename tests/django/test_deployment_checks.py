"""What `manage.py check --deploy` and `--database` say: settings that are well on a laptop alone, lost bundles, no keeper."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import CaptureQueriesContext

from tests.django.worlds import registered
from trivet import checks
from trivet.control.registry import actions
from trivet.control.registry.models import Worker
from trivet.control.registry.storage import bundle_storage, stored_name


def told(check: Any, **options: Any) -> list[tuple[str | None, str]]:
    return [(message.id, message.msg) for message in check(**options)]


def in_deployment() -> set[str | None]:
    """Return the ids that `manage.py check --deploy` tells beyond what `manage.py check` does."""
    beyond = {one.id for one in run_checks(include_deployment_checks=True)} - {one.id for one in run_checks()}
    return {id_ for id_ in beyond if id_ and id_.startswith("trivet")}


@pytest.mark.django_db
def test_what_a_deployment_should_say_otherwise_is_told_there_alone(settings: Any):
    settings.TRIVET_KEY_PEPPER = "a secret of its own"
    assert in_deployment() == set()
    settings.TRIVET_REQUIRE_KEY = False
    settings.TRIVET_BIND = "0.0.0.0:8000"
    settings.TRIVET_INPUT_RETENTION_DAYS = None
    del settings.TRIVET_KEY_PEPPER
    assert in_deployment() == {"trivet.W030", "trivet.W031", "trivet.W034", "trivet.W035"}


@pytest.mark.parametrize(
    ("bind", "is_told"),
    [("127.0.0.1:8000", False), ("[::1]:80", False), ("localhost:1", False), ("[::]:80", True), ("10.1.2.3:80", True)],
)
def test_W031_an_address_beyond_loopback_is_told_unless_a_proxy_speaks_tls(settings: Any, bind: str, is_told: bool):
    settings.TRIVET_BIND = bind
    found = told(checks.check_plain_address)
    assert bool(found) == is_told
    assert all(bind in message for _, message in found)
    settings.TRIVET_PUBLIC_URL = "https://models.example.com"
    assert not told(checks.check_plain_address)
    settings.TRIVET_PUBLIC_URL, settings.SECURE_PROXY_SSL_HEADER = "", ("HTTP_X_FORWARDED_PROTO", "https")
    assert not told(checks.check_plain_address)


def test_W034_inputs_that_are_not_logged_need_no_retention(settings: Any):
    settings.TRIVET_INPUT_RETENTION_DAYS = None
    settings.TRIVET_LOG_INPUTS = 0.25
    ((_, message),) = told(checks.check_endless_inputs)
    assert "25% of the predictions" in message
    settings.TRIVET_LOG_INPUTS = 0
    assert not told(checks.check_endless_inputs)


def test_W035_a_pepper_or_the_old_key_among_the_fallbacks_is_enough(settings: Any):
    assert told(checks.check_pepper)
    settings.SECRET_KEY_FALLBACKS = ["the old one"]
    assert not told(checks.check_pepper)


@pytest.mark.parametrize("name", ["TRIVET_REQUIRE_KEY", "TRIVET_BIND", "TRIVET_LOG_INPUTS"])
def test_a_value_that_is_not_accepted_is_told_by_E002_alone(settings: Any, name: str):
    settings.TRIVET_KEY_PEPPER = "a secret of its own"
    setattr(settings, name, "nonsense")
    assert not [found for check in checks.DEPLOY_CHECKS for found in told(check)]


@pytest.mark.django_db
def test_W022_names_the_version_in_use_whose_bundle_is_gone():
    versions = [registered(f"churn graph {number}") for number in (1, 2)]
    for version in versions:
        actions.mark_ready(model="churn", version=version.number, actor="process:probe")
        bundle_storage().delete(stored_name(version.digest, "manifest.json"))
    actions.promote(model="churn", version=2, actor="cli:ana")
    ((code, message),) = told(checks.check_bundles, databases=["default"])
    assert code == "trivet.W022"
    assert message.startswith(f"churn 2 is in use, and its bundle {versions[1].digest[:12]} is not there")
    assert not told(checks.check_bundles)
    call_command("migrate", skip_checks=False, verbosity=0)  # a job that migrates may have no bundles


@pytest.mark.django_db
def test_W025_says_that_processes_answer_and_no_keeper_lives():
    assert not told(checks.check_keeper, databases=["default"])
    Worker.objects.beat("web-1", generation=1, kind="web", host="here", pid=1)
    ((code, _),) = told(checks.check_keeper, databases=["default"])
    assert code == "trivet.W025"
    Worker.objects.beat("keeper-1", generation=1, kind="keeper", host="here", pid=2)
    assert not told(checks.check_keeper, databases=["default"])


@pytest.mark.django_db
def test_no_table_is_asked_in_a_database_that_is_not_migrated_to_this_release():
    """`migrate` checks first: a column that a check reads may not be there yet, or not any more."""
    Worker.objects.beat("web-1", generation=1, kind="web", host="here", pid=1)
    assert told(checks.check_keeper, databases=["default"])
    MigrationRecorder(connection).record_unapplied("trivet", "0019_scoring_runs")
    with CaptureQueriesContext(connection) as asked:
        assert not [found for check in checks.DATABASE_CHECKS for found in told(check, databases=["default"])]
    assert asked.captured_queries
    assert not [query["sql"] for query in asked.captured_queries if "trivet_" in query["sql"]]
