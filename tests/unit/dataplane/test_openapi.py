"""The description of a model that a program can read, held against what the model really takes (item 49)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.scale import scaled
from tests.unit.dataplane.refusals import LEAKS
from tests.unit.dataplane.world import GOOD_ROW, SIGNATURE, World, infer_body
from trivet.core.examples import made_up_row
from trivet.core.field_schema import field_schema
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.protocol.catalogue import HTTP_STATUS
from trivet.dataplane.protocol.openapi import document

STRICT = msgspec.structs.replace(
    SIGNATURE,
    inputs=(
        msgspec.structs.replace(SIGNATURE.inputs[0], outside="reject"),
        msgspec.structs.replace(SIGNATURE.inputs[1], unknown="reject"),
        msgspec.structs.replace(SIGNATURE.inputs[2], outside="clip"),
        Input(name="vip", datatype="BOOL", shape=(-1, 1)),
        Input(name="note", datatype="BYTES", shape=(-1, 1), nullable=True),
    ),
)
STRICT_ROW = {**GOOD_ROW, "vip": True, "note": None}
PATH = "/v2/models/churn/openapi.json"
RARELY = settings(
    max_examples=scaled(test=120, ci=500, full=3_000),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("strict"), signature=STRICT)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_49_the_document_is_valid_and_its_examples_answer_when_pasted(world: World):
    status, found, headers = world.ask("GET", PATH)
    assert (status, headers["content-type"]) == (200, "application/json")
    validate(found)
    assert (found["openapi"], found["info"]["version"]) == ("3.1.0", "1")
    assert set(found["paths"]) == {f"/v2/models/churn/{verb}" for verb in ("infer", "predict", "feedback")}
    world.route({1: 100}, verbs={"predict", "label"})
    for path, item in found["paths"].items():
        (example,) = item["post"]["requestBody"]["content"]["application/json"]["examples"].values()
        assert str(world.ask(path=path, body=example["value"])[0]) in item["post"]["responses"].keys() & {"200", "202"}


def test_49_a_version_has_its_own_document_and_only_callers_who_may_see_it_read_it(world: World):
    _, found, _ = world.ask("GET", "/v2/models/churn/versions/2/openapi.json")
    assert found["info"]["version"] == "2"
    assert "/v2/models/churn/versions/2/predict" in found["paths"]
    assert world.ask("GET", PATH, key=None)[0] == 401
    world.route({1: 100}, verbs={"label"})
    assert world.ask("GET", PATH)[0] == 403


def test_49_fields_say_what_is_refused_and_what_is_only_flagged():
    age, city, seats = map(field_schema, SIGNATURE.inputs)
    assert age["type"] == ["number", "null"]
    assert "maximum" not in age
    assert "years" in age["description"]
    assert "0 to 100" in age["description"]
    assert "enum" not in city
    assert "Lyon, Oslo" in city["description"]
    assert (seats["type"], seats["minimum"]) == ("integer", -(2**63))
    strict_age, strict_city, *_ = map(field_schema, STRICT.inputs)
    assert (strict_age["minimum"], strict_age["maximum"]) == (0, 100)
    assert strict_city["enum"] == ["Lyon", "Oslo"]


def test_49_every_error_shape_and_code_is_told_and_a_key_is_asked_for(world: World):
    _, found, _ = world.ask("GET", PATH)
    told = json.dumps(found["components"]["responses"])
    elsewhere = {"METHOD", "CONFLICT", "LINE_TOO_LONG", "HEADERS_TOO_LARGE", "INTERNAL"}  # of no request to these paths
    assert {code for code in HTTP_STATUS if code not in told} == elsewhere
    assert found["security"] == [{"bearer": []}, {"api_key": []}]
    assert found["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    responses = found["paths"]["/v2/models/churn/predict"]["post"]["responses"]
    assert set(responses) == {"200", *(str(s) for s in (400, 401, 403, 404, 408, 413, 415, 429, 503, 504))}


def test_49_a_model_of_images_has_no_rows_and_one_of_halves_no_json():
    output = Output(name="y", datatype="FP32", shape=(-1,))
    images = Signature(inputs=(Input(name="x", datatype="FP32", shape=(-1, 3, 8, 8)),), outputs=(output,))
    halves = Signature(inputs=(Input(name="x", datatype="FP16", shape=(-1, 2)),), outputs=(output,))
    for signature, has_json in ((images, True), (halves, False)):
        found = document("m", 1, signature, made_up_row(signature), max_rows=8)
        validate(found)
        assert set(found["paths"]) == {"/v2/models/m/infer", "/v2/models/m/feedback"}
        assert (
            "application/json" in found["paths"]["/v2/models/m/infer"]["post"]["requestBody"]["content"]
        ) is has_json


OPTIONAL = msgspec.structs.replace(
    SIGNATURE,
    inputs=(
        SIGNATURE.inputs[0],
        msgspec.structs.replace(SIGNATURE.inputs[1], optional=True),
        msgspec.structs.replace(SIGNATURE.inputs[2], optional=True),  # whole numbers have none that is missing
        Input(name="tip", datatype="FP64", shape=(-1, 1), optional=True),
    ),
)
OPTIONAL_ROW = {**GOOD_ROW, "tip": 2.0}


@pytest.mark.parametrize("left_out", [None, "age", "city", "seats", "tip"])
def test_49_the_document_says_of_each_optional_input_whether_it_may_be_left_out(tmp_path: Path, left_out: str | None):
    world = World(tmp_path, signature=OPTIONAL)
    row = {name: value for name, value in OPTIONAL_ROW.items() if name != left_out}
    schema = Draft202012Validator(_resolved(world, "Row"))
    for asked in (row, {**row, left_out: None} if left_out else row):
        status, answer, _ = world.ask(path="/v2/models/churn/predict", body={"rows": [asked]})
        assert status == (200 if schema.is_valid(asked) else 400), (asked, answer)


def test_49_the_document_asks_for_as_many_tensors_as_none_may_be_left_out_of(tmp_path: Path):
    world = World(tmp_path, signature=OPTIONAL)
    least = _resolved(world, "InferRequest")["properties"]["inputs"]["minItems"]
    assert least == 2
    needed = {"inputs": [i for i in infer_body()["inputs"] if i["name"] in ("age", "seats")]}
    assert world.ask(body=needed)[0] == 200
    for tensor in needed["inputs"]:
        assert world.ask(body={"inputs": [tensor]})[0] == 400


def test_49_a_model_whose_halves_are_optional_has_no_json_either():
    halves = Input(name="h", datatype="FP16", shape=(-1, 1), optional=True)
    signature = msgspec.structs.replace(SIGNATURE, inputs=(*SIGNATURE.inputs, halves))
    found = document("m", 1, signature, made_up_row(signature), max_rows=8)
    assert set(found["paths"]) == {"/v2/models/m/infer", "/v2/models/m/feedback"}
    assert "application/json" not in found["paths"]["/v2/models/m/infer"]["post"]["requestBody"]["content"]


def _resolved(world: World, name: str) -> dict[str, Any]:
    """Return a schema with what it refers to in its place, as the generator wants it."""
    schemas = world.ask("GET", PATH)[1]["components"]["schemas"]

    def resolve(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolve(schemas[part["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in part.items()}
        return [resolve(element) for element in part] if isinstance(part, list) else part

    return resolve(schemas[name])


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return what a schema of one value allows: of the keywords that the document uses."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    low, high = schema.get("minimum"), schema.get("maximum")
    of_kind = {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(low, high),
        "number": st.floats(low, high, allow_nan=False, allow_infinity=False) | st.just(low or high or 7),
        "string": st.text(max_size=min(schema.get("maxLength", 20), 20)),
    }
    return st.one_of([of_kind[kind] for kind in kinds]).filter(
        lambda value: value != schema.get("not", {}).get("const", ...)
    )


def objects(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of a schema's properties, those that are not required now and then."""
    fields = {name: values(part) for name, part in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


def test_49_H75_generated_valid_rows_are_never_400(strict: World):
    row, parameters = _resolved(strict, "Row"), _resolved(strict, "RowsParameters")
    body_schema = Draft202012Validator(_resolved(strict, "RowsRequest"))
    del parameters["properties"]["timeout"]  # an answer that comes too late is no 400
    body = st.fixed_dictionaries(
        {"rows": st.lists(objects(row), max_size=3)},
        optional={
            "parameters": st.none() | objects(parameters),
            "outputs": st.sampled_from([None, [], ["label"], ["probabilities", "label"]]),
            "id": st.none() | st.from_regex(r"\A[A-Za-z0-9._:-]{1,9}\Z"),
        },
    )

    @RARELY
    @given(body)
    def check(body: dict[str, Any]) -> None:
        assert body_schema.is_valid(body), body
        if (body.get("parameters") or {}).get("entity_key") and len(body["rows"]) != 1:
            return  # no schema says how many rows there are beside it
        status, answer, _ = strict.ask(path="/v2/models/churn/predict", body=body)
        assert status == 200, (body, answer)

    check()


def test_49_H75_generated_invalid_rows_are_never_200(strict: World):
    fields = _resolved(strict, "Row")["properties"]
    anything = (
        st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False, allow_infinity=False)
    )
    anything = (
        anything
        | st.text(max_size=5)
        | st.lists(st.integers(), max_size=2)
        | st.dictionaries(st.text(max_size=5), st.none())
    )  # a longer text may be a name of ours, which a message that quotes it would seem to leak

    @RARELY
    @given(st.sampled_from(sorted(fields)), anything)
    def check(name: str, value: Any) -> None:
        if isinstance(value, float) and value.is_integer() and fields[name].get("type") == "integer":
            return  # JSON Schema counts 1.0 as an integer, the protocol does not
        if LEAKS.search(str(value).encode()):
            return  # a refusal quotes it: nothing of ours
        is_valid = Draft202012Validator(fields[name]).is_valid(value)
        status, answer, _ = strict.ask(path="/v2/models/churn/predict", body={"rows": [{**STRICT_ROW, name: value}]})
        assert status == (200 if is_valid else 400), (name, value, answer)

    check()
    for changed in ({"extra": 1}, {"vip": ...}):
        row = {key: value for key, value in (STRICT_ROW | changed).items() if value is not ...}
        assert strict.ask(path="/v2/models/churn/predict", body={"rows": [row]})[0] == 400
