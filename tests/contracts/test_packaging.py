"""What `pip install trivet` brings: the package, its data files and its licence, and nothing of the tests."""

import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import trivet
from tests.contracts.rooms import PACKAGE, REPOSITORY

BUILD = "import sys; from hatchling.builders.wheel import WheelBuilder; list(WheelBuilder('.').build(directory=sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=REPOSITORY, capture_output=True, check=True)
    [file] = folder.glob("trivet-*.whl")
    return zipfile.ZipFile(file)


def metadata(wheel: zipfile.ZipFile):
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return HeaderParser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {
        f"trivet/{file.relative_to(PACKAGE).as_posix()}"
        for file in PACKAGE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert packed == ours
    assert {"trivet/py.typed", "trivet/migrations/0001_initial.py"} <= packed


def test_the_wheel_carries_version_licence_and_the_command(wheel):
    told = metadata(wheel)
    assert told["Version"] == trivet.__version__
    assert told["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())
    [points] = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    assert "trivet = trivet.cli.main:console_script" in wheel.read(points).decode()


def test_the_base_install_asks_for_four_packages(wheel):
    required = [line for line in metadata(wheel).get_all("Requires-Dist") if "extra ==" not in line]
    names = {line.split(">")[0].split("<")[0].strip() for line in required}
    assert names == {"django", "msgspec", "numpy", "onnxruntime"}


def test_what_is_declared_for_people_is_a_file(wheel):
    assert Path(REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()[0] in metadata(wheel).get_payload()
