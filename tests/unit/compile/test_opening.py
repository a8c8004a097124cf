"""A trained file is what its content says: opened by its own library's loader, or refused with the way out."""

import bz2
import copyreg
import gzip
import importlib
import io
import lzma
import pickle
import re
import struct
import sys
import tracemalloc
import zipfile
import zlib

import catboost
import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer

from trivet.core.errors import CompileError
from trivet.model.compile.asked_names import dangerous_among, unknown_among
from trivet.model.compile.compiler import compile_model
from trivet.model.compile.doors import unpacked
from trivet.model.compile.listing import list_trained
from trivet.model.compile.native import native_bundle
from trivet.model.compile.opening import open_file
from trivet.model.compile.process import compile_file
from trivet.model.compile.synthetic import synthetic_sample


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    return pd.DataFrame({"age": rng.normal(40, 9, 200), "income": rng.normal(size=200), "visits": rng.normal(size=200)})


@pytest.fixture(scope="module")
def linear(frame):
    return LogisticRegression().fit(frame, np.where(frame["age"] > 40, "yes", "no"))


def opened(data):
    return open_file(io.BytesIO(data))


def answers_of(compiled, name):
    from trivet.model.bundle.sample import decode_sample

    return decode_sample(compiled.signature, compiled.bundle.files["sample.jsonl"])[1][name]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_A06_pickles_of_protocols_that_have_a_mark_are_opened(protocol, linear):
    assert isinstance(opened(pickle.dumps(linear, protocol)).model, LogisticRegression)


@pytest.mark.parametrize("protocol", [0, 1])
def test_A06_a_pickle_without_a_mark_is_refused_with_the_way_out(protocol, linear):
    with pytest.raises(CompileError, match=r"protocol 0 or 1, which has no mark.*protocol=5"):
        opened(pickle.dumps(linear, protocol))


COMPRESSIONS = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_compressed_pickle_is_opened_up_to_its_end_and_not_beyond(compression, linear):
    data = COMPRESSIONS[compression](pickle.dumps(linear))
    assert isinstance(opened(data).model, LogisticRegression)
    with pytest.raises(CompileError, match="goes on after its end"):
        opened(data + b"PK\x03\x04")
    with pytest.raises(CompileError, match=r"cut short|damaged"):
        opened(data[:-10])


@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "xz", "lzma"])
def test_what_joblib_compresses_is_opened(name, linear, frame):
    file = io.BytesIO()
    joblib.dump(linear, file, compress=(name, 3))
    assert (opened(file.getvalue()).model.predict(frame) == linear.predict(frame)).all()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_A07_a_bomb_is_refused_before_it_fills_the_memory(compression, monkeypatch):
    most = 8 * 1024**2
    monkeypatch.setattr(unpacked, "MOST_UNPACKED_BYTES", most)
    bomb = COMPRESSIONS[compression](pickle.dumps(bytes(64 * 1024**2)))
    tracemalloc.start()
    try:
        with pytest.raises(CompileError, match=f"unpacks to more than {most} bytes"):
            opened(bomb)
        assert tracemalloc.get_traced_memory()[1] < 100 * 1024**2
    finally:
        tracemalloc.stop()


def test_only_a_pickle_is_read_from_compression():
    with pytest.raises(CompileError, match=r"inside its gzip compression, .* no known format"):
        opened(gzip.compress(b"hello"))
    with pytest.raises(CompileError, match="the file is zlib inside gzip"):
        opened(gzip.compress(zlib.compress(b"hello")))


def test_bytes_behind_a_pickle_are_refused(linear):
    with pytest.raises(CompileError, match="goes on after its end"):
        opened(pickle.dumps(linear) + b"PK\x03\x04")


def test_the_globals_a_pickle_asks_for_are_listed_without_doing_them(linear):
    named = opened(pickle.dumps(linear)).asked_for
    assert "sklearn.linear_model._logistic.LogisticRegression" in named
    assert (dangerous_among(named), unknown_among(named)) == ((), ())


@pytest.mark.parametrize("kind", [KNeighborsClassifier, HistGradientBoostingClassifier])
def test_what_is_kept_of_the_globals_is_what_inspecting_lists(kind, frame, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(kind().fit(frame, frame["age"] > 40), path)
    with path.open("rb") as file:
        found = list_trained(file)
        assert open_file(file).asked_for == tuple(sorted(found.names))
    assert (found.dangerous, found.unknown, found.problem) == ((), (), "")


OTHER = rf"scikit-learn {re.escape(sklearn.__version__)} here does not have: it was trained with"
LACKING = {
    "a class": (
        b"csklearn.compose._column_transformer\n_RemainderColsList\n)R.",
        rf"'_RemainderColsList', which {OTHER}",
    ),
    "a module": (b"csklearn.ensemble._gb_losses\nBinomialDeviance\n)R.", rf"'BinomialDeviance', which {OTHER}"),
    "a bare module": (b"c_loss\nCyHalfBinomialLoss\n)R.", rf"'CyHalfBinomialLoss', which {OTHER}"),
}


@pytest.mark.parametrize("name", LACKING)
@pytest.mark.parametrize("says", [True, False])
def test_a_file_of_another_version_of_a_library_says_so_and_what_to_do(name, says, monkeypatch):
    monkeypatch.delitem(sys.modules, "_loss", raising=False)
    data, needs = LACKING[name]
    version = b"}X\x10\0\0\0_sklearn_versionX\x05\0\0\x001.5.2s0" if says else b""
    with pytest.raises(CompileError, match=needs) as caught:
        opened(b"\x80\x02" + version + data)
    assert ("trained with 1.5.2. Push it with --requirements that name 1.5.2" in caught.value.message) is says
    assert "`trivet environments make`" in caught.value.message
    assert not re.search(r"/|<module", caught.value.message)


@pytest.mark.parametrize("missing", [b"__main__\nshout", b"json\nshout"])
def test_code_of_a_notebook_that_is_not_here_is_named_without_a_path_of_this_machine(missing):
    with pytest.raises(
        CompileError, match=rf"not here: '{missing.decode().replace(chr(10), '.')}'\. Functions"
    ) as caught:
        opened(b"\x80\x02c" + missing + b"\n)R.")
    assert not re.search(r"/|<module", caught.value.message)


def test_a_state_that_no_longer_fits_is_told_without_a_path_of_this_machine():
    class Fails:
        def __reduce__(self):
            return getattr, (bz2, "shout")

    copyreg.pickle(type(bz2), lambda module: (importlib.import_module, (module.__name__,)))
    try:
        data = pickle.dumps(Fails())
    finally:
        del copyreg.dispatch_table[type(bz2)]
    with pytest.raises(CompileError, match="cannot be opened: module 'bz2' has no attribute 'shout'") as caught:
        opened(data)
    assert "/" not in caught.value.message


def test_the_compiled_losses_of_an_older_scikit_learn_are_of_a_known_library():
    assert unknown_among(["_loss.CyHalfBinomialLoss", "_losses.Own"]) == ("_losses.Own",)


def test_A05_what_a_hostile_pickle_asks_for_is_named():
    class Runs:
        def __reduce__(self):
            return print, ("opened",)

    from trivet.model.compile.doors.formats import Format
    from trivet.model.compile.doors.pickles import asked_of

    for protocol in range(2, 6):
        names = asked_of(io.BytesIO(pickle.dumps(Runs(), protocol)), Format("pickle")).names
        assert names == dangerous_among(names) == ("builtins.print",)


def test_a_skops_file_becomes_the_object_it_was_made_of(linear, frame):
    compiled = compile_model(opened(skops.io.dumps(linear)).model, sample=frame)
    np.testing.assert_allclose(answers_of(compiled, "probabilities"), linear.predict_proba(frame), atol=1e-12)


def test_a_skops_file_with_a_type_that_is_on_no_list_is_refused_unloaded(frame):
    step = FunctionTransformer(compile_model).fit(frame)
    with pytest.raises(
        CompileError, match=r"on no list of trusted ones: trivet\.model\.compile\.compiler\.compile_model"
    ):
        opened(skops.io.dumps(step))


@pytest.mark.parametrize("raw", ["json", "ubj"])
@pytest.mark.parametrize("classes", [2, 3])
def test_an_xgboost_file_answers_as_xgboost_does_and_keeps_its_names(raw, classes, frame):
    model = xgboost.XGBClassifier(n_estimators=5).fit(frame, np.arange(len(frame)) % classes)
    found = opened(bytes(model.get_booster().save_raw(raw)))
    assert found.kind == f"xgboost.{raw}"
    compiled = compile_model(found.model, sample=frame)
    assert compiled.signature.field_names == ("age", "income", "visits")
    np.testing.assert_allclose(answers_of(compiled, "probabilities"), model.predict_proba(frame), atol=1e-6)


def test_an_xgboost_regression_without_the_estimator_around_it_is_read(frame):
    target = frame["age"] * 2
    booster = xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(frame, label=target), 5)
    compiled = compile_model(opened(bytes(booster.save_raw("ubj"))).model, sample=frame)
    np.testing.assert_allclose(answers_of(compiled, "prediction"), booster.predict(xgboost.DMatrix(frame)), rtol=1e-6)


def test_an_xgboost_ranking_or_a_polyglot_is_refused(frame):
    ranking = xgboost.train(
        {"objective": "rank:pairwise"}, xgboost.DMatrix(frame, label=np.arange(200) % 3, group=[200]), 2
    )
    with pytest.raises(CompileError, match="'rank:pairwise' is not served"):
        opened(bytes(ranking.save_raw("json")))
    for raw in ("json", "ubj"):
        data = bytes(ranking.save_raw(raw))
        with pytest.raises(CompileError, match=r"no model of XGBoost|goes on after its end"):
            opened(data + b"PK\x03\x04")
        with pytest.raises(CompileError, match=r"no model of XGBoost|damaged or cut short"):
            opened(data[:-3])
    with pytest.raises(CompileError, match="no model of XGBoost"):
        opened(b'{"learner": {}}')


@pytest.mark.parametrize("classes", [2, 3])
def test_a_lightgbm_text_answers_as_lightgbm_does_and_keeps_its_names(classes, frame):
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, np.arange(len(frame)) % classes)
    compiled = compile_model(opened(model.booster_.model_to_string().encode()).model, sample=frame)
    assert compiled.signature.field_names == ("age", "income", "visits")
    np.testing.assert_allclose(answers_of(compiled, "probabilities"), model.predict_proba(frame), atol=1e-6)


def test_a_lightgbm_regression_is_read_and_a_polyglot_is_not(frame):
    model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(frame, frame["age"])
    text = model.booster_.model_to_string().encode()
    compiled = compile_model(opened(text).model, sample=frame)
    np.testing.assert_allclose(answers_of(compiled, "prediction"), model.predict(frame), rtol=1e-6)
    with pytest.raises(CompileError, match="goes on after its end"):
        opened(text + b"PK\x03\x04")
    with pytest.raises(CompileError, match="cut short"):
        opened(text[:200])


def test_a_catboost_file_is_loaded_by_catboost(frame, tmp_path):
    model = catboost.CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False)
    model.fit(frame, np.where(frame["age"] > 40, "yes", "no"))
    model.save_model(tmp_path / "model")
    found = opened((tmp_path / "model").read_bytes())
    assert found.kind == "catboost"
    assert (found.model.predict_proba(frame) == model.predict_proba(frame)).all()
    assert found.model.n_features_in_ == 3
    assert native_bundle(found.model, why="a reason", sample=frame).signature.field_names == ("age", "income", "visits")


def test_a_catboost_file_that_takes_words_answers_as_the_original_and_asks_for_rows(frame, tmp_path):
    table = frame.assign(visits=range(200), plan=np.where(frame["visits"] > 0, "pro", "free"))
    table.loc[::7, "age"] = np.nan
    model = catboost.CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False, cat_features=["plan"])
    model.fit(table, np.where(frame["age"] > 40, "old", "young"))
    model.save_model(tmp_path / "model")
    data = (tmp_path / "model").read_bytes()
    compiled = native_bundle(opened(data).model, why="a reason", sample=table)
    assert [spec.datatype for spec in compiled.signature.inputs] == ["FP64", "FP64", "INT64", "BYTES"]
    kept = answers_of(compiled, "probabilities")
    assert kept.tolist() == model.predict_proba(table.head(len(kept))).tolist()
    with pytest.raises(CompileError, match="takes words in 'plan': push with a sample of its rows"):
        native_bundle(opened(data).model, why="a reason")


@pytest.fixture(scope="module")
def categories(frame):
    """A table with a column of pandas' categories, some of them missing, and a target that hangs on it."""
    plan = pd.Series(np.where(frame["visits"] > 0, "pro", "free"), dtype="category").where(frame.index % 9 > 0)
    return frame.assign(plan=plan), (plan == "pro").to_numpy().astype(int)


def test_a_lightgbm_file_that_splits_on_categories_runs_unchanged_on_words(categories):
    table, target = categories
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(table, target)
    found = opened(model.booster_.model_to_string().encode()).model
    compiled = native_bundle(found, why="a reason", sample=table.assign(plan=table["plan"].astype(object)))
    assert compiled.signature.inputs[3].datatype == "BYTES"
    assert compiled.signature.inputs[3].nullable
    kept = answers_of(compiled, "probabilities")
    assert kept.tolist() == model.predict_proba(table.head(len(kept))).tolist()
    with pytest.raises(CompileError, match="takes categories of pandas: push with a sample"):
        native_bundle(found, why="a reason")


def test_an_xgboost_file_that_splits_on_categories_is_refused_with_the_way_out(categories):
    table, target = categories
    model = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True).fit(table, target)
    with pytest.raises(CompileError, match=r"splits on categories.*encode them in a pipeline"):
        opened(bytes(model.get_booster().save_raw("json")))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_rows_for_a_file_without_a_sample_lie_where_its_trees_split(library, frame):
    model = {
        "xgboost": xgboost.XGBClassifier(n_estimators=5),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
        "catboost": catboost.CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False),
    }[library].fit(frame, (frame["age"] > 40).astype(int))
    rows = synthetic_sample(model)
    assert 0.1 < model.predict(rows).mean() < 0.9
    assert rows["age"].mean() == pytest.approx(40, abs=5)


REFUSED = {
    "Keras .h5": (b"\x89HDF\r\n\x1a\n", "HDF5 .*opening it can run code.*Export it to ONNX"),
    "old R": (b"RDX3\nX\n", "R models are not served"),
    "R": (b"X\n\x00\x00\x00\x03", "R models are not served"),
    "PMML": (b"<?xml version='1.0'?><PMML>", "PMML.*push the estimator itself"),
    "page": (b"<!DOCTYPE html><html>", "a page of HTML"),
    "program": (b"\x7fELF\x02", "it is a program"),
    "array": (b"\x93NUMPY\x01\x00", "a NumPy array"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00", "zstd"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "text": (b"hello", "no known format.*Known are joblib"),
    "nothing": (b"", "no known format"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_A13_A15_other_formats_are_refused_with_their_sentence(name):
    data, sentence = REFUSED[name]
    with pytest.raises(CompileError, match=sentence):
        opened(data)


def zipped(members, change=lambda archive: None):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        change(archive)
    return file.getvalue()


ZIPS = {
    "PyTorch": (
        {"archive/data.pkl": b"\x80\x02.", "archive/version": b"3"},
        "PyTorch file .*opening it can run code.*ONNX",
    ),
    "TorchScript": ({"model/constants.pkl": b"\x80\x02.", "model/code/a.py": b""}, "PyTorch file"),
    "Keras": ({"config.json": b"{}", "model.weights.h5": b"", "metadata.json": b"{}"}, r"Keras file \(.keras\)"),
    "arrays": ({"a.npy": b"\x93NUMPY"}, "NumPy arrays"),
    "folder": ({"model/MLmodel": b"flavors: {}"}, "zip the files of the model directory themselves"),
    "other": ({"a.txt": b""}, "neither skops nor a model directory"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_A06_A13_archives_of_other_frameworks_are_refused_with_their_sentence(name):
    members, sentence = ZIPS[name]
    with pytest.raises(CompileError, match=sentence):
        opened(zipped(members))


def link(archive):
    info = zipfile.ZipInfo("schema.json")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


def comment(archive):
    archive.comment = b"and more"


HOSTILE_ZIPS = {
    "up": ({"../schema.json": b"{}"}, None, "the path"),
    "absolute": ({"/schema.json": b"{}"}, None, "the path"),
    "windows": ({"C:schema.json": b"{}"}, None, "the path"),
    "case": ({"schema.json": b"{}", "Schema.JSON": b"{}"}, None, "twice"),
    "unicode": ({"\u00e9": b"", "e\u0301": b""}, None, "twice"),
    "link": ({}, link, "link or a device"),
    "comment": ({"schema.json": b"{}"}, comment, "comment, or bytes after its end"),
}


@pytest.mark.parametrize("name", HOSTILE_ZIPS)
def test_A20_A21_a_hostile_archive_is_refused_naming_the_rule(name):
    members, change, rule = HOSTILE_ZIPS[name]
    with pytest.raises(CompileError, match=f"this archive is not opened: .*{rule}"):
        opened(zipped(members, change or (lambda archive: None)))


def test_A15_an_archive_that_is_something_else_as_well_is_refused(linear):
    data = skops.io.dumps(linear)
    with pytest.raises(CompileError, match="not opened"):
        opened(data + b"\x00" * 64)
    with pytest.raises(CompileError, match=r"before its first member|no sound zip"):
        opened(zipped({"a": b""})[:31] + data)


def test_A21_a_member_that_lies_about_its_size_is_refused():
    data = bytearray(zipped({"MLmodel": b"flavors: {}" * 100}))
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 10)
    with pytest.raises(CompileError, match="not opened"):
        opened(bytes(data))


def test_skops_xgboost_and_onnx_go_through_the_disposable_process_whatever_their_names(linear, frame, tmp_path):
    import skl2onnx

    row = frame.to_numpy(np.float32)[:1]
    bare = LogisticRegression().fit(frame.to_numpy(), linear.predict(frame))
    graph = skl2onnx.to_onnx(bare, row, options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3})
    boosted = xgboost.XGBClassifier(n_estimators=3).fit(frame, frame["age"] > 40)
    files = {
        "skops": skops.io.dumps(linear),
        "xgboost.ubj": bytes(boosted.get_booster().save_raw("ubj")),
        "onnx": graph.SerializeToString(),
    }
    frame.to_csv(tmp_path / "sample.csv", index=False)
    for kind, data in files.items():
        (tmp_path / "model.pkl").write_bytes(data)
        compiled = compile_file(tmp_path / "model.pkl", sample=tmp_path / "sample.csv")
        assert compiled.bundle.manifest.source["format"] == kind
        assert compiled.bundle.manifest.sample_rows == 200
