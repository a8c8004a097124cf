"""What turned out true, on its way in: read strictly, kept before it is answered, and nothing of it costs a prediction."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from jsonschema import Draft202012Validator

from tests.scale import scaled
from tests.unit.dataplane.json_corpus import corpus, is_there
from tests.unit.dataplane.world import World
from trivet.core.errors import Unavailable
from trivet.core.rates import read_rates
from trivet.core.records import LabelRecord, SaidLabel, decode_any, encode_record
from trivet.dataplane.protocol.labels import MAX_ELEMENTS, MAX_LABELS, MAX_SOURCE
from trivet.dataplane.spool import segments

PATH = "/v2/models/churn/feedback"
LINES = {"content-type": "application/x-ndjson"}
ONE = "01947f2e-8a10-7c3b-9d2e-0a1b2c3d4e5f"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.route({1: 100}, verbs={"label"})
    return world


def kept(world: World) -> list[LabelRecord]:
    """Return the label records in the spool."""
    payloads = [payload for segment in segments(world.spool_root) for payload, _ in segment.payloads(0)]
    return [record for record in map(decode_any, payloads) if isinstance(record, LabelRecord)]


def said(**fields: Any) -> dict[str, Any]:
    return {"prediction_id": ONE, "label": True} | fields


def ask(world: World, body: Any, **headers: str) -> tuple[int, Any, dict[str, str]]:
    return world.ask(path=PATH, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.usefixtures("on_every_mount")
def test_48_one_a_list_and_lines_are_kept_under_their_receipt_on_every_mount(tmp_path: Path):
    world = World(tmp_path)
    world.route({1: 100}, verbs={"label"})
    lines = f"{json.dumps(said())}\r\n\n{json.dumps({'entity_key': 'c-17', 'label': ['a', 1]})}\n".encode()
    for body, media, labels in (
        (said(), {}, [SaidLabel(True, ONE)]),
        ({"labels": [said(label="stays"), said(prediction_id=f"{ONE}:7", label=2.5)]}, {}, None),
        (lines, LINES, [SaidLabel(True, ONE), SaidLabel(["a", 1], entity_key="c-17")]),
    ):
        status, answer, headers = world.ask(path=PATH, body=body, headers=media)
        record = kept(world)[-1]
        assert (status, answer) == (202, {"accepted": len(record.labels), "receipt": record.receipt})
        assert headers["content-type"] == "application/json"
        assert (record.model, record.caller) == ("churn", f"key:{world.key_id}")
        assert labels is None or record.labels == labels


def test_48_when_it_was_true_and_who_knew_travel_along(world: World):
    assert ask(world, said(observed_at="2026-01-31T23:30:00.25-01:00", source="tower"))[0] == 202
    (label,) = kept(world)[0].labels
    assert (label.observed_at, label.source) == (1_769_905_800_250_000_000, "tower")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "NOT_JSON"),
        (b"[]", "WRONG_TYPE"),
        ({"label": True}, "MISSING_FIELD"),
        ({"prediction_id": ONE}, "MISSING_FIELD"),
        ({"labels": [{"prediction_id": ONE}]}, "MISSING_FIELD"),
        (said(entity_key="c"), "BAD_PARAMETER"),
        (said(label=None), "WRONG_TYPE"),
        (said(label={}), "WRONG_TYPE"),
        (said(label=[None]), "WRONG_TYPE"),
        (said(label=[[1]]), "WRONG_TYPE"),
        (said(label=2**64), "OUT_OF_RANGE"),
        (said(label=-(2**63) - 1), "OUT_OF_RANGE"),
        (b'{"prediction_id":"%b","label":1e400}' % ONE.encode(), "OUT_OF_RANGE"),
        (b'{"prediction_id":"%b","label":NaN}' % ONE.encode(), "NOT_JSON"),
        (said(prediction_id="1"), "BAD_ID"),
        (said(prediction_id=ONE.upper()), "BAD_ID"),
        (said(prediction_id=f"{ONE}:"), "BAD_ID"),
        (said(prediction_id=f"{ONE}:-1"), "BAD_ID"),
        (said(prediction_id=f"{ONE}:1234567890"), "BAD_ID"),
        (said(observed_at="2026-01-31"), "BAD_PARAMETER"),
        (said(observed_at="2026-01-31T10:00:00"), "BAD_PARAMETER"),
        (said(observed_at="2026-02-31T10:00:00Z"), "BAD_PARAMETER"),
        (said(observed_at="1969-12-31T23:59:59Z"), "OUT_OF_RANGE"),
        (said(observed_at="0001-01-01T00:00:00+23:00"), "OUT_OF_RANGE"),
        (said(observed_at="9999-12-31T23:59:59Z"), "OUT_OF_RANGE"),
        (said(weight=2), "UNKNOWN_FIELD"),
        ({"labels": [], "label": 1}, "UNKNOWN_FIELD"),
        ({"labels": said()}, "WRONG_TYPE"),
        (b'{"prediction_id":"%b","label":1,"label":2}' % ONE.encode(), "DUPLICATE_KEY"),
        (b'{"labels":[{"prediction_id":"%b","label":1,"l\\u0061bel":2}]}' % ONE.encode(), "DUPLICATE_KEY"),
    ],
)
def test_48_what_is_no_label_is_refused_and_nothing_is_kept(world: World, body: Any, code: str):
    status, _, headers = ask(world, body)
    assert (status, headers["trivet-error"], kept(world)) == (400, code, [])


@pytest.mark.parametrize(
    ("within", "beyond", "code"),
    [
        ({"labels": [said()] * MAX_LABELS}, {"labels": [said()] * (MAX_LABELS + 1)}, "TOO_MANY"),
        (said(label=[1] * MAX_ELEMENTS), said(label=[1] * (MAX_ELEMENTS + 1)), "TOO_MANY"),
        (said(label="x" * 1024), said(label="x" * 1025), "TOO_MANY"),
        (said(label=["x" * 1024]), said(label=["x" * 1025]), "TOO_MANY"),
        (said(label=2**64 - 1), said(label=2**64), "OUT_OF_RANGE"),
        (said(source="s" * MAX_SOURCE), said(source="s" * (MAX_SOURCE + 1)), "BAD_PARAMETER"),
        ({"entity_key": "e" * 128, "label": 1}, {"entity_key": "e" * 129, "label": 1}, "BAD_PARAMETER"),
        ({"entity_key": "e", "label": 1}, {"entity_key": "", "label": 1}, "BAD_PARAMETER"),
    ],
)
def test_41_D44_bounds_of_labels_at_the_limit_and_beyond(world: World, within: Any, beyond: Any, code: str):
    world.plane.limits = type(world.plane.limits)(max_body_bytes=16 * 1024 * 1024)
    assert ask(world, within)[0] == 202
    status, _, headers = ask(world, beyond)
    assert (status, headers["trivet-error"], len(kept(world))) == (400, code, 1)


def test_48_a_bad_line_is_named_and_none_of_the_others_is_kept(world: World):
    lines = b"%b\n{}\n" % json.dumps(said()).encode()
    status, answer, _ = ask(world, lines, **LINES)
    assert (status, kept(world)) == (400, [])
    assert answer["error"].startswith("line 2: ")
    _, answer, _ = ask(world, {"labels": [said(), said(source="s" * 65)]})
    assert answer["error"] == "label 1: source: at most 64 characters."
    world.plane.limits = type(world.plane.limits)(max_body_bytes=16 * 1024 * 1024)
    one = b"%b\n" % json.dumps(said()).encode()
    assert [ask(world, one * n + b"\n" * (2000 - n), **LINES)[0] for n in (1000, 1001)] == [202, 400]
    assert ask(world, one + b"\n" * 2000, **LINES)[2]["trivet-error"] == "TOO_MANY"


def test_48_labels_too_large_for_one_record_stand_in_several_with_one_receipt(world: World):
    world.plane.limits = type(world.plane.limits)(max_body_bytes=16 * 1024 * 1024)
    labels = [said(label=["é" * 1000] * 2, prediction_id=f"{ONE}:{row}") for row in range(900)]
    status, answer, _ = ask(world, {"labels": labels})
    records = kept(world)
    assert (status, answer["accepted"], len(records) > 1) == (202, 900, True)
    assert {record.receipt for record in records} == {answer["receipt"]}
    assert [label.row for record in records for label in record.labels] == list(range(900))


def test_48_no_labels_are_answered_and_leave_no_record(world: World):
    assert ask(world, {"labels": []})[:2][0] == 202
    assert ask(world, b"\n", **LINES)[1]["accepted"] == 0
    assert kept(world) == []


def test_48_who_may_not_label_is_refused_and_made_up_models_add_no_series(world: World):
    assert world.ask(path=PATH, body=said(), key=None)[0] == 401
    assert world.ask(path="/v2/models/made-up/feedback", body=said())[0] == 404
    assert world.ask(path="/v2/models/churn/versions/1/feedback", body=said())[0] == 404
    world.route({1: 100}, verbs={"predict"})
    assert ask(world, said())[0] == 403
    assert ask(world, said(), content_type="text/csv")[0] == 403
    assert kept(world) == []
    assert not [key for key in world.plane.meter.read() if "made-up" in key]


def test_48_other_media_types_are_415_and_lines_are_for_feedback_alone(world: World):
    assert ask(world, said(), content_type="text/csv")[0] == 415
    assert ask(world, b"", content_type="application/x-ndjson; charset=utf-16")[0] == 415
    assert ask(world, said(), inference_header_content_length="5")[0] == 400
    world.route({1: 100}, verbs={"predict"})
    assert world.ask(path="/v2/models/churn/predict", body={"rows": []}, headers=LINES)[0] == 415


def test_48_requests_are_counted_as_those_of_other_doors(world: World):
    ask(world, said())
    ask(world, b"{}")
    counts = world.plane.meter.read()
    assert counts["count", "trivet_requests_total", "churn", "", "feedback", "OK"] == [1]
    assert counts["refused", "churn", "", "feedback", "MISSING_FIELD"][0] == 1
    assert [key for key in counts if key[:2] == ("histogram", "trivet_request_seconds")]


def test_48_a_model_of_which_nothing_is_loaded_still_takes_labels(world: World):
    world.plane.table.models["churn"].live.clear()
    assert ask(world, said())[0] == 202


def test_48_a_limited_key_waits_for_its_labels_too(world: World):
    world.limits = {"churn": read_rates("1/m")}
    world.route({1: 100}, verbs={"label"})
    assert [ask(world, said())[0] for _ in range(2)] == [202, 429]


@pytest.mark.parametrize("serves_when_full", [False, True])
def test_48_a_label_that_cannot_be_kept_is_503_even_where_predictions_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch, *, serves_when_full: bool
):
    world.plane.spool._serves_when_full = serves_when_full

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    assert ask(world, said())[0] == 202
    monkeypatch.setattr(world.plane.spool, "_write", full)
    status, _, headers = ask(world, said())
    assert (status, headers["trivet-error"]) == (503, "LOG_UNAVAILABLE")


def test_48_where_power_may_fail_an_answer_waits_for_the_disk(world: World, monkeypatch: pytest.MonkeyPatch):
    class Fails:
        def wait(self) -> None:
            raise Unavailable("the disk failed.", code="LOG_UNAVAILABLE")

        def close(self) -> None:
            pass

    monkeypatch.setattr(world.plane.spool, "commits", Fails())
    assert ask(world, said())[0] == 503


def test_48_records_of_every_kind_are_told_apart_and_old_ones_are_still_read(world: World):
    world.route({1: 100}, verbs={"label", "predict"})
    ask(world, said())
    world.ask()
    payloads = [payload for segment in segments(world.spool_root) for payload, _ in segment.payloads(0)]
    assert [type(decode_any(payload)).__name__ for payload in payloads] == ["LabelRecord", "PredictionRecord"]
    assert [encode_record(decode_any(payload)) for payload in payloads] == payloads


def test_49_the_document_says_what_a_label_may_be(world: World):
    world.route({1: 100}, verbs={"label", "predict"})
    _, document, _ = world.ask("GET", "/v2/models/churn/openapi.json")
    assert set(document["paths"][PATH]["post"]["responses"]) >= {"202", "400", "401", "403", "404", "503"}
    label = Draft202012Validator(document["components"]["schemas"]["Label"])
    for body in (
        said(),
        said(label=["a", 1, False]),
        said(label=None),
        said(entity_key="c"),
        said(entity_key=None),
        said(prediction_id=None),
        {"entity_key": "c", "label": "x"},
        {"entity_key": "", "label": "x"},
        {"label": 1},
        said(prediction_id=f"{ONE}:x"),
        said(label=[[1]]),
        said(source="s" * 65),
        said(extra=1),
    ):
        status, _, _ = ask(world, body)
        assert (status == 202) == label.is_valid(body), body


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([ONE, f"{ONE}:3", ONE.upper(), "2026-01-31T10:00:00Z", "2026-13-31T10:00:00Z", "x" * 1025])
)
ANYTHING = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=3), LEAVES, max_size=2)
FIELDS = ("prediction_id", "entity_key", "label", "observed_at", "source")
LABELS = st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=5) | st.builds(
    lambda field, value: {"prediction_id": ONE, "label": 1} | {field: value}, st.sampled_from(FIELDS), ANYTHING
)


def is_label(body: Any) -> bool:
    """Judge a label by the page, without our own code."""
    if not isinstance(body, dict) or "label" not in body:
        return False
    names = [body.get(name) for name in FIELDS[:2] if body.get(name) is not None]
    texts = [body[name] for name in FIELDS if name != "label" and body.get(name) is not None]
    if len(names) != 1 or not all(isinstance(text, str) for text in texts):
        return False
    id_, key, at, source = (body.get(name) for name in ("prediction_id", "entity_key", "observed_at", "source"))
    values = body["label"] if isinstance(body["label"], list) else [body["label"]]
    return (
        (id_ is None or re.fullmatch(r"[0-9a-f-]{36}(:[0-9]{1,9})?", id_) is not None)
        and (key is None or 1 <= len(key) <= 128)
        and (at is None or at == "2026-01-31T10:00:00Z")
        and (source is None or len(source) <= 64)
        and all(isinstance(value, bool | int | float | str) for value in values)
        and all(len(value) <= 1024 for value in values if isinstance(value, str))
        and all(-(2**63) <= value < 2**64 for value in values if isinstance(value, int))
    )


@settings(
    max_examples=scaled(test=150, ci=2_000, full=20_000),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=LABELS, cut=st.integers(0, 400))
def test_48_H75_what_is_made_up_is_kept_exactly_where_the_page_says_that_it_is_a_label(
    world: World, body: dict[str, Any], cut: int
):
    text = json.dumps(body).encode()
    for sent, headers, valid in (
        (text, {}, is_label(body)),
        (b"%b\n%b" % (text, text), LINES, is_label(body)),
        (text[: cut % len(text)], {}, False),
        (text[:cut] + b"\0" + text[cut:], LINES, False),
    ):
        if sent.strip() or not headers:
            status = world.send(path=PATH, body=sent, headers=headers).status
            assert status == (202 if valid else 400), (sent, status)


def test_48_H01_to_H12_the_public_corpus_is_read_or_refused_and_never_fails(world: World):
    if not is_there():
        pytest.skip("the JSON corpus is not here: `make corpus` fetches it, with npm")
    for name, text in corpus().items():
        as_label = b'{"prediction_id":"%b","label":%b}' % (ONE.encode(), text)
        for body, headers in ((text, {}), (as_label, {}), (text, LINES), (as_label, LINES)):
            response = world.send(path=PATH, body=body, headers=headers)
            assert response.status in (202, 400, 413), (name, body)
            assert name[0] != "n" or body is not text or not text.strip() or response.status != 202, (name, body)
