"""Every snippet of the README, the tutorial and the how-to pages, in order, in a real project with a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.conftest import TUTORIAL
from tests.docs.pages import RUN, SHOWN, Block, all_pages, blocks, commands, matches
from tests.docs.reader import Reader

MOST_SKIPPED = 9  # in all pages


@pytest.mark.slow
def test_61_the_tutorial_does_what_it_says(tutorial: Path):
    assert (tutorial / "churn.joblib").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in all_pages() if page != TUTORIAL])
def test_61_a_page_does_what_it_says(page: str, start: Callable[[str], Path]):
    with Reader(start(page)) as reader:
        reader.follow(page)


def test_no_block_is_run_in_a_language_nobody_knows():
    assert {block.language for page in all_pages() for block in blocks(page)} <= RUN | SHOWN


def test_few_blocks_are_skipped_and_each_says_why():
    skipped = [block for page in all_pages() for block in blocks(page) if block.skipped is not None]
    assert all(block.skipped for block in skipped)
    assert len(skipped) <= MOST_SKIPPED, [str(block) for block in skipped]


def test_what_a_page_shows_is_compared_with_what_comes():
    assert matches(("late 1 · … µs a row", "…", "ready in … s"), "late 1 · 9 µs a row\n\nx\nready in 1.2 s\n")
    assert matches(("NAME   STATE",), "NAME STATE")
    assert not matches(("late 1",), "late 2\n")
    assert not matches(("late 1",), "late 1\nand more\n")


def test_a_command_goes_on_while_a_quote_is_open_or_a_line_ends_in_a_backslash():
    block = Block("page", 1, "console", "$ curl \\\n  -d '{\n}'\n{}\n$ next\n")
    assert [(c.text, c.expected) for c in commands(block)] == [("curl \\\n  -d '{\n}'", ("{}",)), ("next", ())]
