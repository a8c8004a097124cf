"""`trivet inspect`: what is in a file, what push would say of it, and the function that makes a row of an instance."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from django.contrib.auth.models import Permission
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.django.command_line import trivet
from tests.django.declared import declaring
from trivet import checks
from trivet.cli.table_fields import in_words, match_fields, module_of
from trivet.core.signature import Input, Signature
from trivet.features.predictor import Predictor, name_of


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    with declaring():
        yield


def module_from(file: Path) -> Any:
    """Return the module that a file is, imported anew."""
    spec = spec_from_file_location(f"begun_{file.parent.name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "codename": random.choice(["add", "view"], 100),
            "content_type__model": random.choice(["user", "group"], 100),
            "clicks": random.uniform(0, 40, 100),
        }
    )
    words = ["codename", "content_type__model"]
    prepare = ColumnTransformer([("words", OneHotEncoder(), words), ("clicks", "passthrough", ["clicks"])])
    folder = tmp_path_factory.mktemp("trained")
    rows.to_csv(folder / "rows.csv", index=False)
    used = np.where(rows.clicks + 20 * (rows.codename == "view") > 25, "used", "idle")
    joblib.dump(make_pipeline(prepare, LogisticRegression()).fit(rows, used), folder / "usage.joblib")
    return folder


@pytest.mark.django_db
def test_it_reads_then_opens_then_matches_and_writes_what_runs(trained, tmp_path, capsys):
    written = tmp_path / "ml.py"
    words = ["inspect", trained / "usage.joblib", "--sample", trained / "rows.csv", "--vouch"]
    assert trivet(*words, "--model", "auth.Permission", "--write", written) == 0
    said = capsys.readouterr().out
    assert "usage.joblib   joblib, sklearn.pipeline.Pipeline, " in said
    assert f"made with      scikit-learn {sklearn.__version__} (here {sklearn.__version__})" in said
    assert "  codename         BYTES  add, view" in said
    assert "  label            BYTES  idle, used" in said
    mean = f"training mean {pd.read_csv(trained / 'rows.csv').clicks.mean():.4g}"
    assert f"matched        2 of 3 on auth.Permission; clicks written as f.TODO (float; {mean})\n" in said
    assert "verdict        compiled: parity on " in said

    made = module_from(written)
    assert {name: type(feature).__name__ for name, feature in made.UsageFeatures.declared.items()} == {"clicks": "TODO"}
    assert made.UsageFeatures.Meta.fields == ["codename", "content_type__model"]
    assert (name_of(made.Usage), made.Usage.features) == ("usage", made.UsageFeatures)
    (todo,) = checks.check_unfilled_features()
    assert "UsageFeatures.clicks: is an f.TODO (float; 0." in todo.msg
    assert mean in todo.msg
    written.write_text(written.read_text().replace("clicks = f.TODO(", "clicks = f.Given(float, title="))
    made = module_from(written)
    assert list(checks.check_unfilled_features()) == list(checks.check_feature_paths()) == []
    permission = Permission.objects.get(codename="view_user")
    assert made.UsageFeatures.for_instance(permission, given={"clicks": 3}) == {
        "codename": "view_user",
        "content_type__model": "user",
        "clicks": 3.0,
    }


def test_a_file_that_is_there_stays_unless_somebody_says_yes(trained, tmp_path, capsys):
    written = tmp_path / "ml.py"
    written.write_text("mine")
    words = [
        "inspect",
        trained / "usage.joblib",
        "--sample",
        trained / "rows.csv",
        "--vouch",
        "--model",
        "auth.Permission",
    ]
    assert trivet(*words, "--write", written) == 2
    assert (
        f"{written} is there already and stays as it is: name another, or replace it with --yes."
        in capsys.readouterr().err
    )
    assert trivet(*words, "--write", tmp_path / "no" / "ml.py") == 2
    assert "is no place for a file" in capsys.readouterr().err
    assert written.read_text() == "mine"
    assert trivet(*words, "--write", written, "--yes") == 0
    assert "class UsageFeatures(trivet.FeatureSet):" in written.read_text()


def test_a_model_directory_is_inspected_as_the_file_in_it_is(trained, tmp_path, capsys):
    folder = tmp_path / "usage"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}")
    (folder / "model.pkl").write_bytes((trained / "usage.joblib").read_bytes())
    assert trivet("inspect", folder, "--sample", trained / "rows.csv", "--vouch") == 0
    said = capsys.readouterr().out
    assert said.startswith("usage   MLflow model, sklearn.pipeline.Pipeline, ")
    assert f"made with      scikit-learn {sklearn.__version__}" in said
    assert "  codename         BYTES  add, view" in said
    (folder / "MLmodel").unlink()
    assert trivet("inspect", folder) == 3
    assert "a folder without MLmodel" in capsys.readouterr().out


def test_what_would_run_unchanged_says_why_it_is_not_compiled(trained, tmp_path, capsys):
    rows = pd.read_csv(trained / "rows.csv")[["clicks"]]
    rows.to_csv(tmp_path / "rows.csv", index=False)
    joblib.dump(KNeighborsClassifier().fit(rows, np.where(rows.clicks > 20, "much", "little")), tmp_path / "knn.joblib")
    assert trivet("inspect", tmp_path / "knn.joblib", "--sample", tmp_path / "rows.csv", "--vouch") == 0
    said = capsys.readouterr().out
    assert "not compiled   KNeighborsClassifier" in said
    assert "verdict        native: unchanged on " in said


def test_a_file_that_asks_to_run_something_is_refused_by_name_and_nothing_ran(tmp_path, capsys):
    canary = tmp_path / "canary"

    class Planted:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    (tmp_path / "churn.pkl").write_bytes(pickle.dumps(Planted()))
    assert trivet("inspect", tmp_path / "churn.pkl", "--json") == 3
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["verdict"] == "refused: the file asks to run posix.system on opening. Nothing was run here."
    assert found["dangerous"] == ["posix.system"]
    assert "DANGEROUS" in printed.err
    assert not canary.exists()

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}")
    (tmp_path / "churn.pkl").rename(tmp_path / "model" / "model.pkl")
    assert trivet("inspect", tmp_path / "model") == 3
    assert "refused: the file asks to run posix.system on opening" in capsys.readouterr().out
    assert not canary.exists()


def test_what_cannot_be_asked_is_said_before_anything_is_opened(tmp_path, capsys):
    assert trivet("inspect", tmp_path / "nothing.joblib") == 2
    (tmp_path / "some.file").write_bytes(b"no model")
    assert trivet("inspect", tmp_path / "some.file", "--write", tmp_path / "ml.py") == 2
    assert "--write needs --model" in capsys.readouterr().err


def test_a_label_column_needs_a_sample_unless_the_file_brings_its_own(trained, tmp_path, capsys):
    for verb in (["inspect"], ["push", "--name", "usage"]):
        assert trivet(*verb, trained / "usage.joblib", "--labels", "used") == 2
        assert "--labels used names a column of the sample: give that with --sample CSV" in capsys.readouterr().err
    (tmp_path / "MLmodel").write_text(
        "flavors: {sklearn: {pickled_model: model.pkl}}\nsaved_input_example_info: {artifact_path: rows.json}"
    )
    (tmp_path / "model.pkl").write_bytes((trained / "usage.joblib").read_bytes())
    assert trivet("inspect", tmp_path, "--vouch", "--labels", "used") == 3
    assert "there is no sample to take the column 'used' from: give one with --sample" in capsys.readouterr().out
    rows = pd.read_csv(trained / "rows.csv").assign(used=["used", "idle"] * 50)
    rows.to_json(tmp_path / "rows.json", orient="split", index=False)
    assert trivet("inspect", tmp_path, "--vouch", "--labels", "used") == 0
    assert "  clicks           FP64" in capsys.readouterr().out
    (tmp_path / "rows.json").write_text(rows.assign(used="other").to_json(orient="split", index=False))
    assert trivet("inspect", tmp_path, "--vouch", "--labels", "used") == 3
    assert "the label 'other' is no class of the model" in capsys.readouterr().out


def test_inputs_match_by_name_and_datatype_and_others_say_what_was_seen():
    signature = Signature(
        inputs=(
            Input(name="name", datatype="BYTES", shape=(-1, 1)),
            Input(name="codename", datatype="FP64", shape=(-1, 1), low=0, high=9),
            Input(name="content_type", datatype="INT64", shape=(-1, 1)),
            Input(name="content_typ", datatype="BYTES", shape=(-1, 1), categories=("a", "b")),
            Input(name="X", datatype="FP64", shape=(-1, 2), columns=("id", "age")),
        ),
        outputs=(),
    )
    matches = {match.name: match for match in match_fields(signature, Permission, {"age": 41.25})}
    assert matches["name"].path == "name"
    assert matches["codename"].hint == "float; 0 to 9 in training; CharField of Permission is no float"
    assert matches["content_type"].path == "content_type__id"
    assert matches["content_typ"].hint == "str; one of a, b; Did you mean 'content_type'?"
    assert matches["id"].path == "id"
    assert matches["age"].hint == "float; training mean 41.25"
    assert in_words(list(matches.values()), is_written=False) == (
        "; to be written: codename, content_typ, age (float, str; training mean 41.25)"
    )


@pytest.mark.parametrize("model", ["churn", "usage-v2", "permission", "none", "3rd.try"])
def test_whatever_a_file_calls_its_inputs_the_module_is_one_of_python(tmp_path, model):
    names = ['a"b\n;import os', "class", "rows", "Meta", "__init_subclass__", "codename", "hours per week", "ok"]
    signature = Signature(
        inputs=tuple(Input(name=name, datatype="BYTES", shape=(-1, 1), categories=("'\"\n",)) for name in names),
        outputs=(),
    )
    text = module_of(match_fields(signature, Permission), Permission, model, "a\"b'c.joblib")
    (tmp_path / "ml.py").write_text(text)
    made = module_from(tmp_path / "ml.py")
    (features,) = [one for name, one in vars(made).items() if name.endswith("Features")]
    (found,) = [one for one in vars(made).values() if isinstance(one, type) and issubclass(one, Predictor)]
    assert (list(features.declared), features.Meta.fields, name_of(found)) == (["ok"], ["codename"], model)
    assert text.count("can be no attribute: rename the column, and train again.") == 6
    assert [problem.id for problem in checks.check_unfilled_features()] == ["trivet.E011"]
