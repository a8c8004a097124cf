"""A model directory of MLflow, or a zip of one, is its model with its signature; mlflow is not installed here."""

import importlib.util
import io
import json
import pickle
import zipfile

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skl2onnx
import xgboost
from sklearn.linear_model import LogisticRegression

from trivet.core.errors import CompileError
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.directory import packed
from trivet.model.compile.opening import open_file
from trivet.model.compile.process import compile_file

MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.{flavor}
    python_version: 3.12.7
  {flavor}:
    code: null
    {key}: {file}
    {more}
mlflow_version: 2.22.1
model_uuid: 5f0e7d6f9a4b4ad5b8f0a6a57dd3b0ef
saved_input_example_info:
  artifact_path: input_example.json
  pandas_orient: split
  serving_input_path: serving_input_example.json
  type: dataframe
signature:
  inputs: '[{{"type": "double", "name": "age", "required": true}}, {{"type": "long", "name": "visits", "required": true}}]'
  outputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "int64", "shape": [-1]}}}}]'
  params: null
utc_time_created: '2026-01-02 03:04:05.678901'
"""


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    return pd.DataFrame({"age": rng.normal(40, 9, 100), "visits": rng.integers(0, 30, 100)})


@pytest.fixture(scope="module")
def target(frame):
    return (frame["age"] > 40).to_numpy().astype(int)


def files_of(flavor, model, frame):
    """Return the file of each flavor as mlflow writes it, and what MLmodel says of it."""
    booster_text = model.booster_.model_to_string().encode() if flavor == "lightgbm" else b""
    return {
        "sklearn": lambda: ("pickled_model", "model.pkl", pickle.dumps(model), "sklearn_version: 1.9.1"),
        "xgboost": lambda: ("data", "model.xgb", bytes(model.get_booster().save_raw("ubj")), "model_format: xgb"),
        "lightgbm": lambda: ("data", "model.lgb", booster_text, "lgb_version: 4.7.0"),
        "onnx": lambda: (
            "data",
            "model.onnx",
            skl2onnx.to_onnx(
                model, frame.to_numpy(np.float32)[:1], options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3}
            ).SerializeToString(),
            "onnx_version: 1.23.2",
        ),
    }[flavor]()


def written(folder, flavor, model, frame, rows=5):
    key, file, data, more = files_of(flavor, model, frame)
    (folder / "MLmodel").write_text(MLMODEL.format(flavor=flavor, key=key, file=file, more=more))
    (folder / file).write_bytes(data)
    split = json.loads(frame.head(rows).to_json(orient="split"))
    (folder / "input_example.json").write_text(json.dumps({"columns": split["columns"], "data": split["data"]}))
    (folder / "requirements.txt").write_text("mlflow==2.22.1\nscikit-learn==1.9.1\nnumpy==2.5.5\n")
    for name in ("conda.yaml", "python_env.yaml", "serving_input_example.json"):
        (folder / name).write_text("{}")
    return folder


def models(frame, target):
    return {
        "sklearn": LogisticRegression().fit(frame, target),
        "xgboost": xgboost.XGBClassifier(n_estimators=5).fit(frame, target),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, target),
        "onnx": LogisticRegression().fit(frame.to_numpy(np.float32), target),
    }


@pytest.mark.parametrize("flavor", ["sklearn", "xgboost", "lightgbm"])
def test_C10_a_directory_of_each_kind_is_as_the_bare_file_and_its_signature_is_taken_over(
    flavor, frame, target, tmp_path
):
    assert importlib.util.find_spec("mlflow") is None
    model = models(frame, target)[flavor]
    opened = opened_folder(written(tmp_path, flavor, model, frame))
    compiled = compile_model(opened.model, sample=opened.sample)
    assert [(i.name, i.datatype) for i in compiled.signature.inputs] == [("age", "FP64"), ("visits", "INT64")]
    assert not opened.is_synthetic
    assert opened.trained_with["scikit-learn"] == "1.9.1"
    assert opened.trained_with["python"] == "3.12.7"
    bare = compile_model(model, sample=opened.sample)
    assert compiled.bundle.files == bare.bundle.files


def test_C10_a_directory_with_onnx_is_the_graph(frame, target, tmp_path):
    opened = opened_folder(written(tmp_path, "onnx", models(frame, target)["onnx"], frame))
    assert opened.given_graph is not None
    assert list(opened.sample.columns) == ["age", "visits"]


def test_one_example_row_is_put_before_made_up_rows_of_the_signatures_types(frame, target, tmp_path):
    opened = opened_folder(written(tmp_path, "sklearn", models(frame, target)["sklearn"], frame, rows=1))
    assert opened.is_synthetic
    assert len(opened.sample) == 501
    assert opened.sample["visits"].dtype == np.int64


def test_a_directory_goes_through_the_disposable_process(frame, target, tmp_path):
    folder = written(tmp_path, "sklearn", models(frame, target)["sklearn"], frame)
    compiled = compile_file(folder)
    assert compiled.bundle.manifest.source["trained_with"]["numpy"] == "2.5.5"
    assert compiled.bundle.manifest.source["format"] == "pickle"
    assert compiled.parity.labels_differ == 0


def opened_folder(folder):
    with packed(folder) as file:
        return open_file(file)


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file


def test_a_zip_of_a_directory_is_read_in_place(frame, target, tmp_path):
    folder = written(tmp_path, "sklearn", models(frame, target)["sklearn"], frame)
    assert open_file(zipped({path.name: path.read_bytes() for path in folder.iterdir()})).sample.shape == (5, 2)


REFUSED = {
    "alias": ({"MLmodel": "a: &a [1]\nflavors: {x: *a}"}, "no plain YAML: it holds an alias"),
    "object": ({"MLmodel": "flavors: !!python/object/apply:os.system [id]"}, "no plain YAML"),
    "large": ({"MLmodel": "#" * (1024**2 + 1)}, "larger than 1048576 bytes"),
    "list": ({"MLmodel": "- a"}, "is no mapping"),
    "no flavors": ({"MLmodel": "a: b"}, "names no flavors"),
    "custom": (
        {"MLmodel": "flavors: {python_function: {}}"},
        r"has the flavors python_function; served are .*trivet\.push",
    ),
    "up": ({"MLmodel": "flavors: {sklearn: {pickled_model: ../model.pkl}}"}, "which is no file beside it"),
    "gone": ({"MLmodel": "flavors: {sklearn: {pickled_model: model.pkl}}"}, "which is no file beside it"),
    "nested": ({"MLmodel": "flavors: {}", "data/model": ""}, "a file in a folder, 'data/model'"),
    "zip in zip": (
        {"MLmodel": "flavors: {sklearn: {pickled_model: a.zip}}", "a.zip": zipped({"a": b""}).getvalue()},
        "an archive inside an archive",
    ),
    "program": (
        {"MLmodel": "flavors: {onnx: {data: model.onnx}}", "model.onnx": b"\x7fELF"},
        "it is a program",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_A16_A20_a_directory_that_breaks_a_rule_is_refused_naming_it(name):
    members, reason = REFUSED[name]
    with pytest.raises(CompileError, match=reason):
        open_file(zipped(members))


def test_links_in_a_directory_are_not_followed(tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}")
    (tmp_path / "model.pkl").symlink_to("/etc/passwd")
    with pytest.raises(CompileError, match=r"'model\.pkl' in .* is a link"):
        packed(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(CompileError, match="a folder without MLmodel"):
        compile_file(tmp_path)
