"""`/predict` with many rows: the bad ones named or left out, their keys, and CSV in and out (items 43 to 46)."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from tests.unit.dataplane.world import GOOD_ROW, ByHand, World, infer_body
from trivet.core.datatypes import INTEGER_BOUNDS
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.validation.notations import read_text

pytestmark = pytest.mark.usefixtures("on_every_mount")

PATH = "/v2/models/churn/predict"
TABLE = "age,city,seats\r\n50,Lyon,3\r\n,Oslo,4\r\n"
BAD_ROW = {**GOOD_ROW, "age": "far"}
REGRESSION = Signature(
    inputs=(
        Input(name="flag", datatype="BOOL", shape=(-1, 1)),
        Input(name="count", datatype="INT64", shape=(-1, 1)),
        Input(name="entity_key", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
    task="regression",
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


# --- rows -------------------------------------------------------------------------------------------------------------


def test_43_rows_tensors_and_a_table_give_the_same_numbers(world: World):
    rows = [GOOD_ROW, {"age": None, "city": "Oslo", "seats": 4}, {"age": 0.1, "city": "Lyon", "seats": 500}]
    by_rows = world.ask(path=PATH, body={"rows": rows, "outputs": ["probabilities"]})[1]["rows"]
    columns = {name: [row[name] for row in rows] for name in GOOD_ROW}
    by_tensors = world.ask(body=infer_body(**columns))[1]["outputs"][1]["data"]
    status, text, _ = world.table("seats,age,city\n3,50,Lyon\n4,,Oslo\n500,0.1,Lyon\n", "?outputs=probabilities")
    assert status == 200
    assert [list(row["outputs"]["probabilities"].values()) for row in by_rows] == np.reshape(
        by_tensors, (3, 2)
    ).tolist()
    in_csv = [[float(line["probabilities.churned"]), float(line["probabilities.stays"])] for line in lines(text)]
    assert in_csv == np.reshape(by_tensors, (3, 2)).tolist()
    assert world.records()[2].inputs == world.records()[0].inputs


def test_44_several_entity_keys_are_recorded_row_by_row(world: World):
    status, _, _ = world.ask(path=PATH, body={"rows": [GOOD_ROW] * 3, "entity_keys": ["c-1", "", "c-3"]})
    assert status == 200
    (record,) = world.records()
    assert (record.rows, record.entity_keys) == (3, ["c-1", "", "c-3"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"entity_keys": ["a"]}, "COUNT_MISMATCH"),
        ({"entity_keys": ["a", "b" * 129]}, "BAD_PARAMETER"),
        ({"entity_keys": ["a", 7]}, "WRONG_TYPE"),
        ({"parameters": {"entity_key": "a"}}, "BAD_PARAMETER"),
        ({"parameters": {"interval": 0.9}}, "BAD_PARAMETER"),
        ({"parameters": {"partial": "yes"}}, "BAD_PARAMETER"),
    ],
)
def test_44_what_cannot_be_meant_for_two_rows_is_400(world: World, changes: dict, code: str):
    status, answer, headers = world.ask(path=PATH, body={"rows": [GOOD_ROW] * 2, **changes})
    assert (status, headers["trivet-error"]) == (400, code), answer
    if "interval" in changes.get("parameters", {}):
        assert "no version has calibration yet" in answer["error"]


def test_44_a_policy_that_rejects_names_the_row(tmp_path: Path):
    inputs = (Input(name="age", datatype="FP64", shape=(-1, 1), low=0, high=100, outside="reject"),)
    world = World(tmp_path, signature=Signature(inputs=inputs, outputs=World(tmp_path / "x").signature.outputs))
    status, answer, _ = world.ask(path=PATH, body={"rows": [{"age": 1}, {"age": 101}]})
    assert status == 400
    assert [(problem["row"], problem["code"]) for problem in answer["errors"]] == [(1, "OUT_OF_RANGE")]


def test_44_a_category_that_is_not_listed_is_refused_where_the_policy_says_so(tmp_path: Path):
    inputs = (Input(name="city", datatype="BYTES", shape=(-1, 1), categories=("Lyon",), unknown="reject"),)
    world = World(tmp_path, signature=Signature(inputs=inputs, outputs=World(tmp_path / "x").signature.outputs))
    _, answer, _ = world.ask(path=PATH, body={"rows": [{"city": "Lyon"}, {"city": "Paris"}]})
    assert [(problem["row"], problem["code"]) for problem in answer["errors"]] == [(1, "UNKNOWN_CATEGORY")]
    cities = [{"name": "city", "datatype": "BYTES", "shape": [1, 1], "data": ["Paris"]}]
    assert world.ask(body={"inputs": cities})[2]["trivet-error"] == "UNKNOWN_CATEGORY"


def test_45_with_partial_the_good_rows_are_answered_in_their_places(world: World):
    rows = [BAD_ROW, GOOD_ROW, {**GOOD_ROW, "aeg": 1}, {**GOOD_ROW, "city": "Paris"}, {"age": 1.0}]
    body = {"rows": rows, "parameters": {"partial": True}, "entity_keys": list("abcde"), "outputs": ["label"]}
    status, answer, headers = world.ask(path=PATH, body=body)
    assert status == 200
    first, second, third, fourth, fifth = answer["rows"]
    prediction_id = headers["trivet-prediction-id"]
    assert (first["field"], first["code"], set(first)) == ("age", "BAD_ELEMENT", {"field", "code", "error"})
    assert "row 0" in first["error"]
    assert (second["id"], second["decision"], second["outputs"]) == (f"{prediction_id}:1", "stays", {"label": "stays"})
    assert (third["field"], third["code"]) == ("aeg", "UNKNOWN_INPUT")
    assert (fourth["id"], fourth["flags"]) == (f"{prediction_id}:3", {"city": "unknown_category"})
    assert (fifth["code"], fifth["field"]) == ("MISSING_INPUT", "city")
    (record,) = world.records()
    assert (record.rows, record.places, record.entity_keys) == (2, [1, 3], ["b", "d"])


def test_45_with_partial_all_bad_is_400_and_all_good_is_as_without(world: World):
    partial = {"parameters": {"partial": True}}
    status, answer, headers = world.ask(path=PATH, body={"rows": [BAD_ROW, BAD_ROW], **partial})
    assert (status, headers["trivet-error"], len(answer["errors"])) == (400, "INVALID_ROWS", 2)
    assert world.records() == []
    _, answer, _ = world.ask(path=PATH, body={"rows": [GOOD_ROW], **partial})
    assert answer["rows"][0]["id"].endswith(":0")
    assert world.records()[0].places is None
    assert world.ask(path=PATH, body={"rows": [], **partial})[1]["rows"] == []


def test_45_without_partial_every_problem_is_listed_up_to_a_hundred(world: World):
    status, answer, _ = world.ask(path=PATH, body={"rows": [GOOD_ROW, *[{"age": "x", "city": 1}] * 200]})
    assert status == 400
    assert len(answer["errors"]) == 100
    assert answer["errors"][0]["row"] == 1
    assert {problem["code"] for problem in answer["errors"]} == {"BAD_ELEMENT", "MISSING_INPUT"}
    assert answer["error"].startswith("200 of 201 rows do not fit; the first 100 problems are listed. ")


@pytest.mark.parametrize("query", ["", "?partial=true"])
def test_46_a_wrong_header_is_told_once_and_not_for_each_row(world: World, query: str):
    status, answer, headers = world.table("age,city,seats,churned\n" + "1,Lyon,3,yes\n" * 600, query)
    assert (status, headers["trivet-error"]) == (400, "INVALID_ROWS")
    assert answer["error"].startswith("the header does not fit. churn: unknown input 'churned'.")
    assert "Take the column out" in answer["error"]
    assert [(e["row"], e["field"], e["code"]) for e in answer["errors"]] == [(None, "churned", "UNKNOWN_INPUT")]
    _, answer, _ = world.table("age,city\n1,Lyon\n", query)
    assert [(e["row"], e["field"], e["code"]) for e in answer["errors"]] == [(None, "seats", "MISSING_INPUT")]


@pytest.mark.parametrize(("header", "word"), [("age;city;seats", "semicolons"), ("age\tcity\tseats", "tabs")])
def test_46_a_table_that_something_else_than_commas_parts_is_told_so(world: World, header: str, word: str):
    _, answer, _ = world.table(f"{header}\n1\n", "")
    assert answer["error"].endswith(f"{word} part its columns; here it is commas.")


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_46_a_table_comes_back_as_a_file(world: World):
    status, text, headers = world.table(TABLE)
    assert status == 200
    assert headers["content-type"] == "text/csv; charset=utf-8"
    assert headers["content-disposition"] == 'attachment; filename="churn-1.csv"'
    first, second = lines(text)
    assert list(first) == ["id", "value", "decision"]
    assert first["id"] == headers["trivet-prediction-id"] + ":0"
    assert (first["decision"], first["value"]) == ("stays", '{"churned":0.5,"stays":0.5}')
    assert second["decision"] == "churned"
    assert text.endswith("\r\n")
    assert world.records()[0].door == "csv"
    assert world.records()[0].inputs == [[50.0, None], ["Lyon", "Oslo"], [3, 4]]


@pytest.mark.parametrize("ranges", ["bytes=0-0", "bytes=-1", "bytes=9-1", "bytes=" + "0-," * 300, "rows=1", "\xff"])
def test_A42_a_range_of_a_table_is_the_whole_table_which_nobody_takes_for_a_page(world: World, ranges: str):
    whole = world.table(TABLE, "?id=mine")
    headers = {"content-type": "text/csv", "range": ranges, "if-range": "*"}
    status, text, found = world.ask(path=f"{PATH}?id=mine", body=TABLE.encode(), headers=headers)
    assert status == 200
    assert len(text) == len(whole[1])  # the same, but for its prediction's id
    assert found["x-content-type-options"] == "nosniff"
    assert re.fullmatch(r'attachment; filename="[a-z0-9._-]+-[0-9]+\.csv"', found["content-disposition"])
    assert not {"content-range", "accept-ranges"} & set(found)


@pytest.mark.parametrize("name", ["../churn", 'ch"urn', "churn%00", "%2e%2e%2fchurn", "CHURN"])
def test_A42_no_name_that_a_file_could_not_have_is_answered(world: World, name: str):
    status, _, found = world.ask(
        path=f"/v2/models/{name}/predict", body=TABLE.encode(), headers={"content-type": "text/csv"}
    )
    assert status in (400, 404)
    assert "content-disposition" not in found


def test_46_outputs_asked_for_have_a_column_per_class(world: World):
    _, text, _ = world.table(TABLE, "?outputs=label,probabilities&id=mine")
    first = lines(text)[0]
    assert list(first)[3:] == ["label", "probabilities.churned", "probabilities.stays"]
    assert first["probabilities.stays"] == "0.5"
    assert world.records()[0].caller_id == "mine"
    _, text, _ = world.table("age,city,seats\r\n", "?outputs=probabilities")
    assert text == "id,value,decision,probabilities.churned,probabilities.stays\r\n"


def test_46_a_table_may_be_quoted_in_any_order_with_any_line_ends_and_a_byte_order_mark(world: World):
    expected = [line["decision"] for line in lines(world.table(TABLE)[1])]
    for text in (
        '"seats","city","age"\r\n"3","Lyon","50"\r\n"4","Oslo",""\r\n',
        "seats,city,age\n3,Lyon,50\n4,Oslo,",
        "\ufeffage,city,seats\r\n5e1,Lyon,3\r\n,Oslo,4",
    ):
        assert [line["decision"] for line in lines(world.table(text)[1])] == expected, text
    _, text, _ = world.table('age,city,seats\r\n1,"a ""b"", \r\nc",3\r\n')
    assert world.records()[-1].inputs[1] == ['a "b", \r\nc']
    assert len(lines(text)) == 1


def test_46_a_column_of_entity_keys_that_is_no_input_names_the_rows(world: World):
    status, _, _ = world.table("age,city,seats,entity_key\n50,Lyon,3,c-17\n50,Lyon,3,\n")
    assert status == 200
    assert world.records()[0].entity_keys == ["c-17", ""]


def test_46_numbers_booleans_and_an_input_called_entity_key_are_read_by_the_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ByHand, "run", lambda _self, feed, _outputs, *_: [feed["count"][:, 0] * 0.5])
    world = World(tmp_path, signature=REGRESSION)
    status, text, _ = world.table("flag,count,entity_key\ntrue,9007199254740993,a\nfalse,-1,b\n")
    assert status == 200
    assert [line["value"] for line in lines(text)] == ["4503599627370496.0", "-0.5"]
    assert world.records()[0].inputs == [[True, False], [9007199254740993, -1], ["a", "b"]]
    assert world.records()[0].entity_keys is None


def test_46_errors_are_json_and_with_partial_they_stand_in_their_lines(world: World):
    table = "age,city,seats\nfar,Lyon,3\n50,Lyon,3\n50,Lyon,3.0\n"
    status, answer, headers = world.table(table)
    assert (status, headers["content-type"], headers["trivet-error"]) == (400, "application/json", "INVALID_ROWS")
    assert [(problem["row"], problem["field"]) for problem in answer["errors"]] == [(0, "age"), (2, "seats")]
    status, text, _ = world.table(table, "?partial=true&outputs=label")
    first, second, third = lines(text)
    assert status == 200
    assert list(first) == ["id", "value", "decision", "label", "error"]
    assert (first["id"], first["label"]) == ("", "")
    assert "'far' is not a number" in first["error"]
    assert (second["id"][-2:], second["label"], second["error"]) == (":1", "stays", "")
    assert "'3.0' is not a whole number" in third["error"]


@pytest.mark.parametrize(
    ("body", "query", "code"),
    [
        ("", "", "MISSING_FIELD"),
        (b"age,city,seats\n50,\xff,3\n", "", "BAD_ENCODING"),
        ("age,age\n1,2\n", "", "DUPLICATE_KEY"),
        ("age,city,seats\n1,Lyon\n", "", "COUNT_MISMATCH"),
        ("age,city,seats\n1,Lyon,3\n\n", "", "COUNT_MISMATCH"),
        ('age,city,seats\n1,"Lyon,3\n', "", "BAD_ELEMENT"),
        ('age,city,seats\n1,"Ly"on,3\n', "", "BAD_ELEMENT"),
        ("aeg,city,seats\n1,Lyon,3\n", "", "INVALID_ROWS"),
        ("age,city\n1,Lyon\n", "", "INVALID_ROWS"),
        ("age,city,seats\n1,,3\n", "", "INVALID_ROWS"),
        ("age,city,seats\n1e400,Lyon,3\n", "", "INVALID_ROWS"),
        ("age,city,seats\n" + "1,Lyon,3\n" * 1025, "", "TOO_MANY"),
        (TABLE, "?utm_source=mail", "BAD_PARAMETER"),
        (TABLE, "?partial=1", "BAD_PARAMETER"),
        (TABLE, "?timeout=soon", "BAD_PARAMETER"),
        (TABLE, "?interval=0.9", "BAD_PARAMETER"),
        (TABLE, "?entity_key=c-17", "BAD_PARAMETER"),
        (TABLE, "?route_key=a&route_key=b", "DUPLICATE_KEY"),
        (TABLE, "?outputs=lable", "UNKNOWN_OUTPUT"),
        (TABLE, "?outputs=label,label", "DUPLICATE_OUTPUT"),
        (TABLE, "?id=a%20b", "BAD_ID"),
        (TABLE, "?id=%ff", "BAD_PARAMETER"),
        (TABLE, "?" + "a=1&" * 65, "TOO_MANY"),
    ],
)
def test_46_a_bad_table_or_query_is_a_400_that_says_where(world: World, body: str | bytes, query: str, code: str):
    status, answer, headers = world.table(body, query)
    assert (status, headers["trivet-error"]) == (400, code), answer
    assert world.records() == []


@pytest.mark.parametrize("media", ["text/csv; charset=utf-8", 'TEXT/CSV; charset="UTF-8"; header=present'])
def test_46_a_table_may_say_that_it_is_utf_8(world: World, media: str):
    assert world.ask(path=PATH, body=TABLE.encode(), headers={"content-type": media})[0] == 200


@pytest.mark.parametrize("media", ["text/csv; charset=latin-1", "text/csv; header=absent", "text/plain"])
def test_46_another_table_is_415_and_so_is_one_on_another_path(world: World, media: str):
    status, answer, _ = world.ask(path=PATH, body=TABLE.encode(), headers={"content-type": media})
    assert (status, answer["error"].partition("read ")[2]) == (
        415,
        "here; send application/json, or a table as text/csv in UTF-8.",
    )
    status, answer, _ = world.ask(body=TABLE.encode(), headers={"content-type": "text/csv"})
    assert (status, answer["error"].partition("read ")[2]) == (415, "here; send application/json.")


def test_46_unknown_query_parameters_of_json_requests_are_ignored(world: World):
    assert world.ask(path=f"{PATH}?utm_source=mail&partial=maybe", body={"rows": [GOOD_ROW]})[0] == 200
    assert world.ask("GET", "/v2/models/churn?x=1")[0] == 200


def test_46_a_table_sticks_to_the_version_that_the_same_rows_in_json_go_to(world: World):
    world.route({1: 50, 2: 50}, sticky_by="age")
    for age in ("50", "50.0", "0.1", "7e0", ""):
        _, _, by_table = world.table(f"age,city,seats\n{age},Lyon,3\n")
        body = {"rows": [{**GOOD_ROW, "age": float(age) if age else None}]}
        _, _, by_rows = world.ask(path=PATH, body=body)
        if age:
            assert by_table["trivet-model-version"] == by_rows["trivet-model-version"]


def test_texts_are_read_as_json_writes_them_and_the_rest_is_left_to_be_refused():
    assert read_text("BYTES", "7") == "7"
    assert [read_text("FP32", text) for text in ("1", "-0.5", "1e3", "1E-05")] == [1.0, -0.5, 1000.0, 0.00001]
    for text in ("nan", "inf", "1e400", "1_000", " 1", "1,5", "0x10", "+1", ".5", "٣"):
        assert read_text("FP64", text) == text
    for datatype in INTEGER_BOUNDS:
        assert read_text(datatype, "-12") == -12
        for text in ("1.0", "1e3", "true", "9" * 41, "٣", "01"):
            assert read_text(datatype, text) == text
    assert [read_text("BOOL", text) for text in ("true", "false", "TRUE", "1")] == [True, False, "TRUE", "1"]
    assert read_text("FP64", None) is None
