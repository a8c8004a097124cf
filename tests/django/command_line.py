"""The verbs, run in this process as a shell would run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command

from trivet.cli.main import main


def trivet(*words: object) -> int:
    """Run `trivet WORDS` and return its exit code."""
    return _code_of(lambda: main([*map(str, words), "--settings", "tests.settings"]))


def verb(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """Run `manage.py trivet WORDS --json`; return its exit code with its document, or with what it said on stderr."""
    capsys.readouterr()
    code = _code_of(lambda: call_command("trivet", *words, "--json"))
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else err


def _code_of(run: Callable[[], Any]) -> int:
    try:
        return int(run() or 0)
    except SystemExit as end:  # argparse's way out, and that of a command with a code
        return int(end.code or 0)
