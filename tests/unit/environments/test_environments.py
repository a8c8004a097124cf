"""Environments: which one a bundle needs, whether it is here, and what its interpreter finds."""

import fcntl
import json
import os
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.servers import wait_for
from tests.acceptance.workshop import SIGNATURE
from trivet.core.errors import BundleError, Refused
from trivet.model.bundle.bundle import Bundle, make_bundle
from trivet.model.bundle.manifest import Manifest
from trivet.model.environments.environment import (
    COMPLETE,
    OWN_NEEDS,
    Environment,
    Needs,
    command_for,
    environment_at,
    needs_of,
    own_environment,
)
from trivet.model.environments.making import interpreter_for, made_environments, make_environment, remove_environment

HERE = f"3.{sys.version_info.minor}"
REQUIREMENTS = b"scikit-learn==1.5.2\n"


def bundle_with(python: str = HERE, **files: bytes) -> Bundle:
    manifest = Manifest(format=1, runtime="skops", signature=SIGNATURE, files=(), environment={"python": python})
    return make_bundle(manifest, {"model.skops": b"", **{f"{name}.txt": data for name, data in files.items()}})


def make_by_hand(folder: Path, needs: Needs) -> Environment:
    """Make an empty environment look as one that was made."""
    found = environment_at(folder, needs.key)
    venv.create(found.folder)
    facts = {
        "key": needs.key,
        "python": f"{needs.python}.1",
        "libraries": needs.libraries,
        "installed": [],
        "trivet": "0",
    }
    (found.folder / COMPLETE).write_text(json.dumps(facts))
    return found


def test_a_bundle_without_requirements_runs_where_everything_does(tmp_path: Path):
    assert needs_of(bundle_with()) is None
    assert command_for(bundle_with(), tmp_path, "a.module", ["x"]) == [sys.executable, "-m", "a.module", "x"]


def test_other_requirements_or_another_python_is_another_environment():
    needs = [needs_of(bundle_with(requirements=REQUIREMENTS))]
    needs += [needs_of(bundle_with("3.11" if HERE != "3.11" else "3.12", requirements=REQUIREMENTS))]
    needs += [needs_of(bundle_with(requirements=b"scikit-learn==1.5.1\n"))]
    assert len({one.key for one in needs if one is not None}) == 3


def test_a_release_of_ours_that_needs_another_library_there_looks_for_another_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_by_hand(tmp_path, Needs(REQUIREMENTS, HERE))
    monkeypatch.setattr("trivet.model.environments.environment.OWN_NEEDS", (*OWN_NEEDS, "one-more>=1.0"))
    with pytest.raises(BundleError, match="missing on this machine"):
        command_for(bundle_with(requirements=REQUIREMENTS), tmp_path, "a.module", [])


@pytest.mark.parametrize("python", ["", "2.7", "../3.12", "3.12/bin"])
def test_a_bundle_that_names_no_python_for_its_requirements_is_refused(python: str):
    with pytest.raises(BundleError, match="names no Python"):
        needs_of(bundle_with(python, requirements=REQUIREMENTS))


def test_one_that_was_not_made_is_told_with_the_remedy(tmp_path: Path):
    bundle = bundle_with(requirements=REQUIREMENTS)
    with pytest.raises(BundleError, match=r"missing on this machine: make it with `trivet environments make`"):
        command_for(bundle, tmp_path, "a.module", [])
    with pytest.raises(BundleError, match="make it with `trivet environments make FILE`"):
        own_environment(tmp_path, REQUIREMENTS)


@pytest.mark.parametrize("key", ["", "..", "../../usr", "a" * 31, "A" * 32, "a" * 33])
def test_nobody_names_a_place_by_a_key(tmp_path: Path, key: str):
    with pytest.raises(BundleError):
        environment_at(tmp_path, key)


def test_its_interpreter_finds_our_code_and_runtimes_and_nothing_that_lies_beside_them(tmp_path: Path):
    environment = make_by_hand(tmp_path, Needs(REQUIREMENTS, HERE))
    library = next((environment.folder / "lib").glob("python*")) / "site-packages"
    (library / "its_own.py").write_text("")
    (library / "early.pth").write_text("import sys; sys.exit('a line of a .pth file ran')\n")
    install_rival(library)
    (library / "probing.py").write_text(
        "import importlib.metadata, importlib.util, json, sys, sysconfig\n"
        "found = [n for n in ('trivet.core.errors', 'its_own', 'numpy', 'django') if importlib.util.find_spec(n)]\n"
        "names = [e.name for e in importlib.metadata.entry_points(group='trivet.runtimes')]\n"
        "print(json.dumps([found, names, sys.argv[1:], sysconfig.get_path('purelib')]))\n"
    )
    command = environment.command("probing", "x y")
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    found, names, arguments, place = json.loads(done.stdout)
    assert found == ["trivet.core.errors", "its_own"]
    assert {"skops", "xgboost"} <= set(names)
    assert "rival" not in names
    assert arguments == ["x y"]
    assert Path(place).is_relative_to(environment.folder)


def install_rival(library: Path) -> None:
    """Install what has the name of our package, as a dependency of somebody's might bring it."""
    (library / "trivet").mkdir()
    (library / "trivet" / "__init__.py").write_text("import sys; sys.exit('a rival of ours ran')\n")
    (library / "trivet-9.0.dist-info").mkdir()
    (library / "trivet-9.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: trivet\nVersion: 9.0\n")
    (library / "trivet-9.0.dist-info" / "entry_points.txt").write_text("[trivet.runtimes]\nrival = trivet:Rival\n")


def test_what_was_made_for_this_python_comes_before_what_was_made_for_another(tmp_path: Path):
    for python in ("3.11", "3.14", HERE):
        make_by_hand(tmp_path, Needs(REQUIREMENTS, python))
    assert own_environment(tmp_path, REQUIREMENTS).needs.python == HERE
    remove_environment(tmp_path, Needs(REQUIREMENTS, HERE).key)
    assert own_environment(tmp_path, REQUIREMENTS).needs.python != HERE
    assert len(list(made_environments(tmp_path))) == len({"3.11", "3.14", HERE}) - 1


def full_disk(folder: Path) -> Path:
    """Return an interpreter that tells its version, leaves a mark that it was asked, and cannot make an environment."""
    interpreter = folder / "python"
    interpreter.write_text(
        f"""#!/bin/sh
case "$2" in
    -c) echo cpython {HERE}.0 && touch "$0.asked" ;;
    *) mkdir -p "$4/bin" && touch "$4/half" && echo "no space left" >&2 && exit 1 ;;
esac
"""
    )
    interpreter.chmod(0o700)
    return interpreter


def test_one_that_cannot_be_made_whole_leaves_nothing_nor_does_what_was_killed_before(tmp_path: Path):
    needs = Needs(REQUIREMENTS, HERE)
    (tmp_path / "environments" / f".{needs.key}-0123abcd" / "bin").mkdir(parents=True)
    with pytest.raises(Refused, match="no space left"):
        make_environment(tmp_path / "environments", needs, full_disk(tmp_path))
    assert list((tmp_path / "environments").iterdir()) == []


def test_who_makes_one_that_another_is_making_waits_for_it(tmp_path: Path):
    needs, interpreter = Needs(REQUIREMENTS, HERE), full_disk(tmp_path)
    folder = tmp_path / "environments"
    folder.mkdir()
    other = os.open(folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with ThreadPoolExecutor() as pool:
        second = pool.submit(make_environment, folder, needs, interpreter)
        wait_for(interpreter.with_name("python.asked").exists, 10)
        made = make_by_hand(folder, needs)
        os.close(other)
        assert second.result(timeout=10) == made


def test_one_that_is_damaged_is_told_and_can_be_removed(tmp_path: Path):
    bare, garbled = (Needs(REQUIREMENTS, python) for python in ("3.11", "3.12"))
    for needs in (bare, garbled):
        make_by_hand(tmp_path, needs)
    (tmp_path / bare.key / COMPLETE).unlink()
    (tmp_path / garbled.key / COMPLETE).write_text('{"key": ')
    assert {one.key for one in made_environments(tmp_path) if one.is_damaged} == {bare.key, garbled.key}
    for needs in (bare, garbled):
        remove_environment(tmp_path, needs.key)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Refused, match=bare.key):
        remove_environment(tmp_path, bare.key)


def test_an_interpreter_of_another_version_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match="name one with --python"):
        interpreter_for("3.99")
    with pytest.raises(Refused, match="is another"):
        interpreter_for("3.99", Path(sys.executable))
    with pytest.raises(Refused, match="cannot be started"):
        interpreter_for(HERE, tmp_path / "python")
