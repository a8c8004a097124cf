"""What `ml.py` declares: found when Django starts, checked by `manage.py check`, and heeded by what watches and judges."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import Q

from tests.contracts.rooms import REPOSITORY
from tests.django.command_line import trivet, verb
from tests.django.declared import declaring, outcome_of, predictor
from tests.django.people import person
from tests.django.test_outcomes import asked, labels
from tests.django.test_performance_report import START as FIRST, champion, day
from tests.django.turns import hurry, is_idle
from tests.django.watched import count, watched_version
from tests.django.worlds import ready, ready_free
from tests.shop.models import Contract, Customer, Flight, Order
from trivet import checks
from trivet.control.monitoring import watching
from trivet.control.monitoring.drift import drift_report
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.models import HeldAgainst, LossEvidence
from trivet.control.monitoring.series import Found
from trivet.control.monitoring.watching import watch
from trivet.control.registry import actions
from trivet.control.registry.declarations import Declaration, declared
from trivet.control.registry.models import RegisteredModel
from trivet.features.outcome import Outcome
from trivet.features.predictor import Predictor
from trivet.features.source import Source
from trivet.serving.chores import chores

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def told(check: Any) -> list[str]:
    return [f"{one.id.removeprefix('trivet.')} {one.msg}" for one in check()]


def inner(**said: Any) -> type:
    return type("Inner", (), said)


# --- what is declared ---------------------------------------------------------------------------------------------------


def test_a_predictor_is_about_the_model_of_its_name_and_says_what_is_to_be_watched():
    for name, model in (("Churn", "churn"), ("LateFlights", "late_flights"), ("HTTPErrors2", "http_errors2")):
        predictor(name, segments=["plan"])
        assert declared(model) == Declaration(segments=("plan",))
    predictor(
        "Other", Meta=inner(name="late.v2", title="Late?"), Monitoring=inner(floor=1, season=False, tolerance=None)
    )
    assert declared("late.v2") == Declaration(title="Late?", floor=1.0, season=False)
    assert declared("other") == Declaration()
    outcome_of("churn", Outcome(value="arr_delay", model=Flight, matures=2 * DAY))
    assert (declared("churn").matures, declared("churn").has_outcome) == (2 * DAY, True)


def test_what_is_inherited_is_said_as_well():
    class Base(Predictor):
        class Monitoring:
            floor = 0.6

    class Late(Base):
        class Monitoring(Base.Monitoring):
            season = False

    assert declared("late") == Declaration(floor=0.6, season=False)
    assert told(checks.check_declared_names) == []


def test_a_module_that_is_imported_again_replaces_what_it_said():
    predictor("Late", segments=["plan"])
    predictor("Late")
    assert declared("late") == Declaration()
    assert told(checks.check_predictor_names) == []


# --- checks -------------------------------------------------------------------------------------------------------------


def test_E010_two_that_claim_one_model():
    predictor("Late")
    predictor("Second", Meta=inner(name="late"))
    assert told(checks.check_predictor_names) == [
        "E010 shop.ml.Late and shop.ml.Second both claim the model 'late'.",
    ]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"segmnets": []}, "shop.ml.Late has no 'segmnets'. Did you mean 'segments'?"),
        (
            {"train": lambda self, data: None},
            "shop.ml.Late has no 'train'. Known: Meta, Monitoring, features, outcome, output, segments.",
        ),
        ({"Rollout": inner(steps=[5])}, "shop.ml.Late has no 'Rollout'."),
        (
            {"Meta": inner(titel="x")},
            "shop.ml.Late.Meta has no 'titel'. Did you mean 'title'? Known: deadline_seconds, max_age, name, test_value, title.",
        ),
        ({"Meta": inner(title=3)}, "shop.ml.Late.Meta.title is '3': a text."),
        ({"Meta": inner(name="Late Flights")}, "shop.ml.Late: 'Late Flights' is no name of a model"),
        ({"Meta": inner(name="stats")}, "shop.ml.Late: 'stats' is no name of a model"),
        ({"Meta": {"title": "x"}}, "shop.ml.Late.Meta is"),
        ({"Monitoring": inner(flor=0.5)}, "shop.ml.Late.Monitoring has no 'flor'. Did you mean 'floor'?"),
        ({"Monitoring": inner(tolerance=2)}, "shop.ml.Late.Monitoring.tolerance is '2': a number from 0 to 1."),
        ({"Monitoring": inner(season=1)}, "shop.ml.Late.Monitoring.season is '1': True or False."),
        ({"Monitoring": inner(metric="AUC")}, "shop.ml.Late.Monitoring.metric is 'AUC': 'auc' or"),
        ({"Monitoring": inner(false_alarm_days=0)}, "shop.ml.Late.Monitoring.false_alarm_days is '0': a whole number"),
        ({"segments": "plan"}, "shop.ml.Late.segments is 'plan': a list of names of inputs."),
    ],
)
def test_E018_a_name_or_a_value_that_is_not_known(said: dict[str, Any], problem: str):
    predictor("Late", **said)
    (found,) = told(checks.check_declared_names)
    assert found.startswith(f"E018 {problem}")
    assert declared("late").season is True  # and what is wrong is not heeded


def test_E018_a_floor_of_what_nothing_estimates():
    predictor("Late", Monitoring=inner(metric="brier", floor=0.2))
    (found,) = told(checks.check_declared_names)
    assert ".Monitoring.floor is 0.2, and " in found
    assert (
        ".Monitoring.metric 'brier': a floor is held against what is estimated, which is auc, average_precis" in found
    )


def test_what_is_ones_own_begins_with_an_underscore():
    predictor("Late", _helper=1, Meta=inner(_x=1), Monitoring=inner(floor=0.5))
    assert told(checks.check_declared_names) == []


ALL = {"model": Flight, "matures": DAY}


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        ("arr_delay", "is 'arr_delay': trivet.Outcome(...)."),
        (Outcome(Q(code="x"), model=Flight), "lacks matures: how late labels may come, as matures=timedelta(days=30)."),
        (Outcome(Q(code="x"), model=Flight, matures=timedelta(0)), "matures is '0:00:00': a timedelta above zero."),
        (Outcome(Q(code="x"), model=Flight, matures=3), "matures is '3': a timedelta above zero."),
        (Outcome(Q(code="x"), matures=DAY), "needs a model"),
        (Outcome(Q(code="x"), model="shop.Fligt", matures=DAY), "needs a model"),
        (Outcome(Q(code="x"), model="Flight", matures=DAY), "needs a model"),
        (Outcome(Q(code="x"), model=dict, matures=DAY), "needs a model"),
        (Outcome(**ALL), "has one of when=Q(...) and value='field', not both and not neither."),
        (Outcome(Q(code="x"), value="code", **ALL), "has one of when=Q(...) and value='field'"),
        (Outcome(Q(arr_dely__gt=1), **ALL), "when: Flight has no field 'arr_dely'. Did you mean 'arr_delay'?"),
        (Outcome(Q(code="x") & ~Q(crrier="x"), **ALL), "when: Flight has no field 'crrier'. Did you mean 'carrier'?"),
        (Outcome(Q(arr_delay__gtt=1), **ALL), "when: Flight cannot be asked for that:"),
        (Outcome(Q(arr_delay__gt="much"), **ALL), "when: Flight cannot be asked for that:"),
        (Outcome(value="code", known=Q(landet_at=1), **ALL), "known: Flight has no field 'landet_at'. Did you mean"),
        (Outcome(Q(code="x"), known=True, **ALL), "known is 'True': Q(...)."),
        (Outcome(value="arrdelay", **ALL), "value: Flight has no field 'arrdelay'. Did you mean 'arr_delay'?"),
        (Outcome(value="landed_at", **ALL), "value: 'landed_at' of Flight is a DateTimeField, not a number"),
        (Outcome(value="code__lower", **ALL), "value: 'code__lower' of Flight is no field."),
        (
            Outcome(value="orders__total", model=Customer, matures=DAY),
            "value: 'orders__total' of Customer goes to many",
        ),
        (Outcome(value="customer", model=Order, matures=DAY), "value: 'customer' of Order is a ForeignKey"),
        (
            Outcome(Q(code="x"), at="arr_delay", **ALL),
            "at: 'arr_delay' of Flight is a FloatField, not a date or a time.",
        ),
        (Outcome(Q(code="x"), at=3, **ALL), "at is '3': a path of a date or a time."),
        (Outcome(Q(code="x"), key="cod", **ALL), "key: Flight has no field 'cod'. Did you mean 'code'?"),
        (Outcome(Q(total=1), model=Order, key="customer", matures=DAY), "key: 'customer' of Order is not unique"),
        (Outcome(Q(pk=1), model=Customer, key="orders", matures=DAY), "key: 'orders' of Customer is no single column."),
        (Outcome(Q(code="x"), says=("left", "left"), **ALL), "says is '('left', 'left')': two different texts"),
        (Outcome(Q(code="x"), says=("stayed",), **ALL), "says is '('stayed',)': two different texts"),
        (Outcome(Q(code="x"), says=(0, 1), **ALL), "says is '(0, 1)': two different texts"),
        (Outcome(Q(code="x"), says="no", **ALL), "says is 'no': two different texts"),
        (Outcome(value="code", says=("no", "yes"), **ALL), "says is for when=Q(...)"),
        (Outcome(Q(code="x"), absent_means=True, **ALL), "absent_means is 'True': False or None"),
        (Outcome(value="code", absent_means=[1], **ALL), "absent_means is '[1]': a truth, a number, a text, or None."),
        (Outcome(value="arr_delay", absent_means=float("nan"), **ALL), "absent_means is 'nan': a truth"),
    ],
)
def test_E013_an_outcome_that_finds_nothing(outcome: Any, problem: str):
    predictor("Late", outcome=outcome)
    (found,) = told(checks.check_outcomes)
    assert found.startswith(f"E013 shop.ml.Late.outcome {problem}")


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Q(arr_delay__gt=15) | Q(code__startswith="X"), known=Q(landed_at__isnull=False), at="landed_at", **ALL),
        Outcome(Q(landed_at__year__gt=2000), at="flown_on", key="code", **ALL),
        Outcome(
            value="customer__contract__fee", at="customer__left_at", model="shop.Order", matures=DAY, absent_means=0
        ),
        Outcome(Q(orders__is_refunded=True), model=Customer, matures=DAY, absent_means=False),
        Outcome(Q(customer__isnull=False), model=Contract, key="customer", matures=DAY),
        Outcome(Q(customer__pk=1), model=Contract, key="customer_id", matures=DAY),
        Outcome(Q(left_at__isnull=False), model=Customer, matures=DAY, absent_means=False, says=("stayed", "churned")),
    ],
)
def test_E013_an_outcome_that_finds_its_rows(outcome: Outcome):
    predictor("Late", outcome=outcome)
    assert told(checks.check_outcomes) == []


# --- ml.py --------------------------------------------------------------------------------------------------------------

ML = """
    import trivet
    from datetime import timedelta
    from django.contrib.auth.models import User
    from django.db.models import Q

    class Churn(trivet.Predictor):
        outcome = trivet.Outcome(Q(is_active=False), model=User, matures=timedelta(days=9))

        class Meta:
            title = "Churn risk"
"""
PROGRAM = """
    import sys
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    apps = ["trivet", "django.contrib.auth", "django.contrib.contenttypes", "people"]
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    settings.configure(INSTALLED_APPS=apps, DATABASES={"default": database}, SECRET_KEY="for this test", USE_TZ=True)
    django.setup()
    assert connection.connection is None
    call_command("check")
    from trivet.control.registry.declarations import declared
    print(declared("churn").title, declared("churn").matures)
    print(sorted({"onnxruntime", "sklearn", "pandas", "joblib"} & set(sys.modules)))
"""


def checked(folder: Path, ml: str) -> subprocess.CompletedProcess[str]:
    """Let Django start with an app of this `ml.py`, and check it."""
    (folder / "people").mkdir()
    (folder / "people" / "__init__.py").touch()
    (folder / "people" / "ml.py").write_text(dedent(ml), encoding="utf-8")
    environment = {"PYTHONPATH": f"{folder}:{REPOSITORY / 'src'}", "TRIVET_HOME": str(folder)}
    program = [sys.executable, "-W", "error", "-c", dedent(PROGRAM)]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_ml_py_is_found_when_django_starts_and_loads_nothing_and_asks_no_database(tmp_path):
    ended = checked(tmp_path, ML)
    assert (ended.returncode, ended.stdout.splitlines()[-2:]) == (0, ["Churn risk 9 days, 0:00:00", "[]"]), ended.stderr


def test_the_ml_py_that_init_writes_into_a_projects_folder_is_found_though_it_is_no_apps(tmp_path):
    program = """
        import django; django.setup()
        from trivet.control.registry.declarations import declared
        print(declared("churn").title)
    """
    own = {"SECRET_KEY": "x" * 60, "TRIVET_PROJECT": str(tmp_path), "DJANGO_SETTINGS_MODULE": "trivet.server.settings"}
    for ml, title in (("", ""), (ML, "Churn risk")):
        (tmp_path / "ml.py").write_text(dedent(ml), encoding="utf-8")
        words = [sys.executable, "-W", "error", "-c", dedent(program)]
        environment = {"PYTHONPATH": str(REPOSITORY / "src"), **own}
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert (ended.returncode, ended.stdout.strip()) == (0, title), ended.stderr


def test_check_fails_for_what_an_outcome_does_not_find(tmp_path):
    ended = checked(tmp_path, ML.replace("is_active", "is_actve"))
    assert ended.returncode != 0
    assert "(trivet.E013) people.ml.Churn.outcome when: User has no field 'is_actve'. Did you mean" in ended.stderr


@pytest.mark.parametrize(
    ("body", "problems"),
    [
        ("import sklearn.svm\nfrom xgboost import XGBClassifier", ["W015 tests.shop/ml.py imports sklearn, xgboost."]),
        ("import math\nfrom . import models\ndef train():\n    import sklearn", []),
    ],
)
def test_W015_ml_py_that_imports_a_training_library(monkeypatch, tmp_path, body: str, problems: list[str]):
    (tmp_path / "ml.py").write_text(body, encoding="utf-8")
    module = type(ast)("tests.shop.ml")
    module.__file__ = str(tmp_path / "ml.py")
    monkeypatch.setitem(sys.modules, "tests.shop.ml", module)
    assert told(checks.check_training_imports) == problems


# --- what heeds it ------------------------------------------------------------------------------------------------------

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.django_db
def test_the_title_is_that_of_the_admin_else_that_of_the_code():
    ready()
    predictor("Churn", Meta=inner(title="Churn risk"))
    model = RegisteredModel.objects.get()
    assert model.heading == "Churn risk"
    model.title = "Who leaves"
    assert model.heading == "Who leaves"


@pytest.mark.django_db
@pytest.mark.parametrize(("said", "is_found"), [({}, True), ({"tolerance": 0.9, "rate_tolerance": 0.9}, False)])
def test_a_change_within_the_declared_tolerance_alarms_nobody(said: dict[str, float], is_found: bool):
    predictor("Churn", Monitoring=inner(**said))
    version = watched_version()
    for hour in range(24):
        count(version, START + timedelta(hours=hour), 500, seed=hour, older=20.0, unseen=0.3)
    verdicts = list(watch(START + DAY + timedelta(minutes=5)))
    assert any(verdict.is_alarm for verdict in verdicts) is is_found


@pytest.mark.django_db
def test_the_budget_of_false_alarms_is_the_declared_one():
    version = watched_version()
    actions.promote(model="churn", version=version.number, actor="cli:ana")
    count(version, START, 500)
    assert drift_report("churn", now=START + DAY).budget == 90
    predictor("Churn", Monitoring=inner(false_alarm_days=7))
    assert drift_report("churn", now=START + DAY).budget == 7
    (verdict,) = list(watch(START + timedelta(hours=1, minutes=5)))
    assert verdict.budget == 7 * 24


@pytest.mark.django_db
@pytest.mark.parametrize(("season", "asked"), [(True, 1), (False, 0)])
def test_without_a_season_no_window_is_compared_with_the_weeks_before(monkeypatch, season: bool, asked: int):
    seen: list[Any] = []
    monkeypatch.setattr(watching, "SEASON", timedelta(hours=1))
    monkeypatch.setattr(watching, "traffic", lambda *_: Found("traffic", None, None, 0, 0.0))
    monkeypatch.setattr(watching, "in_season", lambda _, found, window, __: seen.append(window) or found)
    predictor("Churn", Monitoring=inner(season=season))
    version = watched_version()
    for hour in range(2):
        count(version, START + timedelta(hours=hour), 500, seed=hour)
    list(watch(START + timedelta(hours=2, minutes=5)))
    assert len(seen) == asked


@pytest.mark.django_db
def test_a_day_is_judged_once_its_labels_matured_as_declared_and_its_tables_were_looked_through():
    day(champion(), 0)
    outcome = Outcome(Q(left_at__isnull=False), model=Customer, matures=2 * DAY)
    outcome_of("churn", outcome, Monitoring=inner(trust_tolerance=0.2))
    assert list(judge(FIRST + 2 * DAY)) == []
    assert list(judge(FIRST + 4 * DAY, joined={})) == []
    assert list(judge(FIRST + 4 * DAY, joined={"churn": FIRST + 2 * DAY})) == []
    assert len(list(judge(FIRST + 4 * DAY, joined={"churn": FIRST + 3 * DAY}))) == 1
    kept = {row.loss: row.tolerance for row in LossEvidence.objects.all()}
    assert kept == {HeldAgainst.ESTIMATE: 0.2, HeldAgainst.ESTIMATE_FROM_BELOW: 0.2, HeldAgainst.REFERENCE: 0.01}


@pytest.mark.django_db
def test_the_days_of_a_model_without_an_outcome_wait_for_no_table():
    day(champion(), 0)
    assert len(list(judge(FIRST + 8 * DAY, joined={}))) == 1


@pytest.mark.django_db
def test_the_keeper_looks_through_the_tables_and_tells_what_it_said():
    version = ready_free()
    outcome_of("churn", Outcome(value="arr_delay", model=Flight, matures=DAY))
    answer = asked(version, "shop.flight:1")
    Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    heard: list[Any] = []
    found = chores(heard.append, None)  # type: ignore[arg-type]
    chore, watches = found[-1], found[3]
    assert chore._begin.joined == {}
    hurry(chore)
    for _ in range(9):
        chore.step()
    assert is_idle(chore)
    assert labels(answer) == [31.0]
    assert set(chore._begin.joined) == {"churn"}
    assert watches._begin.args[0] is chore._begin.joined
    assert {model: number for counts in heard for (model, _), number in counts.items()} == {"churn": 1}


@pytest.mark.django_db
def test_a_look_that_failed_is_done_again_after_minutes_and_one_that_did_not_the_next_day(monkeypatch):
    version = ready_free()
    outcome_of("churn", Outcome(value="arr_delay", model=Flight, matures=DAY))
    answer = asked(version, "shop.flight:1")
    Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    looked: list[float] = []
    clock, is_away = [1000.0], [True]
    truly = Source.truths

    def truths(*given: Any) -> Any:
        looked.append(clock[0])
        if is_away[0]:
            raise OperationalError("the server closed the connection unexpectedly")
        return truly(*given)

    monkeypatch.setattr(Source, "truths", truths)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    chore = chores(lambda _: None, None)[-1]  # type: ignore[arg-type]

    def until(seconds: float) -> None:
        while clock[0] < seconds:
            clock[0] += 100
            for _ in range(5):
                chore.step()

    until(3000)
    assert [later - before for before, later in itertools.pairwise(looked)] == [300, 600]
    is_away[0] = False
    until(5000)
    assert (len(looked), labels(answer)) == (4, [31.0])
    until(looked[-1] + 86_000)
    assert len(looked) == 4
    until(looked[-1] + 87_000)
    assert len(looked) == 5


@pytest.mark.django_db
def test_the_verb_looks_through_the_tables_now(capsys):
    version = ready_free()
    outcome_of("churn", Outcome(value="arr_delay", model=Flight, matures=DAY))
    asked(version, "shop.flight:1")
    Flight.objects.create(pk=1, code="UA1", arr_delay=31.0)
    assert verb(capsys, "label", "--outcomes", "--model", "nothing")[0] == 4
    person(name="eva")
    assert verb(capsys, "label", "--outcomes", "--as", "eva")[0] == 4  # who may not know of the model
    assert verb(capsys, "label", "--outcomes", "shop.flight:1", "late")[0] == 2
    nothing = {"applied": 0, "revised": 0, "repeated": 0, "failed": []}
    assert verb(capsys, "label", "--outcomes") == (0, {**nothing, "applied": 1})
    predictor("Chrun", outcome=Outcome(value="arr_delay", model=Flight, matures=DAY))
    assert trivet("label", "--outcomes") == 0
    told = capsys.readouterr().err
    assert "a Predictor is of 'chrun'" in told
    assert "churn" in told.partition("chrun")[2]
    predictor("Broken", outcome=Outcome(value="x", model="no.Such", matures=DAY))
    assert verb(capsys, "label", "--outcomes") == (1, {**nothing, "failed": ["broken"]})
    asked(ready(model="late")[0], "shop.flight:1")
    predictor("Late", outcome=Outcome(value="code", model=Flight, matures=DAY))
    assert verb(capsys, "label", "--outcomes", "--model", "late") == (1, {**nothing, "refused": 1})
    assert trivet("label", "--outcomes", "--model", "late") == 1
    assert ":0: 'UA1' is none of the classes: " in capsys.readouterr().err.partition("the Outcome of late: ")[2]
