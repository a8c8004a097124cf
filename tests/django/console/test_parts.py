"""The small pieces: figures, charts, sentences, snippets, fields."""

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from trivet.console import figures, form, words
from trivet.console.answer import explained, shown
from trivet.console.charts.bars import bars
from trivet.console.charts.shares import shares
from trivet.console.snippets import snippets
from trivet.console.traffic import requests_a_minute
from trivet.core.errors import InvalidRequest, InvalidRows, Unavailable
from trivet.core.examples import made_up_row
from trivet.core.signature import Input, Output, Signature
from trivet.serving.prediction import Prediction

NOW = datetime(2026, 5, 4, 12, 30, 20, tzinfo=UTC)
COLUMN = {"shape": (-1, 1)}
HOUSE = Signature(
    inputs=(
        Input(name="area", datatype="FP64", low=20.0, high=400.0, unit="m²", title="Living area", **COLUMN),
        Input(name="rooms", datatype="INT64", low=1.0, high=9.0, outside="reject", **COLUMN),
        Input(name="garden", datatype="BOOL", **COLUMN),
        Input(name="lift", datatype="BOOL", nullable=True, **COLUMN),
        Input(name="zone", datatype="BYTES", categories=("inner", "it's"), unknown="reject", **COLUMN),
    ),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,), unit="€"),),
    task="regression",
)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.count(4187), "4,187"),
        (figures.number(0.000012345), "1.234e-05"),
        (figures.number(13.8093599), "13.81"),
        (figures.number(1234567.0), "1,234,567"),
        (figures.number(-0.5), "-0.5"),
        (figures.measure(0.01), "0.010"),
        (figures.measure(12.3456), "12.35"),
        (figures.measure(-12345.678), "-12,346"),
        (figures.percent(0.7575), "75.8 %"),
        (figures.percent(0.99996), "> 99.9 %"),
        (figures.percent(0.00004), "< 0.1 %"),
        (figures.percent(1.0), "100.0 %"),
        (figures.duration(12.34), "12.3 µs"),
        (figures.duration(1100), "1.1 ms"),
        (figures.duration(2_000_000), "2 s"),
        (figures.between(None, 3.0, "km"), "up to 3 km"),
    ],
)
def test_figures_are_short_and_have_units(shown, expected):
    assert shown == expected


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (timedelta(seconds=1), "just now"),
        (timedelta(seconds=42), "42 s ago"),
        (timedelta(minutes=3), "3 min ago"),
        (timedelta(hours=5), "5 h ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=30), "April 4, 2026"),
    ],
)
def test_moments_are_relative_and_exact(passed, expected):
    moment = figures.moment(NOW - passed, NOW)
    assert moment.relative == expected
    assert "2026" in moment.exact
    assert moment.exact.endswith("UTC")


def test_bars_fill_their_box_and_show_the_smallest_count():
    drawn = bars([0, 1000, 1], width=30, height=10)
    assert (drawn.total, drawn.peak) == (1001, 1000)
    assert drawn.path == "M10.00 10v-10.00h7.50v10.00zM20.00 10v-1.50h7.50v1.50z"
    assert bars([0, 0], width=30, height=10).path == ""


def test_shares_are_ordered_and_stay_in_their_box():
    likeliest, other = shares({"a": -0.000001, "b": 1.000001}, "b")
    assert (likeliest.name, likeliest.width, likeliest.is_chosen) == ("b", "100.00", True)
    assert other.width == "0.00"


def test_requests_are_counted_by_minute_and_not_by_row(db):
    from tests.django.worlds import ready, record
    from trivet.control.predictions.shipping import ship

    (version,) = ready()

    def at(moment):
        return int(moment.timestamp() * 1e9)

    ship(
        [
            record(version, rows=3, made_at=at(NOW)),
            record(version, made_at=at(NOW - timedelta(seconds=19))),
            record(version, made_at=at(NOW - timedelta(seconds=21))),
            record(version, made_at=at(NOW - timedelta(minutes=59))),
            record(version, made_at=at(NOW - timedelta(minutes=61))),
        ]
    )
    counts = requests_a_minute(["churn", "other"], NOW)["churn"]
    assert (counts[59], counts[58], counts[0], sum(counts), len(counts)) == (2, 1, 1, 4, 60)


def test_a_signature_is_put_into_words():
    assert words.decides(HOUSE) == "Estimates a number in €, from 5 inputs: area, rooms, garden, lift and 1 more."
    output = Output(name="probabilities", datatype="FP64", shape=(-1, 2), classes=("stays", "goes"))
    churn = Signature(inputs=HOUSE.inputs[:1], outputs=(output,), task="classification", threshold=0.3)
    assert words.decides(churn) == "Decides between “stays” and “goes”, from 1 input: area."
    assert "“goes” when its probability is at least 30.0 %" in words.threshold(churn)


def answered(signature, value, decision):
    given = Prediction(value, decision, "m", 1, "d" * 64, "id", "only")
    return shown(given, signature)


def test_several_decisions_are_told_and_shown_as_words():
    labels = tuple(
        Output(name=f"label_{i}", datatype="BYTES", shape=(-1,), classes=("late", "on time")) for i in range(2)
    )
    both = Signature(inputs=HOUSE.inputs[:1], outputs=labels, task="classification")
    assert words.decides(both) == "Makes 2 decisions, from 1 input: area."
    answer = answered(both, {"label_0": "late", "label_1": "on time"}, "late, on time")
    assert (answer.headline, answer.value) == ("late, on time", "label_0 late, label_1 on time")
    assert answer.shares == ()


def test_the_number_of_a_group_is_no_probability():
    outputs = (
        Output(name="label", datatype="INT64", shape=(-1,), classes=("0", "1")),
        Output(name="probabilities", datatype="FP64", shape=(-1, 2), classes=("0", "1")),
    )
    mixture = Signature(inputs=HOUSE.inputs[:1], outputs=outputs, task="cluster")
    assert answered(mixture, 1, "1").shares == ()
    assert words.decides(mixture) == "Assigns a row to a group, from 1 input: area."


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("user:ana", "ana"),
        ("cli:ana", "ana (command line)"),
        ("key:k%s", "API key k%s"),
        ("odd", "odd"),
        ("a:%d", "a:%d"),
    ],
)
def test_actors_are_named(named, expected):
    assert words.actor(named) == expected


def test_every_field_says_what_it_takes():
    area, rooms, garden, lift, zone = form.fields(HOUSE, {"area": "55", "garden": "true"}, {"rooms": "Too many."})
    assert (area.label, area.unit, area.kind, area.step, area.hint) == (
        "Living area",
        "m²",
        "number",
        "any",
        "20 to 400 m²",
    )
    assert (area.low, rooms.low, rooms.high, rooms.step, rooms.error) == ("", "1", "9", "1", "Too many.")
    assert (garden.kind, garden.is_checked, lift.kind, zone.kind) == ("check", True, "three", "choice")


def test_what_was_posted_becomes_a_row():
    values = form.posted(HOUSE, {"x-area": "55.5", "x-rooms": " 3", "x-zone": "inner"})
    assert form.read(HOUSE, values) == (
        {"area": 55.5, "rooms": 3, "garden": False, "lift": None, "zone": "inner"},
        {},
    )
    values = form.posted(HOUSE, {"x-area": "", "x-rooms": "3.5", "x-garden": "true"})
    assert form.read(HOUSE, values)[1] == {
        "area": "A value is needed: this input has no missing values.",
        "rooms": "Not a whole number.",
    }


def test_errors_go_beside_their_fields():
    faults = [InvalidRequest("late: row 0: 'temp' is missing.", field="temp", row=0)]
    assert explained(InvalidRows("1 of 1 rows", faults), "late").by_field == {"temp": "'temp' is missing."}
    away = explained(Unavailable("late: no version is live. Promote one."), "late")
    assert (away.summary, away.by_field) == ("No version is live. Promote one.", {})


def test_snippets_survive_the_shell(tmp_path):
    row = {**made_up_row(HOUSE), "zone": "it's"}
    rows, infer, python = snippets("house", HOUSE, row, "https://models.example.com")
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\nfor last; do :; done\nprintf %s "$last"\n')
    curl.chmod(0o755)

    def sent(snippet):
        done = subprocess.run(
            ["/bin/sh", "-c", snippet.text],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    assert sent(rows) == {"rows": [row]}
    assert sent(infer)["inputs"][4] == {"name": "zone", "datatype": "BYTES", "shape": [1, 1], "data": ["it's"]}
    assert "$TRIVET_API_KEY" in rows.text
    assert "https://models.example.com/v2/models/house/predict" in rows.text
    compile(python.text, "snippet", "exec")
