"""Bundles under their digest."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree
from threading import Barrier

import pytest
from django.core.files.storage import FileSystemStorage, InMemoryStorage, storages

from tests.django.worlds import bundle
from trivet.control.registry import storage
from trivet.control.registry.storage import bundle_storage, fetch_bundle, store_bundle
from trivet.core.errors import BundleError, Unavailable


def folder(home: Path, digest: str) -> Path:
    return home / "bundles" / "sha256" / digest[:2] / digest[2:4] / digest


def test_a_stored_bundle_comes_back_the_same(home):
    stored = bundle()
    store_bundle(stored)
    store_bundle(stored)
    assert fetch_bundle(stored.digest) == stored
    assert sorted(p.name for p in folder(home, stored.digest).iterdir()) == [
        "manifest.json",
        "model.onnx",
        "sample.jsonl",
    ]


def test_the_project_may_name_another_storage(settings):
    settings.STORAGES = {**settings.STORAGES, "trivet": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}
    assert isinstance(bundle_storage(), InMemoryStorage)
    store_bundle(bundle())
    assert fetch_bundle(bundle().digest) == bundle()
    assert storages["trivet"].exists(storage.stored_name(bundle().digest, "model.onnx"))


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_one_flipped_bit_is_found_and_a_new_push_heals_it(home, name):
    store_bundle(bundle())
    path = folder(home, bundle().digest) / name
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(BundleError):
        fetch_bundle(bundle().digest)
    store_bundle(bundle())
    assert fetch_bundle(bundle().digest) == bundle()


def test_A22_half_a_bundle_is_none_and_is_completed(home):
    store_bundle(bundle())
    at = folder(home, bundle().digest)
    (at / "manifest.json").unlink()
    (at / "model.onnx").write_bytes(b"gra")

    with pytest.raises(BundleError, match=r"'manifest\.json' is missing"):
        fetch_bundle(bundle().digest)
    store_bundle(bundle())
    assert fetch_bundle(bundle().digest) == bundle()


def test_the_manifest_comes_last(monkeypatch):
    saved = []
    save = FileSystemStorage.save

    def remember(self, name, content, max_length=None):
        saved.append(Path(name).name)
        return save(self, name, content, max_length)

    monkeypatch.setattr(FileSystemStorage, "save", remember)
    store_bundle(bundle())
    assert saved[-1] == "manifest.json"
    assert len(saved) == 3


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "0" * 63, "A" * 64, "0" * 63 + "\n"])
def test_only_a_digest_names_a_bundle(digest):
    with pytest.raises(BundleError, match="is not a digest"):
        fetch_bundle(digest)


def test_a_storage_that_cannot_be_written_is_unavailable(home):
    home.mkdir()
    (home / "bundles").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="bundle storage cannot be"):
        store_bundle(bundle())


def test_a_file_that_another_process_stored_meanwhile_is_left_alone(settings, home, monkeypatch):
    entry = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": home / "bundles"}}
    settings.STORAGES = {**settings.STORAGES, "trivet": entry}
    exists = FileSystemStorage.exists
    first = iter(["race"])

    def not_yet(self, name):
        if name.endswith("model.onnx"):
            for _ in first:
                FileSystemStorage.save(self, name, storage.ContentFile(bundle().files["model.onnx"]))
                return False
        return exists(self, name)

    monkeypatch.setattr(FileSystemStorage, "exists", not_yet)
    store_bundle(bundle())
    assert sorted(p.name for p in folder(home, bundle().digest).iterdir()) == [
        "manifest.json",
        "model.onnx",
        "sample.jsonl",
    ]


def test_A22_the_same_bundle_stored_by_eight_at_once_is_stored_once(home):
    start = Barrier(8)

    def store() -> None:
        start.wait()
        store_bundle(bundle())

    with ThreadPoolExecutor(8) as pool:
        for stored in [pool.submit(store) for _ in range(8)]:
            stored.result()
    names = sorted(path.name for path in folder(home, bundle().digest).iterdir())
    assert names == ["manifest.json", "model.onnx", "sample.jsonl"]
    assert fetch_bundle(bundle().digest) == bundle()


def test_A22_a_digest_that_is_not_that_of_the_bytes_is_refused_and_tells_nothing_of_others(home):
    store_bundle(bundle())
    kept = folder(home, bundle().digest)
    wrong = "0" * 64
    folder(home, wrong).parent.mkdir(parents=True)
    copytree(kept, folder(home, wrong))
    with pytest.raises(BundleError, match="digest"):
        fetch_bundle(wrong)
    with pytest.raises(BundleError) as unknown:
        fetch_bundle("1" * 64)
    assert bundle().digest[:12] not in str(unknown.value)


def test_nobody_else_may_enter_the_home_or_its_folders(home):
    stored = bundle()
    store_bundle(stored)
    made = [home, *(path for path in home.rglob("*") if path.is_dir())]
    assert home / "bundles" in made
    assert stored.digest in {path.name for path in made}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
