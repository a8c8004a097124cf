"""`trivet verify`: whatever moved in a stored bundle, or in what it answers, is named; and nothing damaged is loaded."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import msgspec
import pytest

from tests.django.command_line import trivet
from tests.django.worlds import live_model, trained_bundle
from trivet.control.registry import actions
from trivet.control.registry.snapshots import build_snapshot
from trivet.control.registry.storage import audit_bundle, fetch_bundle
from trivet.core.errors import BundleError
from trivet.dataplane.engines.inline import InlineEngine
from trivet.dataplane.reconcile import Reconciler
from trivet.dataplane.table import EMPTY_TABLE
from trivet.model.bundle.bundle import make_bundle
from trivet.model.bundle.manifest import MANIFEST_NAME

pytestmark = pytest.mark.django_db
FILES = ("manifest.json", "model.onnx", "sample.jsonl")
FLIPS = 64


@pytest.fixture
def place(home: Path) -> Path:
    """The folder of a live version that really runs."""
    digest = live_model("churn").digest
    return home / "bundles" / "sha256" / digest[:2] / digest[2:4] / digest


def loads() -> tuple[int, dict[int, str]]:
    """Return how many versions a fresh worker would load now, and why not the others."""
    table = Reconciler([InlineEngine()], fetch_bundle, 1024).follow(build_snapshot(), EMPTY_TABLE)
    return len(table.models["churn"].live), table.models["churn"].failed


def test_what_is_as_it_was_is_said_so(place, capsys):
    assert trivet("verify") == 0
    said = capsys.readouterr().out
    assert "churn 1 · digest" in said
    assert "unchanged · 120 rows answered as recorded" in said
    assert trivet("verify", "churn@champion", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["sound"], found["rows"], found["problems"]) == (True, 120, [])


def test_A31_C8_no_bit_flips_unnoticed_and_nothing_with_a_flipped_bit_is_loaded(place):
    seed = random.randrange(2**32)
    print("seed", seed)  # pytest shows it where the test fails
    chosen = random.Random(seed)
    for flip in range(FLIPS):
        name = FILES[flip % len(FILES)]
        whole = (place / name).read_bytes()
        damaged = bytearray(whole)
        damaged[chosen.randrange(len(whole))] ^= 1 << chosen.randrange(8)
        (place / name).write_bytes(damaged)
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            audit_bundle(place.name)
        loaded, failed = loads()
        assert loaded == 0
        assert name in failed[1]
        (place / name).write_bytes(whole)
    assert loads() == (1, {})


@pytest.mark.parametrize("name", FILES)
def test_C8_verify_names_the_file_that_was_changed_and_exits_with_1(name, place, capsys):
    data = bytearray((place / name).read_bytes())
    data[len(data) // 2] ^= 1
    (place / name).write_bytes(data)
    assert trivet("verify", "churn") == 1
    assert f"{name} was changed" in capsys.readouterr().out


def test_C8_an_extra_file_and_a_missing_one_are_named_by_verify_and_by_every_load(place, capsys):
    (place / "notes.txt").write_text("hello")
    assert trivet("verify", "churn@1") == 1
    assert "extra file 'notes.txt'" in capsys.readouterr().out
    assert "extra file 'notes.txt'" in loads()[1][1]
    (place / "notes.txt").rename(place / ".model.onnx.0123")  # what another process is writing is not there yet
    assert trivet("verify", "churn@1") == 0
    (place / "sample.jsonl").unlink()
    assert trivet("verify", "churn@1") == 1
    assert "'sample.jsonl' is missing" in capsys.readouterr().out


def test_C8_a_manifest_that_names_a_file_elsewhere_is_refused_before_anything_is_read(place, capsys):
    plain = json.loads((place / MANIFEST_NAME).read_bytes())
    plain["files"][0]["path"] = "../x"
    (place.parent / "x").write_bytes((place / "model.onnx").read_bytes())
    (place / MANIFEST_NAME).write_bytes(msgspec.json.encode(plain, order="sorted"))
    assert trivet("verify", "churn@1") == 1
    assert "manifest.json was changed" in capsys.readouterr().out
    assert loads()[0] == 0


@pytest.mark.parametrize("name", FILES)
def test_A31_a_link_a_folder_or_a_pipe_in_the_place_of_a_file_is_no_file(name, place, tmp_path):
    (place / name).rename(tmp_path / name)
    for put in (
        lambda: (place / name).symlink_to(tmp_path / name),
        lambda: os.mkfifo(place / name),
        (place / name).mkdir,
    ):
        put()
        assert loads()[0] == 0
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            audit_bundle(place.name)
        (place / name).rmdir() if (place / name).is_dir() and not (place / name).is_symlink() else (
            place / name
        ).unlink()


def test_A31_what_is_replaced_after_it_was_opened_is_not_what_is_loaded(place, monkeypatch):
    """Bytes are read once, over one descriptor; the same bytes are hashed and loaded."""
    from trivet.control.registry import storage

    read = storage._read

    def then_replaced(digest, file, limit):
        data = read(digest, file, limit)
        if file != MANIFEST_NAME:
            (place / file).write_bytes(b"evil")
        return data

    monkeypatch.setattr(storage, "_read", then_replaced)
    assert fetch_bundle(place.name).files["model.onnx"] == trained_bundle().files["model.onnx"]
    assert (place / "model.onnx").read_bytes() == b"evil"


def test_a_version_that_answers_otherwise_than_it_recorded_has_moved(capsys):
    sound = trained_bundle()
    lines = sound.files["sample.jsonl"].splitlines(keepends=True)
    row = json.loads(lines[7])
    row["outputs"]["probabilities"] = row["outputs"]["probabilities"][::-1]
    lines[7] = json.dumps(row).encode() + b"\n"
    moved = make_bundle(sound.manifest, {**sound.files, "sample.jsonl": b"".join(lines)})
    version = actions.register_version(name="moved", bundle=moved, actor="cli:ana")
    actions.mark_ready(model="moved", version=version.number, actor="process:probe")
    assert trivet("verify", "--all") == 1
    assert "row 7 differs by" in capsys.readouterr().out
    assert trivet("verify") == 0  # without traffic or alias it is none of those that matter now


def test_a_model_or_version_that_is_not_there_is_4():
    live_model("churn")
    assert trivet("verify", "chum") == 4
    assert trivet("verify", "churn@9") == 4
