"""`trivet export predictions`: what is in the file, who may take inputs away, what is on record, and how much memory it takes."""

from __future__ import annotations

import csv
import gc
import io
import json
import sys
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from tests.django.command_line import trivet, verb
from tests.django.people import person
from tests.django.worlds import ready, ready_free, record
from trivet.control.predictions import export_files
from trivet.control.predictions.export_files import write_csv
from trivet.control.predictions.exporting import PAGE_ROWS, export_predictions
from trivet.control.predictions.labelling import say
from trivet.control.predictions.shipping import moment_of, ship
from trivet.control.registry import actions
from trivet.control.registry.models import Event
from trivet.core.records import SHADOW, SaidLabel

pytestmark = pytest.mark.django_db
MANY, AT_ONE_TIME = 20_000, 80  # pages end among rows of one time


def taken(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, str]]:
    """Return what `trivet export predictions churn` wrote to standard output."""
    capsys.readouterr()
    assert trivet("export", "predictions", "churn", *words) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def shipped(*changes: dict[str, object]) -> list[str]:
    """Ship a record for each of `changes` of version 1; return their ids."""
    (version,) = ready(1)
    records = [record(version, **one) for one in changes]
    ship(records, cursor=("worker", 1, 10))
    return [one.id for one in records]


def test_a_line_is_an_answer_with_its_inputs(capsys):
    (one,) = shipped({"rows": 2, "entity_key": "shop.customer:17"})
    first, second = taken(capsys)
    assert (first["prediction_id"], first["row"], second["row"]) == (str(UUID(one)), "0", "1")
    assert (first["input.age"], second["input.age"], first["input.plan"]) == ("41.0", "42.0", "pro")
    assert (first["decision"], first["entity_key"], first["version"]) == ("churned", "shop.customer:17", "1")
    assert json.loads(first["output"])["label"] == "churned"
    assert datetime.fromisoformat(first["made_at"]).tzinfo is not None
    assert "label" not in first


def test_labels_come_along_where_they_are_asked_for(capsys):
    one, _ = shipped({}, {})
    say([SaidLabel(prediction_id=one, value="stays", source="billing")], actor="cli:ana")
    told = {line["prediction_id"]: (line["label"], line["label_source"]) for line in taken(capsys, "--labels")}
    assert told[str(UUID(one))] == ("stays", "billing")
    assert sorted(told.values()) == [("", ""), ("stays", "billing")]


@pytest.mark.parametrize(
    ("value", "cell"),
    [("churned", "churned"), (True, "true"), (1, "1"), ("=stays()", "'=stays()"), ([1, "a"], '[1,"a"]')],
)
def test_a_label_is_written_as_a_decision_is(capsys, value, cell):
    version = ready_free()
    one = record(version)
    ship([one])
    say([SaidLabel(prediction_id=one.id, value=value)], actor="cli:ana")
    (line,) = taken(capsys, "--labels")
    assert line["label"] == cell


def test_only_a_time_only_a_version_and_no_shadows(capsys):
    day = 86_400 * 10**9
    begin = record(ready(1, model="other")[0]).made_at
    shipped({}, {"made_at": begin + 2 * day}, {"kind": SHADOW, "shadow_of": None})
    noon = (moment_of(begin) + timedelta(days=1)).isoformat()
    assert len(taken(capsys)) == 2
    assert len(taken(capsys, "--since", noon)) == len(taken(capsys, "--until", noon)) == 1
    assert taken(capsys, "--since", "7d") == []
    assert len(taken(capsys, "--version", "1")) == 2
    assert verb(capsys, "export", "predictions", "churn", "--version", "9", "--out", "x")[0] == 4


def test_a_text_that_would_begin_a_formula_does_not(capsys):
    shipped({"inputs": [[41.0], ['=HYPERLINK("http://evil.example")']], "entity_key": "@SUM(A1)", "request_id": "+1+1"})
    (line,) = taken(capsys)
    assert line["input.plan"].startswith("'=HYPERLINK")
    assert (line["entity_key"], line["request_id"]) == ("'@SUM(A1)", "'+1+1")


def test_inputs_are_for_who_may_see_them_and_the_event_says_who_took_what(capsys):
    shipped({})
    person("view_registeredmodel", "export_predictions", name="eve")
    person("view_registeredmodel", "export_predictions", "view_inputs", name="ina")
    person("view_registeredmodel", name="ben")
    assert "input.age" not in taken(capsys, "--as=eve", "-m", "for the audit")[0]
    assert taken(capsys, "--as=ina")[0]["input.age"] == "41.0"
    of_ina, of_eve = Event.objects.filter(action="export_predictions")
    assert (of_eve.actor, of_eve.model, of_eve.reason) == ("user:eve", "churn", "for the audit")
    assert of_eve.after == {"rows": 1, "since": None, "until": None, "inputs": False, "labels": False}
    assert (of_ina.actor, of_ina.after["inputs"]) == ("user:ina", True)
    assert trivet("export", "predictions", "churn", "--as=ben") == 3
    assert Event.objects.filter(action="refuse").count() == 1


def test_what_is_sensitive_now_stays_hidden_also_where_it_was_recorded_before(capsys):
    shipped({})
    actions.set_sensitive(model="churn", add=["age"], actor="cli:ana")
    (line,) = taken(capsys)
    assert line["input.age"].startswith("hidden:")
    assert "41" not in line["input.age"].removeprefix("hidden:") or len(line["input.age"]) == 23


def test_a_file_is_its_owners_alone_and_whole(capsys, tmp_path):
    shipped({}, {})
    target = tmp_path / "log.csv"
    code, told = verb(capsys, "export", "predictions", "churn", "--out", str(target))
    assert (code, told["rows"], told["file"]) == (0, 2, str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    assert len(target.read_text().splitlines()) == 3
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("words", ["--format parquet", "--json", "--out /nowhere/log.csv", "--since soon"])
def test_what_makes_no_sense_is_wrong_usage(words):
    shipped({})
    assert trivet("export", "predictions", "churn", *words.split()) == 2
    assert not Event.objects.filter(action="export_predictions").exists()


def test_parquet_without_pyarrow_says_what_to_install(capsys, monkeypatch, tmp_path):
    shipped({})
    monkeypatch.setattr(export_files, "find_spec", lambda _name: None)
    code, said = verb(capsys, "export", "predictions", "churn", "--format", "parquet", "--out", str(tmp_path / "log"))
    assert (code, "pip install pyarrow" in said) == (3, True)
    assert not Event.objects.filter(action="export_predictions").exists()


def test_parquet_has_the_kinds_of_the_columns(capsys, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed, and not of this project")
    shipped({"rows": 2})
    target = tmp_path / "log.parquet"
    assert verb(capsys, "export", "predictions", "churn", "--format", "parquet", "--out", str(target))[0] == 0
    table = parquet.read_table(target)
    assert table.column("input.age").to_pylist() == [41.0, 42.0]
    assert {str(table.schema.field(name).type) for name in ("version", "row", "latency_us")} == {"int64"}
    assert str(table.schema.field("made_at").type) == "timestamp[us, tz=UTC]"


class _Counting(io.RawIOBase):
    """A file that counts lines and keeps none, but how many objects there were at most while it was written."""

    lines = most = 0

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]
        self.lines += bytes(content).count(b"\n")
        self.most = max(self.most, sys.getallocatedblocks())
        return len(content)


def test_20000_rows_go_in_the_memory_of_a_page():
    (version,) = ready(1)
    begin = record(version).made_at
    records = [
        record(version, rows=AT_ONE_TIME, made_at=begin + number * 10**9) for number in range(MANY // AT_ONE_TIME)
    ]
    ship(records, cursor=("worker", 1, 10))
    start = moment_of(begin)
    few, many = (_peak(start, rows) for rows in (2 * PAGE_ROWS, MANY))
    assert PAGE_ROWS < many < 1.25 * few  # ten times the rows


def _peak(start: datetime, rows: int) -> int:
    """Return how many objects it takes at most to write that many rows."""
    until = start + timedelta(seconds=rows // AT_ONE_TIME)
    taken, file = export_predictions(model="churn", actor="cli:ana", until=until), _Counting()
    gc.collect()
    before = sys.getallocatedblocks()
    assert write_csv(taken, file) == rows
    assert file.lines == rows + 1
    return file.most - before
