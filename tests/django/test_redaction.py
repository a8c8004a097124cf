"""D36, D37, M04: a record names all that its answer depended on, and nothing that is marked sensitive in the clear."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
from django.core.management import call_command
from hypothesis import given, settings as hypothesis_settings, strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import trivet
from tests.django.people import person
from tests.django.test_pruning import dump, intact
from tests.django.worlds import ready, record
from tests.scale import scaled
from tests.unit.dataplane.mounts import MOUNTS
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion, RegisteredModel
from trivet.control.registry.pushing import push_file
from trivet.control.registry.shuffling import shuffled
from trivet.control.registry.snapshots import build_snapshot
from trivet.control.registry.storage import bundle_storage, fetch_bundle, stored_name
from trivet.core.errors import InvalidRequest, PermissionDenied
from trivet.core.records import PredictionRecord, decode_record
from trivet.core.redaction import HIDDEN, hidden, redacted
from trivet.core.signature import Input, Signature
from trivet.dataplane.spool import segments
from trivet.model.bundle.bundle import Bundle
from trivet.model.bundle.manifest import MANIFEST_NAME
from trivet.model.bundle.sample import SAMPLE_NAME
from trivet.model.compile import disposable
from trivet.model.compile.compiler import compile_model
from trivet.model.runtimes.onnx import OnnxRuntime
from trivet.serving import process
from trivet.serving.keeper import Keeper, spool_root

pytestmark = pytest.mark.django_db(transaction=True)

CANARY = "Canaryville-7f3a"
TENSORS = [
    {"name": "age", "datatype": "FP64", "shape": [1, 1], "data": [41.0]},
    {"name": "city", "datatype": "BYTES", "shape": [1, 1], "data": [CANARY]},
]
BINARY = len(CANARY).to_bytes(4, "little") + CANARY.encode()
MANY = [{"age": 41.0, "city": f"{CANARY}{place}" + "x" * 2000} for place in range(600)]  # inputs of over 1 MiB


@cache
def bundle_of_any_town() -> Bundle:
    """Return a bundle that takes any text for `city`."""
    random = np.random.default_rng(1)
    rows = pd.DataFrame({"age": random.uniform(18, 90, 120), "city": random.choice(["Lyon", "Oslo"], 120)})
    churned = np.where(rows.age + (rows.city == "Oslo") * 20 > 60, "churned", "stays")
    of_city = OneHotEncoder(handle_unknown="ignore")
    prepare = ColumnTransformer([("age", SimpleImputer(), ["age"]), ("city", of_city, ["city"])])
    return compile_model(make_pipeline(prepare, LogisticRegression()).fit(rows, churned), sample=rows).bundle


@pytest.fixture
def here(settings) -> Iterator[SimpleNamespace]:
    """A live model and a key; this process follows the registry when it is told to."""
    settings.TRIVET_KEEPER = "external"
    version = actions.register_version(name="churn", bundle=bundle_of_any_town(), actor="cli:ana")
    actions.mark_ready(model="churn", version=1, actor="process:probe")
    actions.promote(model="churn", version=1, actor="cli:ana")
    key, plaintext = actions.issue_key(name="doors", grants={"churn": ["predict"]}, actor="user:ana")
    one = process.Process(process.WorkerKind.PROCESS)
    one.step()
    process._process = one
    yield SimpleNamespace(version=version, key=plaintext, key_id=key.pk, process=one)
    process._process = None
    one.stop()


def post(here: SimpleNamespace, mount: str, path: str, body: bytes, **headers: str) -> int:
    sent = {b"host": b"testserver", b"authorization": f"Bearer {here.key}".encode()}
    sent |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    sent[b"content-length"] = str(len(body)).encode()
    return int(MOUNTS[mount](here.process.plane, "POST", path, sent, body).status)


def ask_in_every_notation(here: SimpleNamespace) -> list[int]:
    """Ask with the canary as JSON, as binary tensors, as rows, CSV and V1, at every mount; some of it is refused."""
    infer, predict = "/v2/models/churn/infer", "/v2/models/churn/predict"
    tensor = {"name": "city", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(BINARY)}}
    head = json.dumps({"inputs": [TENSORS[0], tensor]}).encode()
    found = [post(here, next(iter(MOUNTS)), predict, json.dumps({"rows": MANY}).encode())]
    for mount in MOUNTS:
        rows = [{"age": 41.0, "city": CANARY}, {"age": None, "city": CANARY}]
        found += [
            post(here, mount, infer, json.dumps({"inputs": TENSORS}).encode()),
            post(here, mount, infer, head + BINARY, inference_header_content_length=str(len(head))),
            post(here, mount, predict, json.dumps({"rows": rows}).encode()),
            post(here, mount, predict, f"city,age\n{CANARY},41\n".encode(), content_type="text/csv"),
            post(here, mount, "/v1/models/churn:predict", json.dumps({"instances": rows}).encode()),
            post(here, mount, predict, json.dumps({"rows": [{"age": CANARY, "city": CANARY}]}).encode()),
            post(here, mount, predict, json.dumps({"rows": [{"age": 41.0, CANARY: CANARY}]}).encode()),
        ]
    return found


def shipped() -> None:
    keeper = Keeper(spool_root())
    keeper.step()
    keeper._release()


def test_D37_a_sensitive_value_is_in_no_spool_table_log_or_event(here, home: Path, caplog, capfd):
    actions.set_sensitive(model="churn", add=["city"], actor="cli:ana", reason="it tells who they are")
    here.process.step()
    caplog.set_level(0)
    statuses = ask_in_every_notation(here)
    trivet.predict("churn", {"age": 41.0, "city": CANARY})
    assert statuses.count(200) == 5 * len(MOUNTS) + 1
    assert statuses.count(400) == 2 * len(MOUNTS)

    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".seg" for path in files)
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
    shipped()
    assert Prediction.objects.count() == len(MOUNTS) * (1 + 1 + 2 + 1 + 2) + len(MANY) + 1
    assert CANARY not in dump()
    assert CANARY not in caplog.text
    assert CANARY not in "".join(capfd.readouterr())
    kept = {
        json.dumps(inputs) for inputs in Prediction.objects.filter(inputs__age=41.0).values_list("inputs", flat=True)
    }
    of_canary = hidden(CANARY, "city", here.process.plane.peppers[0])
    assert json.dumps({"age": 41.0, "city": of_canary}) in kept  # told apart and counted all the same
    assert intact()


def test_D37_without_the_mark_the_canary_is_found_so_the_search_is_one(here, home: Path):
    trivet.predict("churn", {"age": 41.0, "city": CANARY})
    assert any(CANARY.encode() in path.read_bytes() for path in home.rglob("*.seg"))
    actions.set_sensitive(model="churn", add=["city"], actor="cli:ana")
    shipped()  # what was in the spool already is hidden on its way into the log
    assert Prediction.objects.get().inputs["city"].startswith(HIDDEN)
    assert CANARY not in dump()


def test_D37_what_fits_no_signature_is_not_kept_at_all():
    (version,) = ready()
    actions.set_sensitive(model="churn", add=["plan"], actor="cli:ana")
    ship([record(version, digest="f" * 64, inputs=[[CANARY], [CANARY], [CANARY]]), record(version)])
    assert Prediction.objects.order_by("pk")[0].inputs is None
    assert Prediction.objects.order_by("pk")[1].inputs["plan"].startswith(HIDDEN)
    assert CANARY not in dump()


def test_a_field_is_marked_and_unmarked_with_an_event_and_a_name_that_is_none_is_refused(capsys):
    ready()
    call_command("trivet", "redact", "churn", "plan")
    assert "churn: plan hidden in the log" in capsys.readouterr().out
    assert RegisteredModel.objects.get().sensitive == ["plan"]
    assert build_snapshot().models["churn"].sensitive == {"plan"}
    assert Event.objects.first().after == {"sensitive": ["plan"]}
    events = Event.objects.count()
    call_command("trivet", "redact", "churn", "plan")
    assert Event.objects.count() == events
    with pytest.raises(InvalidRequest, match=r"'plann' is not hidden\. Did you mean 'plan'"):
        actions.set_sensitive(model="churn", remove=["plann"], actor="cli:ana")
    assert RegisteredModel.objects.get().sensitive == ["plan"]
    call_command("trivet", "redact", "churn", "--no-longer", "plan")
    assert RegisteredModel.objects.get().sensitive is None
    with pytest.raises(InvalidRequest, match="Did you mean 'plan'"):
        actions.set_sensitive(model="churn", add=["plann"], actor="cli:ana")
    assert Event.objects.count() == events + 1


def test_the_sensitive_columns_of_a_sample_are_shuffled_alone_and_always_alike(tmp_path: Path):
    sample = tmp_path / "rows.csv"
    rows = [[str(place), f"name {place}", "a,b"] for place in range(50)]
    with sample.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "name", "note"], *rows])
    seen = []
    for _ in range(2):
        with shuffled(sample, ["name"]) as path:
            assert path is not None
            header, *moved = list(csv.reader(path.read_text().splitlines()))
        assert not path.exists()
        seen.append(moved)
    assert header == ["id", "name", "note"]
    assert seen[0] == seen[1]
    assert [(row[0], row[2]) for row in moved] == [(row[0], row[2]) for row in rows]
    assert sorted(row[1] for row in moved) == sorted(row[1] for row in rows)
    assert sum(mine[1] == theirs[1] for mine, theirs in zip(rows, moved, strict=True)) < 10
    with shuffled(sample, []) as same:
        assert same == sample
    with pytest.raises(InvalidRequest, match="Did you mean 'name'"), shuffled(sample, ["nam"]):
        pass


@pytest.fixture
def several_files() -> Iterator[None]:
    """Import what opens trained files once for all that one test pushes."""
    with disposable.several_files():
        yield


@pytest.mark.usefixtures("home", "several_files")
def test_D37_a_push_marks_before_the_first_answer_and_shuffles_the_sample(tmp_path: Path):
    random = np.random.default_rng(2)
    rows = pd.DataFrame({"age": random.uniform(18, 90, 60).round(3), "city": [f"town {place}" for place in range(60)]})
    of_city = OneHotEncoder(handle_unknown="ignore")
    prepare = ColumnTransformer([("age", SimpleImputer(), ["age"]), ("city", of_city, ["city"])])
    joblib.dump(make_pipeline(prepare, LogisticRegression()).fit(rows, rows.age > 50), tmp_path / "m.joblib")
    rows.to_csv(tmp_path / "rows.csv", index=False)

    pushed = push_file(
        tmp_path / "m.joblib",
        name="churn",
        actor="cli:ana",
        sample=tmp_path / "rows.csv",
        sensitive=["city"],
        is_vouched_for=True,
    )

    marked, promoted = (Event.objects.get(action=action) for action in ("set_sensitive", "promote"))
    assert marked.generation < promoted.generation
    lines = fetch_bundle(pushed.version.digest).files[SAMPLE_NAME].splitlines()
    kept = {line["inputs"]["age"]: line["inputs"]["city"] for line in map(json.loads, lines)}
    given_ = dict(zip(rows.age, rows.city, strict=True))
    assert kept.keys() <= given_.keys()
    assert sum(given_[age] == city for age, city in kept.items()) <= len(kept) / 5

    reference = pushed.compiled.reference
    assert reference is not None
    assert [bins.name for bins in reference.features] == ["age"]

    again = push_file(  # what is hidden is told once, not with each push
        tmp_path / "m.joblib", name="churn", actor="cli:ana", sample=tmp_path / "rows.csv", is_vouched_for=True
    )
    assert again.version.digest == pushed.version.digest

    with pytest.raises(InvalidRequest, match="Did you mean 'city'"):
        push_file(tmp_path / "m.joblib", name="late", actor="cli:ana", sensitive=["cty"], is_vouched_for=True)
    assert not RegisteredModel.objects.filter(name="late").exists()


MATRIX = Signature(
    inputs=(
        Input(name="x", datatype="FP64", shape=(-1, 3), columns=("height", "weight", "age")),
        Input(name="z", datatype="FP32", shape=(-1, 2)),
        Input(name="image", datatype="FP32", shape=(-1, 2, 2)),
        Input(name="word", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=(),
)


@given(
    rows=st.integers(1, 5),
    names=st.sets(st.sampled_from(["x", "height", "age", "z", "x1", "image", "word"])),
    data=st.data(),
)
@hypothesis_settings(max_examples=scaled(test=50, ci=300, full=3000), deadline=None)
def test_D37_exactly_the_marked_places_are_hidden(rows: int, names: set[str], data: st.DataObject):
    numbers = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | st.none()
    given_ = [data.draw(st.lists(numbers, min_size=rows * width, max_size=rows * width)) for width in (3, 2, 4)]
    given_.append(data.draw(st.lists(st.text(max_size=3) | st.none(), min_size=rows, max_size=rows)))
    out = redacted(given_, MATRIX, names, rows, [b"k" * 64])
    marked = [
        [("x" in names) or (name in names) for name in ("height", "weight", "age")],
        [("z" in names) or (name in names) for name in ("x0", "x1")],
        ["image" in names] * 4,
        ["word" in names],
    ]
    assert out is not None
    for values, hid, marks in zip(given_, out, marked, strict=True):
        for place, (value, kept) in enumerate(zip(values, hid, strict=True)):
            if marks[place % len(marks)] and value is not None:
                assert isinstance(kept, str)
                assert kept.startswith(HIDDEN)
            else:
                assert kept is value


def test_equal_numbers_are_hidden_alike_and_another_input_or_pepper_otherwise():
    key = b"k" * 64
    assert hidden(1, "a", key) == hidden(1.0, "a", key) != hidden(1.5, "a", key)
    assert len({hidden(1, "a", key), hidden(1, "b", key), hidden(1, "a", b"j" * 64), hidden("1", "a", key)}) == 4
    assert hidden(hidden("x", "a", key), "a", key) == hidden("x", "a", key)
    assert hidden(None, "a", key) is None


# --- D36: everything an answer depended on ---------------------------------------------------------------------------

DEPENDED_ON = {  # by what it is called in a record, and in the log
    "model": "model",
    "version": "version",
    "digest": "digest",
    "generation": "generation",
    "route": "route",
    "caller": "caller",
    "door": "door",
    "inputs": "inputs",
    "parameters": "parameters",
    "made_at": "made_at",
    "cached": "cached",
    "fallback_from": "fallback_from",
}
TOLD_BESIDES = {  # of the answer and its circumstances
    "id": "prediction_id",
    "outputs": "output",
    "output_names": "output",
    "flags": "flags",
    "request_id": "request_id",
    "caller_id": "caller_id",
    "entity_key": "entity_key",
    "entity_keys": "entity_key",
    "latency_us": "latency_us",
    "kind": "kind",
    "inputs_sha256": "inputs_sha256",
    "shadow_of": "shadow_of",
    "places": "row",
    "rows": "row",
}
IN_THE_RECORD_ALONE = {"format", "traceparent"}  # of its bytes; of the caller's own trace, which spans tell


def test_D36_a_record_has_a_place_for_everything_and_the_log_keeps_it():
    assert {*DEPENDED_ON, *TOLD_BESIDES, *IN_THE_RECORD_ALONE} == set(PredictionRecord.__struct_fields__)
    columns = {field.name for field in Prediction._meta.concrete_fields}
    assert {*DEPENDED_ON.values(), *TOLD_BESIDES.values()} <= columns


def test_D36_an_answer_can_be_made_again_from_its_record_alone(here):
    body = json.dumps(
        {"id": "mine", "inputs": TENSORS, "parameters": {"entity_key": "c-1", "route_key": "a", "campaign": "spring"}}
    ).encode()
    for mount in MOUNTS:
        assert post(here, mount, "/v2/models/churn/infer", body) == 200
    (payload, _), *_ = next(iter(segments(spool_root()))).payloads(0)
    sent = decode_record(payload)
    shipped()
    for row in Prediction.objects.all():
        assert (row.model, row.version, row.route) == ("churn", 1, "only")
        assert (row.caller, row.caller_id, row.entity_key) == (f"key:{here.key_id}", "mine", "c-1")
        assert row.parameters == {"entity_key": "c-1", "route_key": "a", "campaign": "spring"}
        promoted = Event.objects.get(action="promote")
        assert promoted.generation <= row.generation <= Event.objects.first().generation
        bundle = fetch_bundle(row.digest)
        runtime = OnnxRuntime.load(bundle)
        feed = {"age": np.array([[row.inputs["age"]]]), "city": np.array([[row.inputs["city"]]], dtype=object)}
        label, probabilities = runtime.run(feed, ["label", "probabilities"])
        assert row.output["label"] == label.ravel()[0]
        classes = bundle.signature.output("probabilities").classes
        assert [row.output["probabilities"][name] for name in classes] == probabilities.ravel().tolist()
    assert sent.digest == here.version.digest


def test_M04_the_digest_of_an_answer_is_that_of_its_record_of_the_registry_and_of_the_bytes_on_disk(here):
    said = trivet.predict("churn", {"age": 41.0, "city": "Oslo"})
    (payload, _), *_ = next(iter(segments(spool_root()))).payloads(0)
    shipped()
    with bundle_storage().open(stored_name(here.version.digest, MANIFEST_NAME)) as manifest:
        content = manifest.read()
    digests = {
        said.digest,
        decode_record(payload).digest,
        Prediction.objects.get().digest,
        ModelVersion.objects.get().digest,
        Event.objects.get(action="register_version").after["digest"],
        hashlib.sha256(content).hexdigest(),
        bundle_of_any_town().digest,
    }
    assert digests == {here.version.digest}
    for file in json.loads(content)["files"]:
        with bundle_storage().open(stored_name(here.version.digest, file["path"])) as stored:
            assert hashlib.sha256(stored.read()).hexdigest() == file["sha256"]


def test_D37_a_text_that_passes_for_hidden_is_hidden():
    assert hidden("hidden:Jane Doe", "name", b"k" * 32) != "hidden:Jane Doe"
    once = hidden("Jane Doe", "name", b"k" * 32)
    assert hidden(once, "name", b"k" * 32) == once


@pytest.mark.django_db
def test_who_may_only_look_marks_nothing_and_unmarks_nothing():
    ready(1)
    actions.set_sensitive(model="churn", add=["age"], actor="cli:ana")
    auditor = person("view_registeredmodel", "view_inputs")
    for change in ({"remove": ["age"]}, {"add": ["plan"], "remove": ["nothing"]}):
        with pytest.raises(PermissionDenied):
            actions.set_sensitive(model="churn", actor=auditor, **change)
    assert RegisteredModel.objects.get().sensitive == ["age"]


@pytest.mark.django_db
def test_who_may_push_hides_more_and_shows_only_what_they_may_see():
    ready(1)
    scientist = person("view_registeredmodel", "push")
    actions.set_sensitive(model="churn", add=["age"], actor=scientist)
    with pytest.raises(PermissionDenied, match="view inputs"):
        actions.set_sensitive(model="churn", remove=["age"], actor=scientist)
    assert RegisteredModel.objects.get().sensitive == ["age"]
    both = person("view_registeredmodel", "push", "view_inputs", name="zoe")
    actions.set_sensitive(model="churn", remove=["age"], actor=both)
    assert not RegisteredModel.objects.get().sensitive
