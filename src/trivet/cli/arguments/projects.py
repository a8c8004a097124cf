"""What the verbs take that make a project, show one, or try what it is to send."""

from __future__ import annotations

import argparse
from pathlib import Path

from trivet.cli.arguments.options import add_common_options

DEMO_FOLDER = Path("var/demo")
DEMO_BIND = "127.0.0.1:8000"


def initialise(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="the folder to make")
    parser.add_argument("--noinput", action="store_true", help="accepted for scripts; nothing is ever asked")
    parser.add_argument(
        "--groups",
        action="store_true",
        help="make the suggested groups of people too; one that is there stays as it is",
    )


def demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bind", default=DEMO_BIND, metavar="HOST:PORT", help=f"default {DEMO_BIND}")
    parser.add_argument("--dir", type=Path, default=DEMO_FOLDER, metavar="DIR", help=f"default {DEMO_FOLDER}")
    parser.add_argument(
        "--check", action="store_true", help="predict once over HTTP, print the answer, stop everything"
    )
    parser.add_argument(
        "--replay", action="store_true", help="live July to December again, day by day: drift, labels, performance"
    )
    parser.add_argument(
        "--rows", type=int, metavar="N", help="with --replay: only N flights, spread evenly over the half-year"
    )


def webhooks(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    test = steps.add_parser("test", help="send a signed message that says it is a test")
    add_common_options(test, is_step=True)
    test.add_argument("url", metavar="URL", help="where to; one that TRIVET_ALERT_WEBHOOKS lists, or has the host of")
