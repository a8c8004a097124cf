"""Who may do what with which model: one answer, at every door; and what is refused is on record."""

import inspect
import itertools

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.test import override_settings
from hypothesis import given, settings as hypothesis_settings, strategies as st

import trivet
from tests.django.command_line import verb
from tests.django.people import again, browser, grant, person
from tests.django.worlds import bundle, live_model, ready, record
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.groups import SUGGESTED_GROUPS, make_suggested_groups
from trivet.control.registry.models import ApiKey, Event, Grant
from trivet.control.registry.permissions import (
    VERBS_OF_MODELS,
    VERBS_OF_REGISTRY,
    can,
    models_open_to,
    why_not,
)
from trivet.control.registry.snapshots import build_snapshot
from trivet.core.errors import ApprovalNeeded, NotFound, PermissionDenied, TrivetError
from trivet.core.snapshot import VERBS, KeyEntry, ModelEntry, Snapshot, with_implied
from trivet.dataplane.authentication import authorise
from trivet.dataplane.protocol.messages import Caller
from trivet.dataplane.table import LiveModel, Table
from trivet.serving import process

pytestmark = pytest.mark.django_db
ROW = {"age": 41.0, "city": "Oslo"}


@pytest.fixture
def two_models():
    ready(2, model="churn")
    ready(model="fraud")


def test_every_permission_that_is_asked_for_is_one_of_django(two_models):
    codenames = set(Permission.objects.filter(content_type__app_label="trivet").values_list("codename", flat=True))
    assert set((VERBS_OF_MODELS | VERBS_OF_REGISTRY).values()) <= codenames


def test_a_permission_is_for_every_model_and_a_grant_for_one(two_models):
    ben = person("predict")
    grant("user:ben", "churn", "promote")

    assert [can(ben, "predict", name) for name in ("churn", "fraud", "yet-to-come")] == [True] * 3
    assert [can(ben, "promote", name) for name in ("churn", "fraud", None)] == [True, False, False]
    assert can(ben, "view", "churn"), "who may promote it may know of it"
    assert models_open_to(ben, "predict") is None
    assert models_open_to(ben, "promote") == {"churn"}


def test_a_group_has_what_was_granted_to_it_until_one_leaves(two_models):
    ben, group = person(), Group.objects.create(name="analysts")
    ben.groups.add(group)
    grant("group:analysts", "churn", "predict")
    assert can(again(ben), "predict", "churn")
    assert not can(again(ben), "predict", "fraud")
    ben.groups.remove(group)
    assert not can(again(ben), "predict", "churn")


@pytest.mark.parametrize("verb", ["view", "predict", "promote", "manage_keys"])
def test_a_superuser_may_everything_and_whoever_is_disabled_nothing(two_models, verb):
    root = get_user_model().objects.create_superuser("root", "", "x")
    ben = person(name="ben", is_active=False)
    grant("user:ben", "churn", "promote", "view")
    assert can(root, verb, "churn")
    assert not can(ben, verb, "churn")
    root.is_active = False
    assert not can(root, verb, "churn")
    assert not can(AnonymousUser(), verb, "churn")


class LetsEverybodyIn:
    """A site's own backend, which does not ask whether somebody was disabled."""

    def authenticate(self, _request, **_credentials):
        return None

    def has_perm(self, _user, _permission, _obj=None):
        return True


def test_whoever_is_disabled_may_nothing_though_a_sites_own_backend_says_so(two_models, settings):
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.LetsEverybodyIn"]
    assert can(person(), "promote", "churn")
    assert not can(person(name="zoe", is_active=False), "promote", "churn")
    assert models_open_to(person(name="max", is_active=False)) == frozenset()


def test_what_was_granted_is_taken_back_by_verb_or_whole_and_both_are_on_record(two_models):
    ben = person()
    grant("user:ben", "churn", "predict", "label")
    generation = grant("user:ben", "churn", "predict") and Event.objects.first().generation
    assert Event.objects.filter(action="grant").count() == 1, "a grant that is there already changes nothing"
    assert actions.revoke_grant(of="user:ben", model="churn", verbs=["label"], actor="cli:ana") == ["predict"]
    told = Event.objects.first()
    assert (told.action, told.model, told.generation) == ("revoke_grant", "churn", generation + 1)
    assert told.before == {"principal": "user:ben", "verbs": ["label", "predict"]}
    assert told.after == {"principal": "user:ben", "verbs": ["predict"]}
    assert actions.revoke_grant(of="user:ben", model="churn", actor="cli:ana") == []
    assert not Grant.objects.exists()
    assert not can(again(ben), "view", "churn")


@pytest.mark.parametrize(
    ("to", "model", "verb", "says"),
    [
        ("user:benn", "churn", "predict", "no user 'benn'. Did you mean 'ben'?"),
        ("group:x", "churn", "predict", "no group 'x'"),
        ("ben", "churn", "predict", "write user:NAME or group:NAME"),
        ("user:ben", "chrn", "predict", "no model 'chrn'. Did you mean 'churn'?"),
        ("user:ben", "churn", "predicts", "no verb. Did you mean 'predict'?"),
        ("user:ben", "churn", "manage_keys", "is of no single model: give the Django permission 'trivet.manage_keys'"),
        ("user:ben", "*", "predict", "is for one model; for all of them, give the Django permission 'trivet.predict'"),
    ],
)
def test_a_grant_that_names_nothing_says_what_is_wrong(two_models, to, model, verb, says):
    person()
    with pytest.raises(TrivetError) as refused:
        grant(to, model, verb)
    assert says in refused.value.message


GRANTS = st.dictionaries(st.sampled_from(["churn", "fraud", "*"]), st.sets(st.sampled_from(VERBS), min_size=1))


@hypothesis_settings(max_examples=200, deadline=None)
@given(grants=GRANTS, verb=st.sampled_from(VERBS), model=st.sampled_from(["churn", "fraud"]))
def test_a_key_may_in_the_registry_what_it_may_where_it_is_answered(grants, verb, model):
    key = ApiKey(id="abcdefgh", grants={name: sorted(verbs) for name, verbs in grants.items()})
    entry = KeyEntry("abcdefgh", b"", {name: with_implied(verbs) for name, verbs in grants.items()})
    live = LiveModel(ModelEntry(model, {}), {}, ())
    table = Table(Snapshot(1, keys={entry.id: entry}), {model: live})
    try:
        answered = authorise(table, Caller("key:abcdefgh", entry.grants), model, verb) is live
    except (NotFound, PermissionDenied):
        answered = False
    assert can(key, verb, model) == answered


# What each action of a person needs, with arguments that would otherwise do something. A new action has its line here.
OF_PROCESSES = {"give_up_inline"}  # what no person asks for
ASKED = {
    "add_golden_case": {"model": "churn", "inputs": {"age": 1.0, "plan": "pro"}, "expect": {"class": "stays"}},
    "approve": {"proposal": "PROPOSAL"},
    "decline": {"proposal": "PROPOSAL"},
    "grant": {"model": "churn", "to": "user:ben", "verbs": ["promote"]},
    "issue_key": {"name": "k", "grants": {"*": ["promote"]}},
    "limit_key": {"key": "KEY", "limits": {"*": "10/s"}},
    "load": {"model": "churn", "version": 2},
    "mark_ready": {"model": "churn", "version": 3},
    "promote": {"model": "churn", "version": 2},
    "register_version": {"name": "churn", "bundle": bundle("another graph")},
    "reject_version": {"model": "churn", "version": 3, "reason": "I say so"},
    "remove_golden_case": {"model": "churn", "number": 1},
    "revoke_grant": {"model": "churn", "of": "user:zoe"},
    "revoke_key": {"key": "KEY"},
    "revoke_orphaned_keys": {},
    "roll_back": {"model": "churn", "to": 1},
    "rotate_key": {"key": "KEY"},
    "set_alias": {"model": "churn", "alias": "next", "version": 2},
    "set_anonymous": {"model": "churn", "anonymous": True},
    "set_routes": {"model": "churn", "routes": {1: 50, 2: 50}},
    "set_sensitive": {"model": "churn", "add": ["age"]},
    "sign_version": {"model": "churn", "version": 1, "by": b"{}"},
    "unload": {"model": "churn"},
}


def filled(arguments, world):
    """Return the arguments with the key and the proposal that are there."""
    return {name: world.get(value, value) if isinstance(value, str) else value for name, value in arguments.items()}


def test_every_action_of_a_person_is_asked_for():
    all_of_them = {name for name, one in vars(actions).items() if inspect.isfunction(one)}
    assert ASKED.keys() == all_of_them - OF_PROCESSES


@pytest.fixture
def changeable(two_models):
    actions.register_version(name="churn", bundle=bundle("third"), actor="cli:ana")
    actions.promote(model="churn", version=1, actor="cli:ana")
    person(name="zoe")
    grant("user:zoe", "churn", "view")
    key, _ = actions.issue_key(name="deploy", grants={"churn": ["predict"]}, actor="cli:ana")
    with override_settings(TRIVET_APPROVALS=2), pytest.raises(ApprovalNeeded) as waiting:
        actions.set_routes(model="churn", routes={1: 90, 2: 10}, actor="cli:ana")
    actions.add_golden_case(
        model="churn", inputs={"age": 1.0, "plan": "pro"}, expect={"class": "stays"}, actor="cli:ana"
    )
    return {"KEY": key.pk, "PROPOSAL": waiting.value.proposal}


@pytest.mark.parametrize("name", sorted(ASKED))
def test_who_may_only_look_is_refused_and_that_is_on_record(changeable, name):
    ben = person("view_registeredmodel")
    arguments = filled(ASKED[name], changeable)
    before = build_snapshot()
    with pytest.raises(PermissionDenied, match="you may not"):
        getattr(actions, name)(**arguments, actor=ben)
    told = Event.objects.first()
    assert (told.action, told.actor) == ("refuse", "user:ben")
    assert told.after["action"] in (name, "revoke_key")
    assert told.after["needs"] in VERBS_OF_MODELS | VERBS_OF_REGISTRY
    assert told.reason.startswith("you may not")
    is_of_churn = name in ("register_version", "approve", "decline")
    assert told.model == arguments.get("model", "churn" if is_of_churn else "")
    after = build_snapshot(before)
    assert after.generation == before.generation + 1
    assert (after.models, after.keys) == (before.models, before.keys), "nothing has changed"
    assert all(after.models[model] is before.models[model] for model in after.models), "and nothing was read again"


@pytest.mark.parametrize("name", sorted(name for name in ASKED if "model" in ASKED[name]))
def test_a_model_that_one_may_not_know_of_is_no_model(changeable, name):
    ben = person()
    with pytest.raises(NotFound) as hidden:
        getattr(actions, name)(**ASKED[name], actor=ben)
    assert Event.objects.first().action == "refuse"
    with pytest.raises(NotFound) as missing:
        getattr(actions, name)(**{**ASKED[name], "model": "chur"}, actor=ben)
    assert hidden.value.message.replace("'churn'", "X") == missing.value.message.replace("'chur'", "X")
    assert Event.objects.filter(model="chur").count() == 0


def test_who_was_granted_it_for_this_model_does_it_under_their_name(changeable):
    ben = person()
    grant("user:ben", "churn", "promote")
    actions.remove_golden_case(model="churn", number=1, actor=ben)
    event = actions.promote(model="churn", version=2, actor=ben)
    assert (event.action, event.actor) == ("promote", "user:ben")
    with pytest.raises(NotFound, match="no model 'fraud' here"):
        actions.promote(model="fraud", version=1, actor=ben)
    with pytest.raises(NotFound, match=r"no model 'chrun' here\. Did you mean 'churn'\?"):
        actions.promote(model="chrun", version=1, actor=ben)
    with pytest.raises(NotFound, match=r"no model 'frau' here\.$"):  # there is a fraud, which ben may not know of
        actions.promote(model="frau", version=1, actor=ben)


def test_who_may_push_moves_challenger_and_no_other_alias_unless_it_stands_in(changeable):
    ben = person("view_registeredmodel", "push")
    actions.set_alias(model="churn", alias="challenger", version=2, actor=ben)
    with pytest.raises(PermissionDenied):
        actions.set_alias(model="churn", alias="next", version=2, actor=ben)
    actions.set_routes(model="churn", fallback=["challenger"], actor="cli:ana")
    with pytest.raises(PermissionDenied):
        actions.set_alias(model="churn", alias="challenger", version=1, actor=ben)


@pytest.fixture
def answering(transactional_db, settings):
    """Two live models, and the process that answers, ended when the test ends."""
    settings.TRIVET_KEEPER = "external"
    for name in ("churn", "fraud"):
        live_model(name)
    yield
    if process._process is not None:
        process._process.stop()
        process._process = None


def test_in_process_a_user_is_recorded_and_the_code_is_taken_at_its_word(answering):
    ben = person()
    assert trivet.predict("churn", ROW, user=ben).model == "churn"
    assert trivet.predict("churn", ROW, user="ben").model == "churn"
    assert trivet.predict("fraud", ROW).model == "fraud"


def test_at_the_command_line_as_someone_one_may_what_they_may(answering, capsys):
    person()
    assert verb(capsys, "grants", "add", "user:ben", "--model=churn", "--verb=predict")[0] == 0
    code, listed = verb(capsys, "grants", "list")
    assert (code, listed) == (0, [{"model": "churn", "principal": "user:ben", "verbs": ["predict"]}])
    assert [model["name"] for model in verb(capsys, "list", "--as=ben")[1]] == ["churn"]
    assert [model["name"] for model in verb(capsys, "list")[1]] == ["churn", "fraud"]
    assert verb(capsys, "show", "churn", "--as=ben")[0] == 0
    assert verb(capsys, "show", "fraud", "--as=ben")[0] == 4
    assert verb(capsys, "predict", "churn", "age=41", "city=Oslo", "--as=ben")[0] == 0
    process._process = None
    assert verb(capsys, "predict", "fraud", "age=41", "city=Oslo", "--as=ben")[0] == 4
    process._process = None
    code, said = verb(capsys, "rollback", "churn", "--as=ben")
    assert (code, Event.objects.first().action) == (3, "refuse")
    assert "you may not promote with 'churn'" in said
    code, said = verb(capsys, "rollback", "churn", "--as=benn")
    assert (code, "Did you mean 'ben'?" in said) == (4, True)
    assert verb(capsys, "grants", "remove", "user:ben", "--model=churn")[1] == [
        {"model": "churn", "principal": "user:ben", "verbs": []}
    ]
    assert verb(capsys, "grants", "remove", "user:ben", "--model=churn")[0] == 4


TABLES = ["registeredmodel", "modelversion", "alias", "route", "event", "goldencaserow"]


@pytest.mark.parametrize("table", TABLES)
def test_the_admin_shows_rows_of_granted_models_alone(changeable, table):
    actions.promote(model="fraud", version=1, actor="cli:ana")
    ben = person(is_staff=True)
    grant("user:ben", "fraud", "view")
    client = browser(ben)
    page = client.get(f"/admin/trivet/{table}/")
    assert page.status_code == 200
    assert "churn" not in page.content.decode()
    rows = apps.get_model("trivet", table).objects.all()
    about = {"registeredmodel": "name", "event": "model"}.get(table, "model__name")
    mine, others = rows.filter(**{about: "fraud"}), rows.exclude(**{about: "fraud"})
    assert table == "goldencaserow" or mine.exists()
    assert others.exists()
    for row in mine[:1]:
        assert client.get(f"/admin/trivet/{table}/{row.pk}/change/").status_code == 200
    for row in others[:1]:
        assert client.get(f"/admin/trivet/{table}/{row.pk}/change/").status_code == 302, "as for one that is not there"


def test_the_admin_shows_predictions_and_inputs_by_grant(two_models):
    from trivet.control.predictions.models import Prediction
    from trivet.control.registry.models import ModelVersion

    ship([record(version) for version in ModelVersion.objects.filter(number=1)])
    ben = person(is_staff=True)
    grant("user:ben", "churn", "view_predictions")
    client = browser(ben)
    page = client.get("/admin/trivet/prediction/")
    assert "churn" in page.content.decode()
    assert "fraud" not in page.content.decode()
    own = f"/admin/trivet/prediction/{Prediction.objects.get(model='churn').pk}/change/"
    assert "Inputs:" not in client.get(own).content.decode()
    grant("user:ben", "churn", "view_inputs")
    assert "Inputs:" in client.get(own).content.decode()
    for table in ("apikey", "grant"):
        assert client.get(f"/admin/trivet/{table}/").status_code == 403


def test_a_refusal_says_what_would_help(two_models):
    ben = person("view_registeredmodel")
    said = [str(why_not(ben, verb, model)) for verb, model in itertools.product(["label", "prune"], ["churn", None])]
    assert said == [
        "you may not label with 'churn': that takes 'trivet.label', or a grant of 'label' for this model.",
        "you may not label: that takes 'trivet.label'.",
        "you may not prune with 'churn': that takes 'trivet.prune'.",
        "you may not prune: that takes 'trivet.prune'.",
    ]


def test_the_suggested_groups_are_made_once_and_are_their_owners_from_then_on():
    config = apps.get_app_config("trivet")
    assert make_suggested_groups(config) == list(SUGGESTED_GROUPS)
    for name, codenames in SUGGESTED_GROUPS.items():
        assert {one.codename for one in Group.objects.get(name=name).permissions.all()} == set(codenames)
    Group.objects.get(name="Trivet viewers").permissions.clear()
    Group.objects.get(name="Trivet approvers").delete()
    assert make_suggested_groups(config) == ["Trivet approvers"]
    assert not Group.objects.get(name="Trivet viewers").permissions.exists()


def test_auditors_read_everything_and_change_nothing(changeable):
    make_suggested_groups(apps.get_app_config("trivet"))
    ben = person(is_staff=True)
    ben.groups.add(Group.objects.get(name="Trivet auditors"))
    client = browser(ben)
    for table in (*TABLES, "prediction", "apikey", "grant", "proposal"):
        assert client.get(f"/admin/trivet/{table}/").status_code == 200, table
    for name, given_to_it in ASKED.items():
        arguments = filled(given_to_it, changeable)
        with pytest.raises(PermissionDenied):
            getattr(actions, name)(**arguments, actor=again(ben))
