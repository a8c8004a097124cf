"""What is somebody else's is unknown, what nobody declared is refused or changes nothing, and answers hold what is declared."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from jsonschema import Draft202012Validator

from tests.acceptance.test_access import table
from tests.unit.dataplane.grpc_world import Door, inference, request
from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.dataplane.frontends.rest import Response

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http.md"
PATHS = table("Paths with an API key")
OF_MODELS = [row for row in PATHS if "{m}" in row.what]
SELECTORS = ("", "/versions/1", "/versions/champion", "/versions/99", "/versions/nope")
BODIES: dict[str, Any] = {
    "infer": infer_body(),
    "/predict": {"rows": [GOOD_ROW]},
    ":predict": {"instances": [GOOD_ROW]},
    "feedback": {"entity_key": "c-17", "label": True},
    "index": {},
    "load": {},
    "unload": {},
}
EXTRA: dict[str, Any] = {
    "owner": "mallory",
    "digest": "0" * 64,
    "is_staff": True,
    "is_superuser": True,
    "actor": "user:root",
    "caller": "user:root",
    "version": 2,
    "model_version": "2",
    "generation": 10**9,
    "prediction_id": "mine",
    "key": "trivet_aaaaaaaa",
    "verbs": "promote",
    "route": "pinned",
    "cached": True,
    "anonymous": True,
    "__class__": "Admin",
}
ANYTHING = {"*": (True, None)}
Fields = dict[str, tuple[bool, Any]]  # name -> whether it may be missing, fields below


def body_for(what: str) -> Any:
    return next((body for end, body in BODIES.items() if what.endswith(end)), None)


def path_of(what: str, model: str, selector: str = "") -> str:
    return "/" + what.replace("{m}", f"{model}{selector}")


def plain(response: Response) -> tuple[int, dict[bytes, bytes], bytes]:
    """Return a response without the id that each has of its own."""
    return response.status, {k: v for k, v in response.headers if k not in (b"x-request-id", b"date")}, response.body


def answering(folder: Path, mount: str = "", **route: Any) -> World:
    world = World(folder)
    if mount:
        world.mount = MOUNTS[mount]  # type: ignore[misc]
    world.plane.change_loading = lambda _change: None
    world.route({1: 100}, **route)
    return world


@pytest.mark.parametrize("mount", MOUNTS)
def test_D03_a_model_of_others_is_unknown_byte_for_byte_on_every_path(mount: str, tmp_path: Path):
    world, differ = answering(tmp_path, mount, verbs=set()), []
    for row, selector in itertools.product(OF_MODELS, SELECTORS):
        for method in (*row.methods, *(["HEAD"] if "GET" in row.methods else [])):
            content = json.dumps(body_for(row.what) or {}).encode()
            others, unknown = (
                plain(world.send(method, path_of(row.what, name, selector), content)) for name in ("churn", "churm")
            )
            status, headers, body = others
            if (status, headers, body.replace(b"churn", b"churm")) != unknown or status != 404:
                differ.append((method, row.what, selector, others, unknown))
    assert differ == []
    assert world.records() == []


def test_D03_a_model_of_others_is_unknown_word_for_word_over_grpc(tmp_path: Path):
    world, differ = answering(tmp_path, verbs=set()), []

    def told(method: str, model: str) -> tuple[str, str]:
        message = request(model=model) if method == "ModelInfer" else getattr(inference, f"{method}Request")()
        for field in ("name", "model_name"):
            if field in message.DESCRIPTOR.fields_by_name:
                setattr(message, field, model)
        with pytest.raises(grpc.RpcError) as refused:
            door.ask(method, message)
        return refused.value.code().name, refused.value.details().replace(model, "M")

    of_models = [row.what for row in table("gRPC") if row.answers["other"] == "NOT_FOUND"]
    assert len(of_models) > 5
    with Door(world) as door:
        for method in of_models:
            others, unknown = (told(method, name) for name in ("churn", "churm"))
            if others != unknown or others[0] != "NOT_FOUND":
                differ.append((method, others, unknown))
        assert door.ask("RepositoryIndex").models == []
    assert differ == []


@pytest.mark.parametrize("row", [row for row in PATHS if "POST" in row.methods], ids=lambda row: row.what)
def test_D04_a_field_that_is_not_declared_is_refused_and_changes_nothing(row: Any, tmp_path: Path):
    world = answering(tmp_path, verbs={"predict", "label", "promote"})
    changes: list[Any] = []
    world.plane.change_loading = changes.append
    for name, value in EXTRA.items():
        if name in body_for(row.what) or (row.what.endswith("feedback") and name == "prediction_id"):
            continue  # it is declared there
        status, answer, headers = world.ask("POST", path_of(row.what, "churn"), {**body_for(row.what), name: value})
        assert (status, headers["trivet-error"]) == (400, "UNKNOWN_FIELD"), (name, answer)
    assert (world.records(), changes) == ([], [])


@pytest.mark.parametrize("name", EXTRA)
def test_D04_a_field_that_is_not_declared_is_refused_in_tensors_outputs_and_rows(name: str, tmp_path: Path):
    world = answering(tmp_path)
    tensor, plain_body = infer_body(), infer_body()
    tensor["inputs"][0][name] = EXTRA[name]
    output = {**plain_body, "outputs": [{"name": "label", name: EXTRA[name]}]}
    for path, body in (
        ("/v2/models/churn/infer", tensor),
        ("/v2/models/churn/infer", output),
        ("/v2/models/churn/predict", {"rows": [{**GOOD_ROW, name: EXTRA[name]}]}),
        ("/v1/models/churn:predict", {"instances": [{**GOOD_ROW, name: EXTRA[name]}]}),
    ):
        assert world.ask(path=path, body=body)[0] == 400, path
    assert world.records() == []


@pytest.mark.parametrize("where", ["parameters", "query", "headers"])
def test_D04_names_beside_the_body_decide_nothing(where: str, tmp_path: Path):
    world = answering(tmp_path, verbs={"predict"})
    asked = (("infer", infer_body()), ("predict", {"rows": [GOOD_ROW]}))
    for (kind, body), (name, value) in itertools.product(asked, EXTRA.items()):
        sent = {**body, "parameters": {name: value}} if where == "parameters" else body
        query = f"?{name}={value}" if where == "query" else ""
        headers = {f"x-{name.replace('_', '-')}": str(value)} if where == "headers" else {}
        status, answer, _ = world.ask(path=f"/v2/models/churn/{kind}{query}", body=sent, headers=headers)
        assert (status, answer["model_version"]) == (200, "1"), (name, answer)
        told = world.records()[-1]
        assert (told.caller, told.version, told.digest) == (f"key:{world.key_id}", 1, world.first)
        assert (told.id, told.route, told.cached) == (answer["parameters"]["prediction_id"], "only", False)
        assert told.id != EXTRA["prediction_id"]


def test_D04_what_a_message_of_grpc_does_not_declare_is_passed_over(tmp_path: Path):
    world = answering(tmp_path)
    unknown = b"\xfa\x3e\x07mallory\xf0\x3f\x01"  # field 1007 as a text, field 1022 as a number
    with Door(world) as door:
        message = request().SerializeToString() + unknown
        assert door.ask("ModelInfer", inference.ModelInferRequest.FromString(message)).model_version == "1"
    assert [record.caller for record in world.records()] == [f"key:{world.key_id}"]


def declared() -> dict[str, Fields]:
    """Return the fields of each answer as the page has them."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Fields of answers\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `?(.*?)`? \| (?:as )?`(.*)` \|$", section, re.MULTILINE))
    return {path: parsed(rows.get(text, text)) for path, text in rows.items()}


def parsed(text: str) -> Fields:
    """Return the fields that `name, other?{below}, list[below]` stands for."""
    if text[:1] in "[{" and text:
        return parsed(text[1:-1])
    fields, depth, start = {}, 0, 0
    for place, sign in enumerate(f"{text},"):
        depth += (sign in "[{") - (sign in "]}")
        if sign == "," and depth == 0:
            one = text[start:place].strip()
            start = place + 1
            if one == "*":
                return ANYTHING
            if one:
                name, optional, below = re.fullmatch(r"(\w+)(\??)(.*)", one).groups()
                fields[name] = (bool(optional), parsed(below) if below else None)
    return fields


def undeclared(value: Any, fields: Fields | None, at: str = "") -> list[str]:
    """Return what an answer has that is not declared, and what it lacks that is."""
    if fields is ANYTHING or (fields and "*" in fields):
        return []
    if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        return [wrong for one in value for wrong in undeclared(one, fields, f"{at}[]")]
    if not isinstance(value, Mapping):
        return []
    if fields is None:
        return [f"{at} has fields"]
    wrong = [f"{at}.{name} is not declared" for name in value.keys() - fields.keys()]
    wrong += [f"{at}.{name} is missing" for name, (may, _) in fields.items() if not may and name not in value]
    return wrong + [
        w for name in value.keys() & fields.keys() for w in undeclared(value[name], fields[name][1], f"{at}.{name}")
    ]


MORE_BODIES: dict[str, list[Any]] = {
    "v2/models/{m}/infer": [
        {**infer_body(), "id": "mine", "parameters": {"owner": "x"}, "outputs": [{"name": "label"}]},
        {**infer_body(), "outputs": [{"name": "probabilities", "parameters": {"classification": 1}}]},
        infer_body(age=[400.0]),
    ],
    "v2/models/{m}/predict": [
        {"rows": [GOOD_ROW], "id": "mine", "outputs": ["probabilities"]},
        {"rows": [GOOD_ROW, {"age": "x"}], "parameters": {"partial": True}},
        {"rows": [{**GOOD_ROW, "age": 400.0}]},
    ],
    "v1/models/{m}:predict": [{"instances": [GOOD_ROW, GOOD_ROW]}],
}


def answers(world: World, what: str, method: str) -> list[tuple[Any, Any]]:
    """Return bodies that a path is sent, with the answers in JSON."""
    bodies = [body_for(what), *MORE_BODIES.get(what, [])]
    selectors = SELECTORS[:3] if "{m}" in what and not what.endswith("feedback") else ("",)
    asked = [(body, world.ask(method, path_of(what, "churn", s), body or b"")) for body in bodies for s in selectors]
    assert all(status in (200, 202) for _, (status, _, _) in asked), asked
    return [(body, answer) for body, (_, answer, _) in asked]


@pytest.mark.parametrize("row", [row for row in PATHS if row.what != "metrics"], ids=lambda row: row.what)
def test_D05_an_answer_holds_exactly_what_the_page_declares(row: Any, tmp_path: Path):
    world = answering(tmp_path, verbs={"view", "predict", "label", "promote"})
    world.ask()
    fields = declared()[row.what]
    for _, answer in answers(world, row.what, row.methods[0]):
        assert undeclared(answer, fields) == []


def test_D05_every_path_has_its_fields_declared_and_what_is_not_declared_is_seen():
    assert declared().keys() == {row.what for row in PATHS if row.what != "metrics"} | {"a refusal"}
    assert undeclared({"name": "a", "owner": "x"}, parsed("name, id")) == [".owner is not declared", ".id is missing"]
    assert undeclared({"rows": [{"id": 1}, {"x": {}}]}, parsed("rows[id?]")) == [".rows[].x is not declared"]
    assert undeclared({"live": {"a": 1}}, parsed("live")) == [".live has fields"]


@pytest.mark.parametrize("model", ["churn", "churm"])
@pytest.mark.parametrize("key", ["", None, "trivet_bad"])
def test_D05_a_refusal_holds_exactly_what_the_page_declares(model: str, key: str | None, tmp_path: Path):
    world = answering(tmp_path, verbs={"label"})
    fields = declared()["a refusal"]
    for row, method in itertools.product(OF_MODELS, ("GET", "POST", "PUT")):
        status, answer, _ = world.ask(method, path_of(row.what, model), b'{"x": 1}', key=key)
        assert status >= 400
        assert undeclared(answer, fields) == [], row.what


def closed(schema: Any) -> Any:
    """Return a schema whose objects have the properties that it names, and no others."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(one) for name, one in schema.items()}
    return {"additionalProperties": False, **inner} if "properties" in inner else inner


@pytest.mark.parametrize(("kind", "name"), [("infer", "InferAnswer"), ("predict", "RowsAnswer")])
def test_D05_an_answer_holds_nothing_that_openapi_does_not_declare(kind: str, name: str, tmp_path: Path):
    world = answering(tmp_path, verbs={"view", "predict"})
    components = world.ask("GET", "/v2/models/churn/openapi.json")[1]["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": closed(components["schemas"])}}
    found = answers(world, f"v2/models/{{m}}/{kind}", "POST")
    for body, answer in found:
        if "classification" not in json.dumps(body):  # which gives texts where the schema has numbers
            Draft202012Validator(schema).validate(answer)
    assert not Draft202012Validator(schema).is_valid({**found[0][1], "owner": "x"})
