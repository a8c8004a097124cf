"""The reference is what the code says, and names everything it must."""

import importlib.util
import re
from types import ModuleType

import pytest

import trivet
from tests.docs.pages import REPOSITORY
from trivet import conf
from trivet.cli.parser import VERBS
from trivet.dataplane.protocol.catalogue import HTTP_STATUS


def make_reference() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("make_reference", REPOSITORY / "scripts" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = make_reference()


def page(name: str) -> str:
    return (REPOSITORY / "docs" / "reference" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REFERENCE.PAGES)
def test_a_committed_page_is_what_the_code_says(name: str):
    assert page(name) == REFERENCE.PAGES[name](), "run scripts/make_reference.py"


def test_every_setting_verb_code_and_public_name_is_found_there():
    assert [one.name for one in conf.SETTINGS if f"`{one.name}`" not in page("settings.md")] == []
    assert [one.name for one in VERBS if f"## {one.name}\n" not in page("command-line.md")] == []
    assert [code for code in HTTP_STATUS if f"`{code}`" not in page("errors.md")] == []
    assert [name for name in trivet.__all__ if f"### `{name}`" not in page("python.md")] == []


def test_every_door_is_listed_once():
    doors = re.search(r"`protocol` the door: (.*?);", page("metrics.md")).group(1).split(", ")
    assert len(doors) == len(set(doors)) > 3


def test_every_status_of_the_catalogue_says_what_to_do():
    assert set(REFERENCE.STATUSES) == set(HTTP_STATUS.values())
