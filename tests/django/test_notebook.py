"""One line in a notebook makes a version: `trivet.push(model, "churn", sample=X, labels=y)`."""

import asyncio
import subprocess

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import trivet
from tests.unit.signing.conftest import write_keys
from trivet.cli import notebook
from trivet.client.provenance import git_commit
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.signing import signatures_of
from trivet.core.errors import CompileError, InvalidRequest, NotFound, Refused
from trivet.model.bundle.sample import decode_sample


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.integers(18, 80, 60), "income": rng.normal(size=60)})
    churned = np.where(frame["age"] > 40, "yes", "no")
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, churned), frame, churned


@pytest.mark.django_db
def test_an_object_in_memory_becomes_a_version_that_answers_as_it_does(trained):
    model, frame, churned = trained
    pushed = trivet.push(model, "churn", sample=frame, labels=churned, message="from a notebook")
    version = ModelVersion.objects.get()
    assert pushed.version == version
    assert version.is_ready
    assert version.author.startswith("notebook:")
    assert version.source.startswith("Pipeline of a notebook")
    assert version.manifest["source"]["opened_with"]["scikit-learn"]
    assert "git" not in str(version.manifest)
    assert repr(pushed).startswith("<Pushed churn 1 · compiled · parity on ")  # what a cell shows: no bytes, no rows
    assert repr(pushed).endswith(" decisions differ · champion>")
    bundle = pushed.compiled.bundle
    _, outputs = decode_sample(bundle.signature, bundle.files["sample.jsonl"])
    np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(frame), atol=1e-6)


@pytest.mark.django_db
def test_where_a_signature_is_required_a_notebook_signs_with_the_key_in_a_file(
    trained, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    keys = write_keys(tmp_path)
    settings.TRIVET_REQUIRE_SIGNATURE = True
    settings.TRIVET_TRUSTED_KEYS = [str(keys / "p256.pub.pem")]
    model, frame, churned = trained
    with pytest.raises(Refused, match=r"in Python sign='KEY\.pem'"):
        trivet.push(model, "churn", sample=frame, labels=churned)
    with pytest.raises(InvalidRequest, match="set TRIVET_SIGNING_PASSPHRASE"):
        trivet.push(model, "churn", sample=frame, labels=churned, sign=keys / "locked.pem")
    pushed = trivet.push(model, "churn", sample=frame, labels=churned, sign=str(keys / "p256.pem"))
    assert [found.is_good for found in signatures_of(pushed.version)] == [True]
    assert pushed.promoted is not None


def test_labels_may_be_a_column_of_the_sample(trained):
    _, frame, churned = trained
    rows, labels = notebook._without_labels(frame.assign(churned=churned), "churned")
    assert list(rows.columns) == ["age", "income"]
    assert labels.tolist() == churned.tolist()
    with pytest.raises(InvalidRequest, match="no column 'churn'"):
        notebook._without_labels(frame, "churn")


def test_what_cannot_travel_is_refused_with_a_reason(trained, tmp_path):
    model = LogisticRegression()
    with (tmp_path / "open").open("w") as model.held, pytest.raises(CompileError, match="cannot be handed over"):
        trivet.push(model, "churn")


def test_without_a_project_the_way_to_one_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    with pytest.raises(NotFound, match=r"no Django project here or above.*settings="):
        notebook._find_project(None)


def test_in_a_notebook_whose_loop_runs_the_work_is_done_in_a_thread():
    async def cell():
        return notebook._outside_a_loop(asyncio._get_running_loop)

    assert asyncio.run(cell()) is None


def test_the_commit_is_told_with_whether_files_differ_from_it(tmp_path):
    assert git_commit(tmp_path) == ""
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    commit = git_commit(tmp_path)
    assert len(commit) == 12
    (tmp_path / "a").write_text("a")
    subprocess.run(["git", "-C", str(tmp_path), "add", "a"], check=True)
    assert git_commit(tmp_path) == commit + "+"
