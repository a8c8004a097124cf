"""TRIVET_APPROVALS = 2: what gives a version traffic takes two people, who are two, and both are on record."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from hypothesis import given, settings as hypothesis_settings, strategies as st

from tests.django.command_line import trivet, verb
from tests.django.people import again, person
from tests.django.worlds import ready, registered
from trivet import signals
from trivet.control.registry import actions, pushing
from trivet.control.registry.actions import approving
from trivet.control.registry.actions.manner import Manner
from trivet.control.registry.actions.move import Move, decode_move, encode_move
from trivet.control.registry.golden import Proof
from trivet.control.registry.models import ApiKey, Event, ModelVersion, Proposal, RegisteredModel, Route
from trivet.core.errors import ApprovalNeeded, Conflict, NotFound, PermissionDenied, Refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def ana():
    return person("view_registeredmodel", "promote", "approve", name="ana")


@pytest.fixture
def ben():
    return person("view_registeredmodel", "promote", "approve", name="ben")


@pytest.fixture(autouse=True)
def world(settings):
    ready(4)
    actions.promote(model="churn", version=1, actor="cli:root")
    settings.TRIVET_APPROVALS = 2


def traffic():
    return dict(Route.objects.values_list("version__number", "weight"))


def proposed(action, **arguments):
    """Return the number of the proposal that such an action leaves behind, with nothing else changed."""
    before = traffic(), RegisteredModel.objects.values().get()
    with pytest.raises(ApprovalNeeded, match="takes a second person") as waiting:
        action(model="churn", **arguments)
    assert (traffic(), RegisteredModel.objects.values().get()) == before
    return waiting.value.proposal


def test_D48_what_one_proposes_another_approves_and_both_are_on_record(ana, ben, django_capture_on_commit_callbacks):
    heard = []

    def receiver(**told):
        heard.append((told["actor"], told["after"].get("approved_by")))

    signals.version_promoted.connect(receiver)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            number = proposed(actions.promote, version=2, actor=ana, reason="better AUC")
        told = Event.objects.first()
        assert (told.action, told.actor, told.version, told.reason) == ("propose", "user:ana", 2, "better AUC")
        assert heard == []
        with django_capture_on_commit_callbacks(execute=True):
            event = actions.approve(proposal=number, actor=ben, reason="I looked")
    finally:
        signals.version_promoted.disconnect(receiver)
    assert heard == [("user:ana", "user:ben")]
    assert traffic() == {2: 100}
    assert (event.action, event.actor, event.reason) == ("promote", "user:ana", "better AUC")
    assert {key: event.after[key] for key in ("approved_by", "proposal", "why")} == {
        "approved_by": "user:ben",
        "proposal": number,
        "why": "I looked",
    }
    row = Proposal.objects.get()
    assert (row.state, row.decided_by) == ("approved", "user:ben")
    with pytest.raises(Refused, match="is decided: approved by user:ben"):
        actions.approve(proposal=number, actor=ben)


def test_D48_nobody_is_their_own_second_person(ana, ben):
    number = proposed(actions.promote, version=2, actor=ana)
    with pytest.raises(Refused, match="is yours"):
        actions.approve(proposal=number, actor=ana)
    told = Event.objects.first()
    assert (told.action, told.actor, told.after["action"]) == ("refuse", "user:ana", "approve")
    ana.username = "ana2"
    ana.save()
    with pytest.raises(Refused, match="is yours"):
        actions.approve(proposal=number, actor=again(ana))
    at_a_shell = proposed(actions.promote, version=2, actor="cli:ben")
    with pytest.raises(Refused, match="is yours"):
        actions.approve(proposal=at_a_shell, actor=ben)
    key, _ = actions.issue_key(name="ci", grants={"*": ["promote"]}, owner=ben, actor="cli:root")
    by_key = proposed(actions.promote, version=2, actor=f"key:{key.pk}")
    with pytest.raises(Refused, match="is yours"):
        actions.approve(proposal=by_key, actor=ben)
    made_by_ben, _ = actions.issue_key(name="cd", grants={"*": ["promote"]}, actor="user:ben")
    by_a_key_of_nobody = proposed(actions.promote, version=2, actor=f"key:{made_by_ben.pk}")
    with pytest.raises(Refused, match="is yours"):
        actions.approve(proposal=by_a_key_of_nobody, actor=ben)
    assert traffic() == {1: 100}
    actions.approve(proposal=by_key, actor=again(ana))
    assert traffic() == {2: 100}


@pytest.mark.parametrize("loss", ["revoked", "expired", "its owner is disabled"])
def test_D48_a_key_that_proposed_must_still_be_one_that_may(ana, ben, loss):
    key, _ = actions.issue_key(name="ci", grants={"churn": ["promote"]}, owner=ana, actor="cli:root")
    number = proposed(actions.promote, version=2, actor=f"key:{key.pk}")
    if loss == "revoked":
        actions.revoke_key(key=key.pk, actor="cli:root")
    elif loss == "expired":
        ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
    else:
        get_user_model().objects.filter(pk=ana.pk).update(is_active=False)
    with pytest.raises(Refused, match="may not promote any more"):
        actions.approve(proposal=number, actor=ben)
    assert traffic() == {1: 100}


def test_D48_what_waits_is_not_proposed_again(ana, ben):
    number, generation = proposed(actions.promote, version=2, actor=ana), Event.objects.first().generation
    assert proposed(actions.promote, version=2, actor=ana) == number
    assert Event.objects.first().generation == generation
    assert proposed(actions.set_routes, routes={1: 50, 2: 50}, actor=ana) != number, "this is something else"
    assert proposed(actions.promote, version=2, actor=ben) != number, "and this is of somebody else"
    actions.decline(proposal=number, actor=ana)
    assert proposed(actions.promote, version=2, actor=ana) != number


def test_D48_to_approve_takes_a_user_who_may(ana):
    number = proposed(actions.promote, version=2, actor=ana)
    with pytest.raises(Refused, match="--as USER"):
        actions.approve(proposal=number, actor="cli:root")
    with pytest.raises(PermissionDenied, match=r"'trivet\.approve'"):
        actions.approve(proposal=number, actor=person("view_registeredmodel", "promote", name="zoe"))
    with pytest.raises(NotFound, match="no proposal"):
        actions.approve(proposal=number, actor=person(name="eve"))
    with pytest.raises(NotFound, match="no proposal"):
        actions.decline(proposal=number + 1, actor="cli:root")
    assert traffic() == {1: 100}


@pytest.mark.parametrize("loss", ["permission", "disabled", "deleted"])
def test_D48_who_proposed_must_still_be_one_who_may(ana, ben, loss):
    number = proposed(actions.promote, version=2, actor=ana)
    if loss == "permission":
        ana.user_permissions.clear()
    elif loss == "disabled":
        get_user_model().objects.filter(pk=ana.pk).update(is_active=False)
    else:
        ana.delete()
    with pytest.raises(Refused, match="may not promote any more"):
        actions.approve(proposal=number, actor=ben)
    assert traffic() == {1: 100}


def test_D48_the_way_back_takes_one(ana, ben):
    actions.approve(proposal=proposed(actions.promote, version=2, actor=ana), actor=ben)
    actions.roll_back(model="churn", actor=ana)
    assert traffic() == {1: 100}
    actions.unload(model="churn", actor=ana)


def test_D48_a_rollback_is_no_promotion_by_one(ana, ben):
    actions.approve(proposal=proposed(actions.promote, version=2, actor=ana), actor=ben)
    actions.roll_back(model="churn", actor=ana)
    for number in (2, 3):  # rolled back from; never champion
        with pytest.raises(Refused, match=rf"`trivet promote churn@{number}`"):
            actions.roll_back(model="churn", to=number, actor=ana)
    assert traffic() == {1: 100}


def test_D48_who_becomes_champion_without_traffic_has_what_a_rollback_would_give(ana, ben):
    number = proposed(actions.set_routes, aliases={"champion": 2}, actor=ana)
    with pytest.raises(Refused, match="churn 2 was never champion"):
        actions.roll_back(model="churn", to=2, actor=ana)
    actions.approve(proposal=number, actor=ben)
    actions.roll_back(model="churn", to=2, actor=ana)
    assert traffic() == {2: 100}


def test_D48_who_has_all_the_traffic_by_two_becomes_champion_by_one(ana, ben):
    actions.approve(proposal=proposed(actions.set_routes, routes={2: 100}, actor=ana), actor=ben)
    assert actions.promote(model="churn", version=2, actor=ana).after["aliases"] == {"champion": 2}


GAINS = {
    "promote": (actions.promote, {"version": 2}),
    "canary": (actions.set_routes, {"routes": {1: 99, 2: 1}}),
    "stands in": (actions.set_routes, {"fallback": [3]}),
    "an alias that stands in": (actions.set_routes, {"fallback": ["next"]}),
}


@pytest.mark.parametrize("name", GAINS)
def test_D48_whatever_gives_a_version_traffic_takes_two(ana, ben, name):
    actions.set_alias(model="churn", alias="next", version=2, actor=ana)  # a name is no traffic
    action, arguments = GAINS[name]
    actions.approve(proposal=proposed(action, actor=ana, **arguments), actor=ben)


def test_D48_more_of_it_takes_two_and_less_of_it_one(ana, ben):
    actions.approve(proposal=proposed(actions.set_routes, routes={1: 60, 2: 40}, actor=ana), actor=ben)
    proposed(actions.set_routes, routes={1: 40, 2: 60}, actor=ana)
    proposed(actions.set_routes, routes={1: 100}, actor=ana)  # less for 2 is more for 1
    actions.set_routes(model="churn", shadows={3: 100}, actor=ana)  # never answers
    actions.approve(proposal=proposed(actions.set_routes, fallback=["champion", 4], actor=ana), actor=ben)
    actions.set_routes(model="churn", fallback=[4], actor=ana)
    actions.set_routes(model="churn", fallback=[], actor=ana)
    proposed(actions.set_routes, fallback=[4], actor=ana)


def test_D48_a_first_percent_of_what_stood_in_takes_two(ana, settings):
    settings.TRIVET_APPROVALS = 1
    actions.set_routes(model="churn", fallback=[2], actor=ana)
    settings.TRIVET_APPROVALS = 2
    proposed(actions.set_routes, routes={1: 99, 2: 1}, actor=ana)
    assert traffic() == {1: 100}


def test_D48_an_alias_in_the_chain_moves_with_two(ana, ben):
    actions.set_alias(model="churn", alias="spare", version=2, actor=ana)
    actions.approve(proposal=proposed(actions.set_routes, fallback=["spare"], actor=ana), actor=ben)
    number = proposed(actions.set_alias, alias="spare", version=3, actor=ana)
    actions.approve(proposal=number, actor=ben)


def test_D48_a_proposal_goes_stale_when_the_model_changes(ana, ben):
    first = proposed(actions.promote, version=2, actor=ana)
    second = proposed(actions.promote, version=3, actor=ben)
    assert Proposal.objects.waiting().count() == 2
    actions.approve(proposal=second, actor=ana)
    assert Proposal.objects.waiting().count() == 0
    with pytest.raises(Conflict, match="churn changed while you decided"):
        actions.approve(proposal=first, actor=ben)
    assert traffic() == {3: 100}


def test_D48_a_proposal_expires(ana, ben):
    number = proposed(actions.promote, version=2, actor=ana)
    Proposal.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert not Proposal.objects.waiting().exists()
    with pytest.raises(Refused, match="has expired"):
        actions.approve(proposal=number, actor=ben)


@pytest.mark.parametrize(("who", "state"), [("ana", "withdrawn"), ("ben", "declined")])
def test_D48_a_proposal_is_withdrawn_by_who_made_it_and_declined_by_others(ana, ben, who, state):
    number = proposed(actions.promote, version=2, actor=ana)
    ana.user_permissions.set(ana.user_permissions.filter(codename="view_registeredmodel"))  # who may look may withdraw
    row = actions.decline(proposal=number, actor=again({"ana": ana, "ben": ben}[who]), reason="no")
    assert (row.state, row.decided_by) == (state, f"user:{who}")
    told = Event.objects.first()
    assert (told.action, told.actor, told.after) == ("decline", f"user:{who}", {"proposal": number, "state": state})
    with pytest.raises(Refused, match=f"is decided: {state}"):
        actions.approve(proposal=number, actor=ben)
    assert traffic() == {1: 100}


def test_D48_what_keeps_a_version_from_traffic_keeps_it_from_being_proposed_and_approved(ana, ben):
    registered("not probed")
    with pytest.raises(Refused, match="not been probed"):
        actions.promote(model="churn", version=5, actor=ana)
    assert not Proposal.objects.exists()
    number = proposed(actions.promote, version=2, actor=ana)
    ModelVersion.objects.filter(number=2).update(status="retired")
    with pytest.raises(Refused, match="retired"):
        actions.approve(proposal=number, actor=ben)
    assert traffic() == {1: 100}


def test_D48_golden_cases_that_change_during_the_replay_send_whoever_approves_back(ana, ben, monkeypatch):
    number = proposed(actions.promote, version=2, actor=ana)
    replayed = approving.prove_move

    def replayed_while_somebody_adds_a_case(model, move):
        assert replayed(model, move) is not None
        actions.add_golden_case(
            model=model, inputs={"age": 1.0, "plan": "pro"}, expect={"class": "stays"}, actor="cli:root"
        )
        return Proof([])

    monkeypatch.setattr(approving, "prove_move", replayed_while_somebody_adds_a_case)
    with pytest.raises(Conflict, match="golden cases of churn changed"):
        actions.approve(proposal=number, actor=ben)
    assert traffic() == {1: 100}


SHARES = st.none() | st.dictionaries(st.integers(1, 99), st.integers(0, 100), max_size=3)
STEPS = st.integers(1, 99) | st.sampled_from(["next", "champion"]) | st.just({"label": "stays", "p": [0.5, 0.5]})
MOVES = st.builds(
    Move,
    action=st.sampled_from(["promote", "set_routes", "set_alias"]),
    routes=SHARES,
    aliases=st.dictionaries(st.sampled_from(["champion", "next"]), st.none() | st.integers(1, 9)),
    manner=st.builds(
        Manner,
        shadows=SHARES,
        sticky_by=st.none() | st.sampled_from(["", "plan"]),
        fallback=st.none() | st.lists(STEPS, max_size=3),
    ),
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(move=MOVES)
def test_a_move_that_waits_is_the_move_that_was_wanted(move):
    assert decode_move(move.action, json.loads(json.dumps(encode_move(move)))) == move


def test_D48_at_the_command_line_two_people_promote(ana, ben, capsys):
    code, said = verb(capsys, "promote", "churn@2", "--as=ana", "-m", "better")
    assert (code, "takes a second person" in said) == (3, True)
    (waiting,) = verb(capsys, "approve")[1]
    assert (waiting["model"], waiting["routes"], waiting["proposer"]) == ("churn", {"2": 100}, "user:ana")
    number = str(waiting["number"])
    assert verb(capsys, "approve", number)[0] == 3
    assert verb(capsys, "approve", number, "--as=ana")[0] == 3
    code, made = verb(capsys, "approve", number, "--as=ben")
    assert (code, made["proposed_by"], made["approved_by"]) == (0, "user:ana", "user:ben")
    assert traffic() == {2: 100}
    assert verb(capsys, "approve")[1] == []
    assert verb(capsys, "approve", "--decline")[0] == 2
    number = str(proposed(actions.promote, version=3, actor=ana))
    assert verb(capsys, "approve", number, "--decline", "--as=ana")[1]["state"] == "withdrawn"
    assert verb(capsys, "rollback", "churn", "--as=ana")[0] == 0
    code, said = verb(capsys, "rollback", "churn", "--to=2", "--as=ana")
    assert (code, "`trivet promote churn@2`" in said) == (3, True)
    assert traffic() == {1: 100}


def test_D48_show_names_the_second_person_the_grant_and_the_shares(ana, ben, capsys):
    number = proposed(actions.promote, version=2, actor=ana)
    actions.approve(proposal=number, actor=ben)
    actions.grant(to="user:ana", model="churn", verbs=["push"], actor="cli:root")
    for _ in range(8):
        actions.grant(to="user:ana", model="churn", verbs=["label"], actor="cli:root")
        actions.revoke_grant(of="user:ana", model="churn", verbs=["label"], actor="cli:root")
    capsys.readouterr()
    assert trivet("show", "churn") == 0
    shown = capsys.readouterr().out
    assert "  revoke_grant  by cli:root  user:ana may push\n" in shown
    assert f"  and {Event.objects.filter(model='churn').count() - 10} earlier\n" in shown
    Event.objects.filter(action__in=["grant", "revoke_grant"]).delete()
    assert trivet("show", "churn") == 0
    shown = capsys.readouterr().out
    assert f"  promote 2  by user:ana  proposal {number}  approved by user:ben\n" in shown
    assert f"  propose 2  by user:ana  proposal {number}\n" in shown


def test_D48_a_first_push_waits_for_a_second_person_too(ana, ben):
    version = ready(model="late")[0]
    probed = pushing.Probed(version, None, True)
    pushed = pushing._placed(probed, None, actor=ana, promote=False)
    assert (pushed.promoted, pushed.alias) == (None, "")
    assert "takes a second person" in pushed.proposed
    actions.approve(proposal=Proposal.objects.get().pk, actor=ben)
    assert Route.objects.filter(version=version).exists()


def test_D48_with_one_person_nothing_is_asked(settings, ana):
    settings.TRIVET_APPROVALS = 1
    assert actions.promote(model="churn", version=2, actor=ana).action == "promote"
    assert not Proposal.objects.exists()
    assert not ApiKey.objects.exists()
