"""Where a push puts its version: champion when it is the first, challenger otherwise."""

from types import SimpleNamespace

import pytest

from tests.django.worlds import ready, trained_bundle
from trivet.control.registry import actions, pushing
from trivet.control.registry.bundle_pruning import prune_bundles
from trivet.control.registry.models import Alias, Event, Route

pytestmark = pytest.mark.django_db


def placed(version, *, promote=False):
    probed = pushing.Probed(version, SimpleNamespace(), is_new=True)
    return pushing._placed(probed, SimpleNamespace(), actor="cli:ana", promote=promote)


def test_the_first_is_champion_and_the_next_challenges():
    first, second, third = ready(3)
    assert placed(first).alias == "champion"
    assert placed(first).promoted is None
    assert placed(second).alias == "challenger"
    assert placed(third, promote=True).alias == "champion"
    assert Route.objects.get().version == third


def test_of_two_first_pushes_the_second_challenges_the_first(monkeypatch):
    mine, theirs = ready(2)
    promote = actions.promote

    def overtaken(**arguments):
        monkeypatch.setattr(actions, "promote", promote)
        promote(model="churn", version=theirs.number, actor="cli:eve")
        return promote(**arguments)

    monkeypatch.setattr(actions, "promote", overtaken)
    assert placed(mine).alias == "challenger"
    assert dict(Alias.objects.values_list("name", "version__number")) == {"champion": 2, "challenger": 1}
    assert Event.objects.filter(action="promote").count() == 1


def test_a_retired_version_that_is_pushed_again_is_ready_again_takes_no_traffic_and_the_push_says_so():
    first = pushing.register_and_probe(trained_bundle(), name="churn", actor="cli:ana")
    assert (first.is_new, first.was_retired) == (True, False)
    prune_bundles(keep=0, actor="cli:ana")
    again = pushing.register_and_probe(trained_bundle(), name="churn", actor="cli:ana")
    assert (again.version.pk, again.version.status) == (first.version.pk, "ready")
    assert (again.is_new, again.was_retired) == (False, True)
    assert not Route.objects.exists()
    history = Event.objects.order_by("generation").values_list("action", flat=True)
    assert list(history) == ["register_version", "mark_ready", "prune_bundles", "register_again", "mark_ready"]
    third = pushing.register_and_probe(trained_bundle(), name="churn", actor="cli:ana")
    assert (third.is_new, third.was_retired) == (False, False)
