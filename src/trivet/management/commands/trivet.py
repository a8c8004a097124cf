"""`manage.py trivet VERB`: the verbs of the command line, in this project."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from trivet.cli.main import run
from trivet.cli.parser import add_verbs


class Command(BaseCommand):
    """Hands its arguments to the verb, and exits with the verb's code."""

    help = "Deploy trained models: push, promote, serve and the other verbs of `trivet`."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the verbs; each parses its own arguments."""
        add_verbs(parser)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Run the verb."""
        code = run(argparse.Namespace(**options))
        if code:
            sys.exit(code)
