"""`--as USER` at every verb: who may not know of a model reads nothing of it, and what leads to an action is on record."""

import argparse
import json

import pytest
from django.core.management import call_command

from tests.django.test_people import grant, person
from tests.django.worlds import ready
from trivet.cli.main import build_parser
from trivet.control.registry import actions
from trivet.control.registry.models import Event

pytestmark = pytest.mark.django_db

NO_READING = {  # what reads nothing of the registry, lists what one may see, or asks first
    "init",
    "demo",
    "serve",
    "web",
    "grpc",
    "model-workers",
    "webhooks test",
    "keeper",
    "inspect",
    "push",
    "list",
    "approve",
    "grants add",
    "grants remove",
    "export features",
}
OF_MODEL = {  # words, with MODEL in them, and the action that they lead to
    "show": ("show MODEL", ""),
    "show a version": ("show MODEL@9", ""),
    "verify": ("verify MODEL", ""),
    "verify a version": ("verify MODEL@9", ""),
    "replay a version": ("replay MODEL@9", ""),
    "predict": ("predict MODEL age=1", ""),
    "score": ("score MODEL shop.Subscriber", ""),
    "golden list": ("golden list MODEL", ""),
    "drift": ("drift MODEL", ""),
    "report": ("report MODEL", ""),
    "alerts": ("alerts MODEL", ""),
    "export": ("export predictions MODEL", "export_predictions"),
    "label": ("label shop.customer:1 true --model MODEL", "label"),
    "redact": ("redact MODEL", ""),
    "redact a field": ("redact MODEL ssn", "set_sensitive"),
    "redact no longer": ("redact MODEL --no-longer ssn", "set_sensitive"),
    "golden add": ("golden add MODEL age=1 --class stays", "add_golden_case"),
    "golden remove": ("golden remove MODEL 9", "remove_golden_case"),
    "promote": ("promote MODEL@9", "promote"),
    "promote without a version": ("promote MODEL", "promote"),
    "route": ("route MODEL 9=100", "set_routes"),
    "rollback": ("rollback MODEL --to 9", "roll_back"),
    "sign": ("sign MODEL@9 --key none.pem", "sign_version"),
}
OF_REGISTRY = {  # words, what they need, and the action that they lead to
    "verify": ("verify", "view_registeredmodel", ""),
    "verify --log": ("verify --log", "view_predictions", ""),
    "verify --expect": ("verify --expect x", "view_predictions", ""),
    "environments list": ("environments list", "view_registeredmodel", ""),
    "environments make": ("environments make", "view_registeredmodel", ""),
    "environments remove": ("environments remove abc", "view_registeredmodel", ""),
    "grants list": ("grants list", "manage_grants", ""),
    "keys list": ("keys list", "manage_keys", ""),
    "keys create": ("keys create k --model churm --verb view --owner zoee", "manage_keys", "issue_key"),
    "keys limit": ("keys limit abcdefgh --limit 1/s", "manage_keys", "limit_key"),
    "keys rotate": ("keys rotate abcdefgh", "manage_keys", "rotate_key"),
    "keys revoke": ("keys revoke abcdefgh", "manage_keys", "revoke_key"),
    "prune": ("prune --bundles --log", "prune", ""),
    "prune --bundles": ("prune --bundles --apply", "prune", "prune_bundles"),
    "prune --log": ("prune --log --apply", "prune", "prune_log"),
    "prune --forget": ("prune --forget shop.customer:1 --apply", "prune", "forget"),
}
NO_READER = ("predict", "score", "drift", "report")  # these versions do not run, and have no reference
READING = [
    case for case, (_, action) in OF_MODEL.items() if not action and "version" not in case and case not in NO_READER
]


@pytest.fixture(autouse=True)
def world(settings):
    settings.TRIVET_LOG_RETENTION_DAYS = 30
    ready(2)
    actions.promote(model="churn", version=1, actor="cli:root")
    return person(name="ben")


def run(capsys, words, *more):
    """Run one verb; return its exit code, and what it printed."""
    try:
        call_command("trivet", *words.split(), *more)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    out, err = capsys.readouterr()
    return code, out + err


def verbs_and_steps():
    def steps(parser):
        return next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})

    for name, parser in steps(build_parser("trivet")).items():
        yield from (f"{name} {step}" for step in steps(parser)) if steps(parser) else [name]


def test_every_verb_and_step_is_asked_for_here():
    words = {words for words, *_ in (*OF_MODEL.values(), *OF_REGISTRY.values())}
    for name in verbs_and_steps():
        assert (name in NO_READING) != any(f"{text} ".startswith(f"{name} ") for text in words), name


@pytest.mark.parametrize("case", OF_MODEL)
def test_a_model_that_one_may_not_know_of_is_no_model_to_any_verb(capsys, case):
    words, action = OF_MODEL[case]
    before = Event.objects.count()
    hidden = run(capsys, words.replace("MODEL", "churn"), "--as=ben")
    recorded = [
        (told.action, told.actor, told.model, told.after["action"]) for told in Event.objects.all()[: bool(action)]
    ]
    assert recorded == ([("refuse", "user:ben", "churn", action)] if action else [])
    assert Event.objects.count() == before + bool(action)
    missing = run(capsys, words.replace("MODEL", "churm"), "--as=ben")
    assert hidden[0] == missing[0] == 4
    assert hidden[1].replace("churn", "X") == missing[1].replace("churm", "X")
    assert "no model 'X' here." in hidden[1].replace("churn", "X")


@pytest.mark.parametrize("case", OF_REGISTRY)
def test_what_is_of_all_models_takes_the_permission_for_all(capsys, case):
    words, permission, action = OF_REGISTRY[case]
    grant("user:ben", "churn", "promote", "view_predictions")  # one model is not all
    before = Event.objects.count()
    code, said = run(capsys, words, "--as=ben")
    assert (code, f"you may not {permission.removesuffix('_registeredmodel').replace('_', ' ')}" in said) == (3, True)
    assert f"'trivet.{permission}'" in said
    assert "churn" not in said
    assert Event.objects.count() == before + bool(action)
    if action:
        assert (Event.objects.first().after["action"], Event.objects.first().actor) == (action, "user:ben")


@pytest.mark.parametrize("case", [case for case in OF_REGISTRY if not OF_REGISTRY[case][2]])
def test_who_has_the_permission_reads_what_the_shell_reads(capsys, case):
    words, permission, _ = OF_REGISTRY[case]
    person(permission, name="zoe")
    assert run(capsys, words, "--as=zoe") == run(capsys, words)


@pytest.mark.parametrize("case", READING)
def test_who_was_granted_the_model_reads_what_the_shell_reads(capsys, case):
    grant("user:ben", "churn", "view")
    words = OF_MODEL[case][0].replace("MODEL", "churn")
    as_ben, at_the_shell = run(capsys, words, "--as=ben"), run(capsys, words)
    assert as_ben == at_the_shell
    assert as_ben[0] in (0, 1)


def test_a_verb_that_lists_shows_what_one_may_see(capsys):
    ready(model="fraud")
    grant("user:ben", "churn", "view")
    assert [model["name"] for model in json.loads(run(capsys, "list --json", "--as=ben")[1])] == ["churn"]


def test_nobody_by_that_name_reads_nothing(capsys):
    code, said = run(capsys, "keys list", "--as=benn")
    assert (code, "no user 'benn'. Did you mean 'ben'?" in said) == (4, True)
