"""What is in a trained file, listed without loading it."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import zipfile
import zlib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from hypothesis import given, settings as hypothesis_settings, strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from trivet.core.errors import CompileError
from trivet.model.compile import listing, pickle_names
from trivet.model.compile.inspection import list_file
from trivet.model.compile.listing import list_trained


class Calls:
    """Asks to run something when it is loaded."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


@pytest.fixture(scope="module")
def pipeline():
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"a": random.normal(size=80), "word": random.choice(["x", "y"], 80)})
    prepare = ColumnTransformer([("a", StandardScaler(), ["a"]), ("word", OneHotEncoder(), ["word"])])
    return make_pipeline(prepare, RandomForestClassifier(3)).fit(rows, rows.a > 0)


@pytest.fixture(scope="module")
def boosting():
    rows = np.random.default_rng(0).normal(size=(80, 2))
    return HistGradientBoostingClassifier(max_iter=3).fit(rows, rows[:, 0] > 0)


def listed(data: bytes, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        return list_trained(file)


def dumped(model, **options) -> bytes:
    file = io.BytesIO()
    joblib.dump(model, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_a_joblib_file_says_its_class_its_library_and_what_it_asks_for(compress, pipeline, boosting, tmp_path):
    for model in (pipeline, boosting):
        found = listed(dumped(model, compress=compress), tmp_path)
        assert (found.format, found.problem, found.dangerous, found.unknown) == ("joblib", "", (), ())
        assert found.kind == f"{type(model).__module__}.{type(model).__qualname__}"
        assert found.libraries == {"scikit-learn": sklearn.__version__}


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_what_is_listed_is_what_python_would_look_up(protocol, pipeline, boosting, tmp_path):
    asked = []

    class Remembers(pickle.Unpickler):
        def find_class(self, module, name):
            asked.append(f"{pickle_names.OLD_MODULES.get(module, module)}.{name}")
            return super().find_class(module, name)

    for model in (pipeline, boosting):
        data = pickle.dumps(model, protocol)
        asked.clear()
        Remembers(io.BytesIO(data)).load()
        found = listed(data, tmp_path)
        assert found.problem == ""
        assert {name.rpartition(".")[2] for name in found.names} == {name.rpartition(".")[2] for name in asked}


@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        (Calls(os.system, "true"), "posix.system"),
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(getattr, 1, "real"), "builtins.getattr"),
        ([1, {"deep": (Calls(os.system, "true"),)}], "posix.system"),
        (np.array([Calls(os.system, "true")], dtype=object), "posix.system"),
        ([np.array([None, "x"], dtype=object), Calls(os.system, "true")], "posix.system"),
    ],
)
def test_what_reaches_beyond_a_model_is_named_wherever_it_lies(hostile, name, tmp_path):
    assert listed(pickle.dumps(hostile), tmp_path).dangerous == (name,)
    assert listed(dumped(hostile), tmp_path).dangerous == (name,)
    assert listed(dumped({"arrays": [np.arange(1000), hostile, np.zeros((3, 0))]}, compress=3), tmp_path).dangerous == (
        name,
    )


def test_classes_of_nobodys_library_are_named_apart(tmp_path):
    data = b"cmy_company.models\nChurn\n)\x81."
    found = listed(b"\x80\x02" + data, tmp_path)
    assert (found.kind, found.unknown, found.dangerous) == ("my_company.models.Churn", ("my_company.models.Churn",), ())


def test_a_name_that_is_computed_is_no_name_of_a_library(tmp_path):
    hidden = b"\x80\x04\x8c\x02os\x8c\x01sN\x93)R."  # the name is None: it cannot be read, so it is not vouched for
    found = listed(hidden, tmp_path)
    assert found.unknown == ("a name that is computed",)


def test_bytes_after_the_end_and_a_file_cut_short_are_told(pipeline, tmp_path):
    whole = dumped(pipeline)
    assert listed(whole + b"more", tmp_path).problem == "bytes follow what would be loaded"
    assert "damaged" in listed(whole[: len(whole) // 2], tmp_path).problem


def test_a_file_that_unpacks_to_too_much_ends_the_listing(tmp_path, monkeypatch):
    monkeypatch.setattr(pickle_names, "MOST_BYTES", 1000_000)
    bomb = zlib.compress(b"\x80\x04B" + (100_000_000).to_bytes(4, "little") + bytes(100_000_000), 9)
    assert "unpacks to more than" in listed(bomb, tmp_path).problem


def test_other_formats_are_told_by_what_is_in_them(tmp_path):
    archive = io.BytesIO()
    schema = {
        "__class__": "Pipeline",
        "__module__": "sklearn.pipeline",
        "_skops_version": "0.13",
        "content": {
            "content": {"_sklearn_version": {"__class__": "str", "__module__": "builtins", "content": '"1.7.2"'}}
        },
    }
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("schema.json", json.dumps(schema))
    found = listed(archive.getvalue(), tmp_path)
    assert (found.format, found.kind) == ("skops", "sklearn.pipeline.Pipeline")
    assert found.libraries == {"scikit-learn": "1.7.2", "skops": "0.13"}
    assert listed(b"tree\nversion=v4\n", tmp_path).libraries == {"lightgbm": "4"}
    boosted = listed(b'{"learner":{},"version":[3,0,1]}', tmp_path)
    assert (boosted.format, boosted.libraries) == ("XGBoost JSON", {"xgboost": "3.0.1"})
    assert listed(b"CBM1....", tmp_path).format == "CatBoost"
    assert listed(b"\x89HDF\r\n", tmp_path).format == "HDF5"
    assert listed(b"", tmp_path).format == "unknown"


def zipped(method=zipfile.ZIP_STORED, **members) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("MLmodel", "flavors: {sklearn: {pickled_model: model}}")
        archive.writestr("input_example.json", '{"data": [[1]]}')
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("written", [pickle.dumps, dumped, lambda model: dumped(model, compress=3)])
def test_a_model_of_mlflow_is_listed_as_the_file_in_it_is(written, method, pipeline, tmp_path):
    alone, found = (listed(data, tmp_path) for data in (written(pipeline), zipped(method, model=written(pipeline))))
    assert (found.format, found.problem, found.kind) == ("MLflow model", "", "sklearn.pipeline.Pipeline")
    assert (found.names, found.libraries) == (alone.names, alone.libraries)
    hostile = zipped(method, model=written(Calls(os.system, "true")), other=written(pipeline))
    assert listed(hostile, tmp_path).dangerous == ("posix.system",)


def test_skops_and_boosters_in_a_model_of_mlflow_are_listed(pipeline, tmp_path):
    found = listed(zipped(model=skops.io.dumps(pipeline)), tmp_path)
    assert "sklearn.pipeline.Pipeline" in found.names
    assert found.libraries["scikit-learn"] == sklearn.__version__
    assert listed(zipped(model=b"tree\nversion=v4\n"), tmp_path).libraries == {"lightgbm": "4"}
    assert listed(zipped(model=zipped(model=b"")), tmp_path).names == ()


def test_what_cannot_be_listed_of_a_model_of_mlflow_is_told(tmp_path, monkeypatch):
    assert "'model': it is damaged" in listed(zipped(model=pickle.dumps("x" * 99)[:20]), tmp_path).problem
    broken = zipped(zipfile.ZIP_DEFLATED, model=pickle.dumps(list(range(999))))
    place = broken.index(b"model", broken.index(b"input_example.json")) + 30
    assert "'model': it cannot be read" in listed(broken[:place] + bytes(8) + broken[place + 8 :], tmp_path).problem
    monkeypatch.setattr(listing, "MOST_MEMBER_BYTES", 1000)
    assert "too large to list" in listed(zipped(zipfile.ZIP_DEFLATED, model=bytes(2000)), tmp_path).problem


@hypothesis_settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), seed=st.integers(0, 2**32 - 1))
def test_whatever_the_bytes_are_the_listing_ends_with_an_answer(data, seed, tmp_path_factory):
    codes = [code.code.encode("latin1") for code in pickletools.opcodes]
    random = np.random.default_rng(seed)
    mixed = b"".join(codes[random.integers(len(codes))] + data[i : i + 3] for i in range(0, len(data), 3))
    for one in (data, b"\x80\x04" + data, b"\x80\x04" + mixed):
        listed(one, tmp_path_factory.getbasetemp())


def test_the_listing_is_made_in_a_process_that_loads_nothing(tmp_path):
    canary = tmp_path / "canary"
    path = tmp_path / "model.joblib"
    path.write_bytes(dumped(Calls(os.system, f"touch {canary}")))
    assert list_file(path).dangerous == ("posix.system",)
    assert not canary.exists()
    with pytest.raises(CompileError, match="cannot be read"):
        list_file(tmp_path / "nothing")
