"""`trivet report`: one page that somebody reads who decides, in which no name is markup."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html.parser import HTMLParser

import msgspec
import pytest
from django.utils import timezone

from tests.django import test_class_performance as several_classes
from tests.django.command_line import trivet, verb
from tests.django.people import person
from tests.django.segmented import declared_segments, lived_day, segmented_version
from tests.django.test_performance_report import champion, day
from tests.django.watched import count, watched_version
from trivet.cli import report_page
from trivet.cli.report_page import Bar, Page, Picture, Section, html, markdown
from trivet.control.monitoring.alerts import raise_alert
from trivet.control.monitoring.compacting import begin_of
from trivet.control.monitoring.judging import judge
from trivet.control.monitoring.models import Cause, Grain, Severity
from trivet.control.registry import actions

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>|[x](javascript:1)`\n# title"


def this_hour() -> datetime:
    return begin_of(timezone.now(), Grain.HOUR)


def test_it_tells_of_alerts_drift_and_performance(capsys):
    version = watched_version(importance=(0.876, 0.124))
    actions.promote(model="churn", version=1, actor="cli:ana")
    count(version, this_hour() - timedelta(hours=2), 500, older=20.0)
    raise_alert(version, Cause.DRIFT, Severity.WARNING, features=["age"], evidence={"mean": 3000.0, "budget": 2160.0})
    assert trivet("report", "churn") == 0
    told = capsys.readouterr().out
    for words in (
        f" to {timezone.now():%Y-%m-%d}\n",
        "# churn 1, ",
        "1 of its alerts is not over.",
        "1 of this model are not over.",
        "What churn 1 is asked has changed: age.",
        "churn 1: 500 rows from ",
        "| FEATURE | IMPORTANCE | DISTANCE |",
        "| age | 88 % | 0.",
        "0 of 500 predictions have a label.",
        "is not known yet: that takes 200 labels",
        "not yet: 0 of 200 labels",
    ):
        assert words in told
    code, page = verb(capsys, "report", "churn")
    assert code == 0
    assert [section["title"] for section in page["sections"]][:3] == ["In short", "Alerts", "What it is asked"]


def test_who_may_not_see_inputs_reads_no_value_of_the_reference(capsys):
    version = watched_version()
    actions.promote(model="churn", version=1, actor="cli:ana")
    count(version, this_hour() - timedelta(hours=2), 500, unseen=0.2)
    person("view_registeredmodel", name="eve")
    code, page = verb(capsys, "report", "churn", "--as=eve")
    assert code == 0
    assert "| plan" in markdown(msgspec.convert(page, Page))
    assert not any(value in str(page) for value in ("'pro'", "free", "enterprise"))


def test_why_an_estimate_is_not_trusted_is_told_in_words(capsys, monkeypatch):
    version = champion()
    for number in range(5):
        day(version, number, settled=0.8)
    list(judge(datetime.fromisoformat("2026-03-15T00:00:00+00:00")))
    monkeypatch.setattr(timezone, "now", lambda: datetime.fromisoformat("2026-03-15T12:00:00+00:00"))
    assert trivet("report", "churn") == 0
    told = capsys.readouterr().out
    assert "The labels that came do not fit the estimate: do not go by it until it is calibrated anew." in told
    assert told.count("Fewer answers turn out wrong than estimated: ") == 2, "of the alert, and beside the estimate"
    assert trivet("alerts", "churn", "--json") == 1
    assert "Fewer answers turn out wrong than estimated: " in capsys.readouterr().out


def test_realised_and_estimated_stand_beside_each_other(capsys, monkeypatch):
    version = champion()
    day(version, 0)
    monkeypatch.setattr(timezone, "now", lambda: datetime.fromisoformat("2026-03-12T12:00:00+00:00"))
    assert trivet("report", "churn") == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    auc = next(line for line in lines if line.startswith("| AUC |")).split("|")
    realised, interval, estimated = (cell.strip() for cell in auc[2:5])
    assert 0.5 < float(realised) <= 1
    assert " to " in interval
    assert 0.5 < float(estimated) <= 1
    assert f"AUC was {float(realised):.3f}" in told.partition("## Alerts")[0], "in short"
    named = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert {"Precision for churned", "Recall for churned", "Accuracy"} <= set(named)


def test_of_several_classes_each_has_a_line(capsys, monkeypatch):
    version = several_classes.champion()
    several_classes.day(version, 0, labelled=400)
    monkeypatch.setattr(timezone, "now", lambda: datetime.fromisoformat("2026-03-12T12:00:00+00:00"))
    code, page = verb(capsys, "report", "flowers")
    assert code == 0
    right, by_class, _ = page["sections"][3:]
    assert right["header"] == ["MEASURE", "REALISED", "INTERVAL", "ESTIMATED", "BAND"]
    measures = [row[0] for row in right["rows"]]
    assert measures == ["Accuracy", *(f"{name}, mean over classes" for name in ("Precision", "Recall", "F1", "AUC"))]
    for _, realised, interval, estimated, band in right["rows"]:
        assert 0.4 < float(realised) < 1
        assert 0.4 < float(estimated) < 1
        low, high = map(float, interval.split(" to "))
        assert low < float(realised) < high
        low, high = map(float, band.split(" to "))
        assert low < float(estimated) < high
    assert by_class["header"] == ["CLASS", "PRECISION", "RECALL", "F1", "AUC"]
    assert {row[0] for row in by_class["rows"]} == {"setosa", "versicolor", "virginica"}
    assert all(re.fullmatch(r"0\.\d+ \(0\.\d+\)", cell) for _, *cells in by_class["rows"] for cell in cells)


@pytest.fixture
def a_segmented_day(monkeypatch):
    version = segmented_version()
    actions.promote(model="churn", version=1, actor="cli:ana")
    monkeypatch.setattr(timezone, "now", lambda: datetime.fromisoformat("2026-03-12T12:00:00+00:00"))
    with declared_segments("plan", "country"):
        lived_day(version, 0, 1500)
        yield


@pytest.mark.usefixtures("a_segmented_day")
def test_each_declared_column_has_a_table_of_its_segments(capsys, tmp_path):
    assert trivet("report", "churn") == 0
    told = capsys.readouterr().out
    assert "## By plan\n\nTreated otherwise than the others, beyond a limit (!) and not by chance: " in told.replace(
        "\\", ""
    )
    pro = next(line for line in told.splitlines() if line.startswith("| pro |")).split(" | ")
    assert int(pro[1].replace(",", "")) == int(pro[2].replace(",", "")) > 600
    assert 0.5 < float(pro[3]) < 1
    assert pro[-1].startswith("\\! 0.")
    assert "No segments: unknown input 'country'." in told
    code, page = verb(capsys, "report", "churn")
    plan = next(section for section in page["sections"] if section["title"] == "By plan")
    assert (code, sorted(row[0] for row in plan["rows"])) == (0, ["free", "pro"])
    target = tmp_path / "churn.html"
    verb(capsys, "report", "churn", "--html", str(target))
    assert "<h2>By plan</h2>" in target.read_text()


@pytest.mark.usefixtures("a_segmented_day")
def test_who_may_not_see_inputs_reads_no_value_of_a_segment(capsys):
    person("view_registeredmodel", name="eve")
    _, page = verb(capsys, "report", "churn", "--as=eve")
    plan = next(section for section in page["sections"] if section["title"] == "By plan")
    assert plan["sentences"] == ["No segments: its values are shown to who may see inputs."]
    assert "free" not in str(page)


def test_html_is_one_file_that_runs_and_loads_nothing(capsys, tmp_path):
    version = watched_version()
    actions.promote(model="churn", version=1, actor="cli:ana")
    count(version, this_hour() - timedelta(hours=2), 500)
    target = tmp_path / "churn.html"
    code, told = verb(capsys, "report", "churn", "--html", str(target))
    assert (code, told["file"]) == (0, str(target))
    text = target.read_text()
    assert tags_of(text) >= {"table", "svg", "rect"}
    assert not tags_of(text) & {"script", "link", "img", "iframe", "a"}
    assert "http://" not in text.replace("http-equiv", "")
    assert trivet("report", "churn", "--html", tmp_path / "nowhere" / "x.html") == 2


def test_no_name_is_markup():
    picture = Picture(EVIL, (Bar(0, 1.0, 2.0),))
    page = Page(EVIL, (Section(EVIL, (EVIL,), (EVIL,), ((EVIL,),), (picture,)),))
    assert "script" not in tags_of(html(page))
    told = markdown(page)
    assert "<script" not in told.replace("\\<", "")
    assert len([line for line in told.splitlines() if line.startswith("# ")]) == 1
    assert all(line.count("|") - line.count("\\|") == 2 for line in told.splitlines() if line.startswith("| "))
    assert "[x]" not in told


def test_a_text_stands_there_as_it_is():
    assert report_page._text("a_b|c") == r"a\_b\|c"
    assert report_page._text("plan (pro) 1.5") == "plan (pro) 1.5"


def tags_of(text: str) -> set[str]:
    found: set[str] = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.add(tag)

    Parser().feed(text)
    return found
