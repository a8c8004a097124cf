"""Making one, with pip and everything, from an index of a few empty wheels in a folder: it takes seconds, and no network."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from trivet.model.environments.environment import OWN_NEEDS, Needs
from trivet.model.environments.making import made_environments, make_environment
from trivet.model.environments.requirements import canonical, read_requirements

HERE = f"3.{sys.version_info.minor}"


def write_wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel with a module that says its version; return the digest of it, as a locked file has it."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"--hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have pip know a folder alone, in which there is what our own code needs, in a newer version than anybody asked for."""
    folder = tmp_path / "index"
    folder.mkdir()
    for need in OWN_NEEDS:
        write_wheel(folder, re.split("[><=]", need)[0], "99.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.mark.slow  # Python's own venv with pip takes most of it; nothing else runs the installer where there is no index
def test_what_was_asked_for_is_installed_then_what_our_own_code_needs_which_changes_nothing_of_it(
    index: Path, tmp_path: Path
):
    old = write_wheel(index, "scikit-learn", "1.5.2")
    other = write_wheel(index, "their-own", "1.0")
    folder = tmp_path / "environments"
    asked = read_requirements(f"scikit-learn==1.5.2 {old}\ntheir-own==1.0 {other}\n".encode())
    needs = Needs(canonical(asked), HERE)
    (folder / needs.key / "lib").mkdir(parents=True)  # the rest of one that somebody had copied
    environment = make_environment(folder, needs, Path(sys.executable))
    assert environment.is_made
    [made] = made_environments(folder)
    assert (made.key, made.libraries) == (needs.key, ("scikit-learn==1.5.2", "their-own==1.0"))
    assert {"scikit-learn==1.5.2", "their-own==1.0", "msgspec==99.0", "skops==99.0"} <= set(made.installed)
    assert list(environment.folder.rglob("their_own.*.pyc")), "nothing is compiled while it serves"
