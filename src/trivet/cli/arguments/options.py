"""What every verb takes, and what several take alike."""

from __future__ import annotations

import argparse
from typing import Any


def add_common_options(parser: argparse.ArgumentParser, *, is_step: bool = False) -> None:
    """Add what every verb takes. A step of a verb takes it as well, without a default that would undo the verb's."""
    default: dict[str, Any] = {"default": argparse.SUPPRESS} if is_step else {}  # what argparse takes
    settings_help = "the project's settings, where manage.py is not in the folder"
    parser.add_argument("--settings", metavar="MODULE", help=settings_help, **default)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON document on stdout", **default)
    parser.add_argument("-q", "--quiet", action="store_true", help="no messages", **default)
    parser.add_argument(
        "--as",
        metavar="USER",
        dest="as_user",
        help="act for this user, and see what they may see; they need the permissions",
        **default,
    )


def model_or_version(parser: argparse.ArgumentParser) -> None:
    """Add a model, or one of its versions."""
    parser.add_argument(
        "model", metavar="MODEL[@V]", help="a model, with a version's number or an alias where one is meant"
    )


def decision(parser: argparse.ArgumentParser) -> None:
    """Add what goes with a move of traffic: why, and from which state of the model."""
    reason(parser)
    parser.add_argument(
        "--if-generation", type=int, metavar="N", help="only if nobody changed the model since generation N"
    )


def reason(parser: argparse.ArgumentParser) -> None:
    """Add why something is done."""
    parser.add_argument("-m", "--reason", default="", help="why, for the Event")


def supervisor_argument(parser: argparse.ArgumentParser) -> None:
    """Add which process began this one."""
    parser.add_argument(
        "--supervisor", type=int, metavar="PID", help="the process that started this one; end when it ends"
    )


def count(text: str) -> int:
    """Return a whole number above zero, as argparse asks for it."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


def no_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing."""
