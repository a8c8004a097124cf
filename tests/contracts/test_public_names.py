"""The public names are the public names: what `trivet` lists, what it resolves and what type checkers are told agree."""

import ast
from pathlib import Path
from types import ModuleType

import pytest

import trivet
from tests.contracts.rooms import belongs_to


def test_dir_gives_the_public_names_and_the_version():
    assert set(dir(trivet)) == {*trivet.__all__, "__version__"}


def test_the_public_names_are_sorted_and_said_once():
    assert trivet.__all__ == sorted(set(trivet.__all__))


@pytest.mark.parametrize("name", trivet.__all__)
def test_each_public_name_resolves_to_something_of_ours_that_says_what_it_is(name):
    value = getattr(trivet, name)
    assert belongs_to(value.__name__ if isinstance(value, ModuleType) else value.__module__, "trivet")
    assert value.__doc__


def test_type_checkers_are_told_the_same_names():
    tree = ast.parse(Path(trivet.__file__).read_text(encoding="utf-8"))
    [told] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    homes = {
        alias.asname: node.module for node in told.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert homes == trivet._HOMES
    assert set(homes) == set(trivet.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predct'"):
        trivet.predct  # noqa: B018
