"""The registry's stories: who changed what, what it left behind, what was refused."""

import inspect
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.django.worlds import bundle, ready, registered
from trivet import signals
from trivet.control.registry import actions
from trivet.control.registry.models import ApiKey, Event, ModelVersion, RegisteredModel, Route
from trivet.control.registry.snapshots import build_snapshot, current_generation
from trivet.core.errors import Conflict, InvalidRequest, NotFound, Refused
from trivet.core.keys import hash_secret, parse_key

pytestmark = pytest.mark.django_db


def traffic(model="churn"):
    routes = Route.objects.filter(model__name=model).values_list("version__number", "weight")
    return dict(routes)


@pytest.fixture
def heard(django_capture_on_commit_callbacks):
    """Return a function that runs an action, commits, and returns the names of the signals it sent with what they said."""

    def run(action, **arguments):
        told = []
        names = {
            getattr(signals, name): name
            for name in vars(signals)
            if name.startswith(("version", "routes", "predictions"))
        }

        def receiver(signal, sender, **said):
            told.append((names[signal], said))

        for signal in names:
            signal.connect(receiver)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                action(**arguments)
        finally:
            for signal in names:
                signal.disconnect(receiver)
        return told

    return run


def test_a_first_push_makes_the_model_and_its_version_1():
    version = actions.register_version(
        name="churn", bundle=bundle(), actor="user:ana", message="first try", source="churn.joblib", sandbox="L2"
    )

    assert (version.model.name, version.number, version.status) == ("churn", 1, "registered")
    assert version.digest == bundle().digest
    assert version.read_signature() == bundle().signature
    assert version.parity == {"max": 2e-7}
    assert (version.note, version.author, version.source, version.sandbox) == (
        "first try",
        "user:ana",
        "churn.joblib",
        "L2",
    )
    event = Event.objects.get()
    assert (event.action, event.model, event.version, event.actor) == ("register_version", "churn", 1, "user:ana")


def test_versions_are_numbered_one_after_another_per_model():
    assert [registered(f"graph {i}").number for i in range(3)] == [1, 2, 3]
    assert registered("graph 0", model="late").number == 1


def test_the_same_bundle_again_is_the_same_version_and_changes_nothing():
    first = registered("graph")
    generation = current_generation()

    assert registered("graph").pk == first.pk
    assert (ModelVersion.objects.count(), Event.objects.count(), current_generation()) == (1, 1, generation)


@pytest.mark.parametrize("name", ["", "Churn", "-x", "a" * 64, "a/b", "churn\n", "stats", "châtaigne"])
def test_a_name_outside_the_grammar_registers_nothing(name):
    with pytest.raises(InvalidRequest, match="cannot name a model"):
        registered(model=name)
    assert not RegisteredModel.objects.exists()


def test_every_change_has_its_own_generation_and_one_event():
    ready(2)
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.issue_key(name="ci", grants={"*": ["view"]}, actor="user:ana")

    generations = list(Event.objects.order_by("generation").values_list("generation", flat=True))
    assert generations == list(range(1, 7))
    assert current_generation() == 6


def test_a_promotion_moves_champion_and_all_traffic():
    ready(2)
    actions.promote(model="churn", version=1, actor="user:ana")

    event = actions.promote(model="churn", version=2, actor="key:deploy", reason="better AUC")

    assert traffic() == {2: 100}
    assert event.before == {"routes": {"1": 100}, "aliases": {"champion": 1}}
    assert event.after == {"routes": {"2": 100}, "aliases": {"champion": 2}}
    assert (event.version, event.reason, event.generation) == (2, "better AUC", current_generation())
    assert RegisteredModel.objects.get().generation == event.generation


def test_a_challenger_that_is_promoted_challenges_no_longer():
    ready(2)
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.set_alias(model="churn", alias="challenger", version=2, actor="user:ana")

    event = actions.promote(model="churn", version=2, actor="user:ana")

    assert event.after["aliases"] == {"champion": 2}


def test_promoting_the_champion_again_changes_nothing():
    ready()
    first = actions.promote(model="churn", version=1, actor="user:ana")

    assert actions.promote(model="churn", version=1, actor="user:ben") == first
    assert current_generation() == first.generation


def test_rolling_back_twice_goes_two_champions_back():
    ready(3)
    for number in (1, 2, 3):
        actions.promote(model="churn", version=number, actor="user:ana")

    assert actions.roll_back(model="churn", actor="user:ana").after["aliases"] == {"champion": 2}
    assert actions.roll_back(model="churn", actor="user:ana").after["routes"] == {"1": 100}
    with pytest.raises(Refused, match=r"no earlier champion.* To undo the last rollback.* churn@2"):
        actions.roll_back(model="churn", actor="user:ana")


def test_a_rollback_skips_the_version_that_was_rolled_back_before():
    ready(3)
    for number in (1, 2):
        actions.promote(model="churn", version=number, actor="user:ana")
    actions.roll_back(model="churn", actor="user:ana")
    actions.promote(model="churn", version=3, actor="user:ana")

    assert RegisteredModel.objects.get().previous_champion == 1


def test_a_rollback_may_name_any_earlier_champion_but_no_other_version():
    ready(4)
    for number in (1, 2, 3):
        actions.promote(model="churn", version=number, actor="user:ana")

    assert actions.roll_back(model="churn", to=1, actor="user:ana").version == 1
    before = Event.objects.count()
    with pytest.raises(Refused, match="churn 4 was never champion; promote it instead: `trivet promote churn@4`"):
        actions.roll_back(model="churn", to=4, actor="user:ana")
    with pytest.raises(Refused, match=r"churn 3 was rolled back from.* promote it instead: `trivet promote churn@3`"):
        actions.roll_back(model="churn", to=3, actor="user:ana")
    with pytest.raises(NotFound, match="churn has no version '9'"):
        actions.roll_back(model="churn", to=9, actor="user:ana")
    assert (traffic(), Event.objects.count()) == ({1: 100}, before)


def test_a_rollback_to_the_champion_takes_the_traffic_of_others_back():
    ready(2)
    actions.promote(model="churn", version=1, actor="user:ana")
    actions.set_routes(model="churn", routes={1: 80, 2: 20}, actor="user:ana")

    actions.roll_back(model="churn", to=1, actor="user:ana")

    assert traffic() == {1: 100}


def test_a_version_that_was_rolled_back_from_and_promoted_anew_is_an_earlier_champion_again():
    ready(3)
    for number in (1, 2):
        actions.promote(model="churn", version=number, actor="user:ana")
    actions.roll_back(model="churn", actor="user:ana")
    for number in (2, 3):
        actions.promote(model="churn", version=number, actor="user:ana")

    assert actions.roll_back(model="churn", to=2, actor="user:ana").version == 2


def test_a_canary_shares_the_traffic_and_leaves_champion_where_it_is():
    ready(2)
    actions.promote(model="churn", version=1, actor="user:ana")

    event = actions.set_routes(model="churn", routes={1: 95, 2: 5}, actor="user:ana")

    assert traffic() == {1: 95, 2: 5}
    assert event.after["aliases"] == {"champion": 1}
    assert RegisteredModel.objects.get().previous_champion is None


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ({}, "add to 0"),
        ({1: 50, 2: 49}, "add to 99"),
        ({1: 150, 2: -50}, "whole number"),
        ({1: 99.5, 2: 0.5}, "whole number"),
    ],
)
def test_routes_that_do_not_add_up_are_refused(routes, message):
    ready(2)
    with pytest.raises(InvalidRequest, match=message):
        actions.set_routes(model="churn", routes=routes, actor="user:ana")
    assert traffic() == {}


def test_only_ready_versions_take_traffic():
    registered("graph 1")
    with pytest.raises(Refused, match=r"churn 1 is not ready: it has not been probed yet\."):
        actions.promote(model="churn", version=1, actor="user:ana")

    actions.reject_version(model="churn", version=1, actor="process:probe", reason="row 2 differs by 0.03")
    with pytest.raises(Refused, match=r"churn 1 is not ready: probe rejected it \(row 2 differs by 0\.03\)\."):
        actions.set_routes(model="churn", routes={1: 100}, actor="user:ana")


def test_F17_a_version_whose_probe_failed_is_refused_and_who_wanted_it_is_recorded():
    ready(1)
    actions.promote(model="churn", version=1, actor="user:ana")
    registered("graph that fails")
    actions.reject_version(model="churn", version=2, actor="process:probe", reason="row 2 differs by 0.03")
    before = traffic()

    with pytest.raises(Refused, match="probe rejected it"):
        actions.promote(model="churn", version=2, actor="user:bo", reason="it is late")

    assert traffic() == before
    event = Event.objects.get(generation=current_generation())
    assert (event.action, event.actor, event.model, event.version) == ("refuse_promotion", "user:bo", "churn", 2)
    assert event.reason == "churn 2 is not ready: probe rejected it (row 2 differs by 0.03)."
    assert [route.version for route in build_snapshot().models["churn"].routes] == [1]
    actions.promote(model="churn", version=1, actor="user:ana", expected_generation=event.generation - 1)  # no conflict


def test_a_refused_change_leaves_nothing_behind():
    ready()
    registered("another graph")
    generation = current_generation()
    with pytest.raises(Refused):
        actions.set_routes(model="churn", routes={1: 50, 2: 50}, actor="user:ana")
    assert (traffic(), current_generation()) == ({}, generation)


def test_a_live_version_cannot_be_rejected():
    ready()
    with pytest.raises(Refused, match="is ready"):
        actions.reject_version(model="churn", version=1, actor="user:ana", reason="I changed my mind")


def test_the_probe_writes_what_it_measured():
    registered()
    version = actions.mark_ready(model="churn", version=1, actor="process:probe", cost_us_per_row=11.5)
    version.refresh_from_db()
    assert (version.is_ready, version.cost_us_per_row) == (True, 11.5)


def test_names_that_mean_nothing_are_not_found_with_the_closest_match():
    ready()
    with pytest.raises(NotFound, match=r"no model 'chrun'\. Did you mean 'churn'\?"):
        actions.promote(model="chrun", version=1, actor="user:ana")
    with pytest.raises(NotFound, match="churn has no version '9'"):
        actions.promote(model="churn", version=9, actor="user:ana")


def test_versions_are_found_by_number_and_by_alias():
    ready(2)
    actions.promote(model="churn", version=2, actor="user:ana")

    resolve = ModelVersion.objects.resolve
    assert resolve("churn", "1").number == resolve("churn", 1).number == 1
    assert resolve("churn", "champion").number == 2
    for word in ("01", "+1", "1.0", "latest", "²", "9" * 30):
        with pytest.raises(NotFound):
            resolve("churn", word)
    with pytest.raises(NotFound, match="Did you mean 'champion'"):
        resolve("churn", "champoin")


@pytest.mark.parametrize("alias", ["latest", "7", "Beta", "", "a" * 33, "b\n"])
def test_an_alias_outside_the_grammar_is_refused(alias):
    ready()
    with pytest.raises(InvalidRequest, match="cannot be an alias"):
        actions.set_alias(model="churn", alias=alias, version=1, actor="user:ana")


def test_champion_moves_only_with_its_traffic():
    ready()
    with pytest.raises(Refused, match="promote the version instead"):
        actions.set_alias(model="churn", alias="champion", version=1, actor="user:ana")


def test_whoever_decided_on_an_old_page_gets_a_conflict_that_says_what_happened():
    ready(3)
    seen = actions.promote(model="churn", version=1, actor="user:ana").generation
    key, _ = actions.issue_key(name="deploy", grants={"churn": ["promote"]}, actor="user:ana")
    event = actions.promote(model="churn", version=2, actor=f"key:{key.pk}", expected_generation=seen)

    with pytest.raises(Conflict) as refusal:
        actions.promote(model="churn", version=3, actor="user:ben", expected_generation=seen)

    assert str(refusal.value) == (
        f"churn changed while you decided: generation {seen} → {event.generation}, version 2 promoted by the key 'deploy' "
        f"at {event.at:%H:%M}. Look again, then promote."
    )
    assert traffic() == {2: 100}


def test_a_push_meanwhile_is_no_conflict_for_who_promotes():
    ready(2)
    seen = current_generation()
    registered("graph 3")
    assert actions.promote(model="churn", version=1, actor="user:ana", expected_generation=seen).version == 1


def test_an_action_tells_its_listeners_when_it_commits(heard):
    told = heard(actions.register_version, name="churn", bundle=bundle(), actor="user:ana", message="m")
    assert [(name, said["version"].number, said["actor"]) for name, said in told] == [
        ("version_registered", 1, "user:ana")
    ]

    told = heard(actions.mark_ready, model="churn", version=1, actor="process:probe")
    assert [name for name, _ in told] == ["version_ready"]

    told = heard(actions.promote, model="churn", version=1, actor="user:ana", reason="go")
    assert [name for name, _ in told] == ["routes_changed", "version_promoted"]
    assert told[1][1] == {
        "model": "churn",
        "before": {"routes": {}, "aliases": {}},
        "after": {"routes": {"1": 100}, "aliases": {"champion": 1}},
        "generation": 3,
        "actor": "user:ana",
        "reason": "go",
    }

    assert heard(actions.promote, model="churn", version=1, actor="user:ana") == []


def test_a_rollback_and_a_rejection_tell_their_listeners(heard):
    ready(2)
    registered("graph 3")
    for number in (1, 2):
        actions.promote(model="churn", version=number, actor="user:ana")
    assert [name for name, _ in heard(actions.roll_back, model="churn", actor="a")] == [
        "routes_changed",
        "version_rolled_back",
    ]
    told = heard(actions.reject_version, model="churn", version=3, actor="process:probe", reason="NaN")
    assert [(name, said["reason"]) for name, said in told] == [("version_rejected", "NaN")]


def test_a_key_is_shown_once_and_stored_hashed(settings):
    key, plaintext = actions.issue_key(
        name="deploy", grants={"churn": ["predict", "view"]}, expires=timedelta(days=90), actor="user:ana"
    )

    stored = ApiKey.objects.get()
    assert parse_key(plaintext).id == stored.pk == key.pk
    assert plaintext not in str(stored.__dict__)
    assert plaintext[16:] not in str(list(Event.objects.values()))
    assert len(bytes(stored.hash)) == 32
    assert stored.expires_at > timezone.now() + timedelta(days=89)

    settings.TRIVET_KEY_PEPPER = "another"
    _, other = actions.issue_key(name="deploy", grants={"*": ["view"]}, actor="user:ana")
    from trivet.conf import peppers

    assert bytes(ApiKey.objects.get(pk=parse_key(other).id).hash) == hash_secret(peppers()[0], other)


@pytest.mark.parametrize(
    ("grants", "message"),
    [
        ({}, "at least one verb"),
        ({"churn": []}, "at least one verb"),
        ({"churn": ["predikt"]}, "'predikt' is no verb. Did you mean 'predict'"),
        ({"Churn": ["predict"]}, "cannot name a model"),
    ],
)
def test_a_key_without_meaningful_grants_is_refused(grants, message):
    with pytest.raises(InvalidRequest, match=message):
        actions.issue_key(name="deploy", grants=grants, actor="user:ana")


def test_a_key_that_has_expired_already_is_refused():
    with pytest.raises(InvalidRequest, match="expired already"):
        actions.issue_key(name="k", grants={"*": ["view"]}, expires=timedelta(0), actor="user:ana")


def test_a_revoked_key_stays_revoked_and_is_revoked_once():
    key, _ = actions.issue_key(name="deploy", grants={"*": ["view"]}, actor="user:ana")
    when = actions.revoke_key(key=key.pk, actor="user:ana", reason="laptop stolen").revoked_at
    generation = current_generation()

    assert actions.revoke_key(key=key.pk, actor="user:ben").revoked_at == when
    assert current_generation() == generation
    assert Event.objects.first().reason == "laptop stolen"
    with pytest.raises(NotFound, match="no API key"):
        actions.revoke_key(key="nobody00", actor="user:ana")


def test_a_key_may_have_limits_of_its_own_which_the_event_tells():
    limits = {"*": "50000/d,100/s", "churn": "10/s"}
    key, _ = actions.issue_key(name="ci", grants={"*": ["predict"]}, limits=limits, actor="user:ana")
    assert key.limits == {"*": "100/s, 50000/d", "churn": "10/s"}
    assert Event.objects.first().after["limits"] == key.limits
    assert actions.limit_key(key=key.pk, limits={"*": "5/s"}, actor="user:ana").limits == {"*": "5/s"}
    assert actions.limit_key(key=key.pk, limits={"*": "5/s"}, actor="user:ana").limits == {"*": "5/s"}
    last = Event.objects.first()
    assert (last.action, last.before["limits"], last.after["limits"]) == ("limit_key", key.limits, {"*": "5/s"})
    assert Event.objects.filter(action="limit_key").count() == 1
    assert actions.limit_key(key=key.pk, limits=None, actor="user:ana").limits is None


@pytest.mark.parametrize("limits", [{"*": "many"}, {"*": "0/s"}, {"no model!": "1/s"}, {"*": "1/s, 2/s"}])
def test_a_limit_that_is_none_is_refused(limits):
    with pytest.raises(InvalidRequest, match=r"limit must be rates such as|name"):
        actions.issue_key(name="k", grants={"*": ["predict"]}, limits=limits, actor="user:ana")
    assert not ApiKey.objects.exists()


def test_a_limit_of_a_model_that_the_key_is_not_for_is_refused_for_it_limits_nothing():
    grants = {"churn": ["predict"], "late": ["predict"]}
    with pytest.raises(InvalidRequest, match=r"'lat' limits nothing.*Did you mean 'late'"):
        actions.issue_key(name="k", grants=grants, limits={"lat": "1/s"}, actor="user:ana")
    key, _ = actions.issue_key(name="k", grants=grants, limits={"late": "1/s", "*": "5/s"}, actor="user:ana")
    with pytest.raises(InvalidRequest, match="Did you mean 'churn'"):
        actions.limit_key(key=key.pk, limits={"chrun": "1/s"}, actor="user:ana")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "a\x1b[2Jb"])
def test_a_key_has_a_name_that_one_line_of_a_list_can_show(name):
    with pytest.raises(InvalidRequest, match="cannot name a key"):
        actions.issue_key(name=name, grants={"*": ["view"]}, actor="user:ana")
    assert not ApiKey.objects.exists()


def test_a_key_that_is_named_by_its_name_or_by_all_of_it_is_told_apart_and_not_said_again():
    key, plaintext = actions.issue_key(name="noisy", grants={"*": ["view"]}, actor="user:ana")
    with pytest.raises(NotFound, match=f"'noisy' is the name of {key.pk}"):
        actions.revoke_key(key="noisy", actor="user:ana")
    with pytest.raises(NotFound, match="named by its id") as refused:
        actions.limit_key(key=plaintext, limits=None, actor="user:ana")
    assert key.pk not in refused.value.message


def test_only_a_key_that_is_there_can_be_limited():
    with pytest.raises(NotFound, match="no API key 'nobody'"):
        actions.limit_key(key="nobody", limits={"*": "1/s"}, actor="user:ana")


def test_a_model_may_answer_without_a_key_when_somebody_says_so():
    ready()
    assert actions.set_anonymous(model="churn", anonymous=True, actor="user:ana").anonymous
    assert Event.objects.first().after == {"anonymous": True}


def test_every_action_is_one_function_that_is_told_who_acts():
    found = {name: inspect.signature(one) for name, one in vars(actions).items() if inspect.isfunction(one)}
    assert sorted(found) == [
        "add_golden_case",
        "approve",
        "decline",
        "give_up_inline",
        "grant",
        "issue_key",
        "limit_key",
        "load",
        "mark_ready",
        "promote",
        "register_version",
        "reject_version",
        "remove_golden_case",
        "revoke_grant",
        "revoke_key",
        "revoke_orphaned_keys",
        "roll_back",
        "rotate_key",
        "set_alias",
        "set_anonymous",
        "set_routes",
        "set_sensitive",
        "sign_version",
        "unload",
    ]
    for signature in found.values():
        assert all(one.kind is one.KEYWORD_ONLY for one in signature.parameters.values())
        assert signature.parameters["actor"].default is inspect.Parameter.empty
