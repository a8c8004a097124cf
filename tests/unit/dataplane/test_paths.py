"""Every path and what it answers (protocol, section 1), without a server. Numbers are those of the conformance list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.core.datatypes import DATATYPES
from trivet.core.signature import Input, Output, Signature
from trivet.core.snapshot import ModelEntry, VersionEntry
from trivet.dataplane.frontends.paths import METHODS, is_prediction_path, parse_path
from trivet.dataplane.protocol.configuration import configuration

pytestmark = pytest.mark.usefixtures("on_every_mount")

READ_PATHS = ["/v2/models/stats", "/v2", "/v2/models", "/v1/models", "/v2/health/live", "/v2/health/ready"]
STATISTICS = "/v2/models/churn{}/stats"
MODEL_PATHS = [
    STATISTICS,
    "/v2/models/churn{}/openapi.json",
    "/v2/models/churn{}",
    "/v2/models/churn{}/ready",
    "/v2/models/churn{}/config",
    "/v1/models/churn{}",
]
EVERY_READ_PATH = READ_PATHS + [path.format(at) for path in MODEL_PATHS for at in ("", "/versions/1")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_01_the_server_says_its_name_its_release_and_what_it_offers(tmp_path: Path):
    status, answer, _ = World(tmp_path, release="1.2.3").ask("GET", "/v2")
    assert status == 200
    assert (answer["name"], answer["version"]) == ("trivet", "1.2.3")
    assert answer["extensions"] == [
        *("binary_tensor_data", "classification", "model_configuration", "model_repository", "parameters"),
        *("statistics", "trivet_rows", "trivet_feedback", "trivet_openapi"),
    ]  # `trivet_explain` and `trivet_feedback` have no path yet


@pytest.mark.parametrize("path", EVERY_READ_PATH)
def test_02_every_path_but_the_probes_refuses_a_foreign_host(tmp_path: Path, path: str):
    world = World(tmp_path, allowed_hosts=("models.example.com",))
    status, _, headers = world.ask("GET", path, headers={"host": "evil.example"})
    if path.startswith("/v2/health/"):
        assert status == 200
    else:
        assert (status, headers["trivet-error"]) == (400, "BAD_HOST")


@pytest.mark.parametrize("path", [path for path in MODEL_PATHS if path.endswith(("{}", "ready", "config"))])
def test_04_a_number_and_an_alias_mean_what_no_version_means(world: World, path: str):
    plain, numbered, aliased = (world.ask("GET", path.format(at)) for at in ("", "/versions/1", "/versions/champion"))
    assert plain[0] == 200
    assert numbered[:2] == aliased[:2]
    assert {**plain[1], "versions": ["1"]} == {**numbered[1], "versions": ["1"]}


@pytest.mark.parametrize("version", ["01", "+1", "-1", "1.0", "latest", str(2**64), "9" * 300, "%00", "\0", ""])
@pytest.mark.parametrize("path", MODEL_PATHS)
def test_05_H64_what_names_no_version_is_404_on_every_path(world: World, path: str, version: str):
    status, _, headers = world.ask("GET", path.format(f"/versions/{version}"))
    assert (status, headers["trivet-error"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", MODEL_PATHS)
def test_05_an_unknown_version_or_model_is_404_on_every_path(world: World, path: str):
    assert world.ask("GET", path.format("/versions/7"))[2]["trivet-error"] == "UNKNOWN_VERSION"
    assert world.ask("GET", path.format("/versions/challenger"))[2]["trivet-error"] == "UNKNOWN_VERSION"
    assert world.ask("GET", path.format("").replace("churn", "chorn"))[2]["trivet-error"] == "UNKNOWN_MODEL"


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/", "/v2//models", "/v2/models/", "/v2/models/churn/", "/v2/models/churn/config/", "/v2/health"),
        *("/v2/models/../models/churn", "/v2/models/.", "/v2/models/ch%2furn", "/v2/models/ch%252furn"),
        *(
            "/v2/models/churn%zz",
            "/v2/models/stats/config",
            "/v2/models/churn/versions",
            "/v2/models/churn/versions/1/",
        ),
        *("/v1/models/", "/v1/models/churn/", "/v1/models/churn/ready", "/v1/models/churn/config"),
        *("/v2/models/churn/versions/1/versions/1", "/v2/models/churn/infer_stream", "/v2/models/churn/generate"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_06_H62_H63_what_names_nothing_is_404_in_json_and_never_a_redirect(world: World, method: str, path: str):
    status, answer, headers = world.ask(method, path)
    assert (status, list(answer), headers["trivet-error"]) == (404, ["error"], "NOT_FOUND")
    assert "location" not in headers


def test_06_H63_a_legal_name_may_be_percent_encoded_once(world: World):
    assert world.ask(path="/v2/models/%63hurn/versions/%31/infer")[1]["model_version"] == "1"
    assert world.ask("GET", "/v2/models/ch%75rn")[1]["name"] == "churn"
    assert world.ask("GET", "/v2/models/ch%2575rn")[2]["trivet-error"] == "NOT_FOUND"


@pytest.mark.parametrize("path", [*EVERY_READ_PATH, "/v2/models/churn/infer", "/v2/models/churn/versions/1/predict"])
def test_06_a_wrong_method_is_405_and_says_which_are_offered(world: World, path: str):
    target = parse_path(path)
    assert target is not None
    allowed = METHODS[target.kind]
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - set(allowed):
        status, _, headers = world.ask(method, path)
        assert (status, headers["trivet-error"], headers["allow"]) == (405, "METHOD", ", ".join(allowed))


@pytest.mark.parametrize("path", EVERY_READ_PATH)
def test_06_head_says_what_get_says_without_its_body(world: World, path: str):
    status, answer, headers = world.ask("GET", path)
    head_status, nothing, head_headers = world.ask("HEAD", path)
    assert (status, head_status) == (200, 200)
    assert answer
    assert nothing == {}
    assert head_headers["content-length"] == headers["content-length"]


def test_50_versions_are_in_numeric_order_and_the_tensors_are_the_champions():
    signatures = [
        Signature(inputs=(Input(name=f"x{n}", datatype="FP32", shape=(-1, n)),), outputs=()) for n in range(12)
    ]
    versions = {n: VersionEntry(n, f"{n:064}", "sklearn", signatures[n]) for n in (11, 2, 10, 1)}
    from trivet.dataplane.protocol.metadata import model

    answer = model(ModelEntry("m", versions, (), {"champion": 2}), None)
    assert answer["versions"] == ["1", "2", "10", "11"]
    assert answer["inputs"] == [{"name": "x2", "datatype": "FP32", "shape": [-1, 2]}]
    assert answer["properties"] == {"digest": f"{2:064}", "runtime": "sklearn"}
    assert answer["platform"] == "trivet_sklearn"
    assert model(ModelEntry("m", versions, (), {}), None)["inputs"][0]["name"] == "x11"


def test_54_configuration_leaves_the_row_dimension_out_and_bounds_it(world: World):
    status, answer, _ = world.ask("GET", "/v2/models/churn/config")
    assert status == 200
    assert answer["max_batch_size"] == world.plane.limits.max_rows == 1024
    assert answer["input"][0] == {"name": "age", "data_type": "TYPE_FP64", "dims": [1]}
    assert answer["input"][1]["data_type"] == "TYPE_STRING"
    assert [output["dims"] for output in answer["output"]] == [[], [2]]
    assert answer["version_policy"] == {"specific": {"versions": [1]}}
    assert answer["parameters"]["digest"]["string_value"] == world.first
    assert (answer["platform"], answer["backend"]) == ("onnx_onnxv1", "trivet")


def test_54_configuration_without_a_row_dimension_has_full_shapes_and_every_datatype():
    inputs = tuple(Input(name=name, datatype=name, shape=(3, -1)) for name in DATATYPES)
    signature = Signature(inputs=inputs, outputs=(Output(name="y", datatype="FP32", shape=(2,)),))
    entry = ModelEntry("m", {7: VersionEntry(7, "d" * 64, "onnx", signature)}, (), {"champion": 7})
    answer = configuration(entry, None, 1024)
    assert answer["max_batch_size"] == 0
    assert {tensor["name"]: tensor["data_type"] for tensor in answer["input"]} == {
        name: "TYPE_STRING" if name == "BYTES" else f"TYPE_{name}" for name in DATATYPES
    }
    assert all(tensor["dims"] == [3, -1] for tensor in answer["input"])


def test_53_statistics_count_rows_calls_and_answers(world: World):
    for rows in (1, 1, 3):
        world.ask(path="/v2/models/churn/predict", body={"rows": [GOOD_ROW] * rows})
    world.ask(path="/v2/models/churn/versions/2/infer", body=infer_body())
    world.ask(body=infer_body(city=[3]))
    status, answer, _ = world.ask("GET", "/v2/models/stats")
    assert status == 200
    first, second = answer["model_stats"]
    assert (first["name"], first["version"], second["version"]) == ("churn", "1", "2")
    assert (first["inference_count"], first["execution_count"]) == (5, 3)
    assert (first["inference_stats"]["success"]["count"], first["inference_stats"]["fail"]["count"]) == (3, 1)
    assert [batch["batch_size"] for batch in first["batch_stats"]] == [1, 3]
    assert [batch["compute_infer"]["count"] for batch in first["batch_stats"]] == [2, 1]
    assert set(first["batch_stats"][0]) == {"batch_size", "compute_input", "compute_infer", "compute_output"}
    assert first["last_inference"] > 1_600_000_000_000
    assert world.ask("GET", STATISTICS.format(""))[1] == answer
    assert world.ask("GET", STATISTICS.format("/versions/2"))[1]["model_stats"] == [second]
    assert world.ask("GET", STATISTICS.format("/versions/champion"))[1]["model_stats"] == [first]
    world.route({1: 100}, verbs={"label"})
    assert world.ask("GET", "/v2/models/stats")[1] == {"model_stats": []}
    assert world.ask("GET", STATISTICS.format(""))[0] == 403


def test_55_a_v1_probe_reads_a_boolean_when_the_model_would_not_answer(world: World):
    assert world.ask("GET", "/v1/models")[1] == {"models": ["churn"]}
    assert world.ask("GET", "/v1/models/churn")[1] == {"name": "churn", "ready": True}
    world.route({1: 100})
    world.plane.table.models["churn"].live.clear()
    status, answer, _ = world.ask("GET", "/v1/models/churn/versions/2")
    assert (status, answer["ready"], answer["name"]) == (503, False, "churn")


def test_a_site_keeps_its_own_paths():
    ours = ["/v2", "/v2/", "/v2/models", "/v1/models", "/v1/models/churn"]
    theirs = ["/", "/v1", "/v1/users", "/v1/modelset", "/v20", "/v3/models", "//v2", "/V2", "/shop/v2"]
    assert all(is_prediction_path(path) for path in ours)
    assert not any(is_prediction_path(path) for path in theirs)
    assert is_prediction_path("/ml/v1/models", "/ml/")
    assert not is_prediction_path("/v2/models", "/ml/")


def test_the_reference_tells_every_path():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
    kinds = set()
    for method, path in re.findall(r"(GET|POST) (`[^|]+)", page):
        for written in re.findall(r"`(/[^`]*)`", path):
            for at in ("", "/versions/7", "/versions/champion"):
                target = parse_path(written.replace("[/versions/{v}]", at).replace("{m}", "churn"))
                if target is None:
                    assert written == "/"  # of the ready-made server's own URLs
                    continue
                assert method in METHODS[target.kind], written
                kinds.add(target.kind)
    assert kinds == set(METHODS) - {"predict_csv", "feedback_lines"}


def test_two_keys_that_differ_are_refused_on_read_paths_too(world: World):
    assert world.ask("GET", "/v2/models/churn", headers={"x-api-key": "another"})[0] == 401
    assert world.ask("GET", "/v2/models/churn/config", key=None)[0] == 401
    assert world.ask(body=infer_body())[0] == 200


@pytest.mark.parametrize(
    ("body", "sentences"),
    [
        (
            GOOD_ROW,
            ("unknown field 'age'.", 'Expected: rows, id, outputs, parameters, entity_keys. A row goes into "rows"'),
        ),
        ({"instances": []}, ("unknown field 'instances'. 'instances' belongs to /v1/models/NAME:predict.",)),
        ({"inputs": []}, ("unknown field 'inputs'. 'inputs' belongs to /v2/models/NAME/infer.",)),
        ({}, ("field 'rows' is missing. A row goes into",)),
    ],
)
def test_a_body_of_another_shape_is_told_the_shape_or_the_path_it_belongs_to(world: World, body, sentences):
    status, answer, _ = world.ask(path="/v2/models/churn/predict", body=body)
    assert status == 400
    assert [sentence for sentence in sentences if sentence not in answer["error"]] == []


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v2/models/churn/predict/", " Leave out the slash at its end."),
        ("/v2/model/churn/predict", " It begins with /v2/models/."),
        ("/v2/models/churn@2/predict", " A version goes into the path: /v2/models/NAME/versions/1."),
        ("/v2/models/nobody/predict/", " Leave out the slash at its end."),
        ("/v2/models/churn/elsewhere/", ""),
        ("/v2/models/churn/" + "a/" * 600, ""),
    ],
)
def test_a_path_that_names_nothing_is_told_the_likely_slip_and_no_more(world: World, path: str, hint: str):
    status, answer, headers = world.ask("POST", path, body={})
    assert (status, headers["trivet-error"]) == (404, "NOT_FOUND")
    assert answer["error"] == f"no such path here.{hint}"
