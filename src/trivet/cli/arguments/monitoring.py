"""What the verbs take that say how live models are."""

from __future__ import annotations

import argparse
from pathlib import Path

from trivet.cli.arguments.options import model_or_version, reason


def drift(parser: argparse.ArgumentParser) -> None:
    model_or_version(parser)
    parser.add_argument("--window", default="7d", metavar="7d", help="how far back: hours, days or weeks; default 7d")
    parser.add_argument(
        "--reference",
        choices=("training", "previous", "same-hour"),
        default="training",
        help="what it is compared with: its reference, the window before, or the same hours of four weeks",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the N features that are farthest off")
    parser.add_argument(
        "--classifier",
        action="store_true",
        help="also train a classifier to tell logged rows from those they are compared with (needs scikit-learn)",
    )
    parser.add_argument(
        "--segment",
        metavar="COLUMN=VALUE",
        help="only logged rows that have this value, beside earlier ones or the recorded sample that have it",
    )
    parser.epilog = "It ends with 1 while an alert about drift of the model is open."


def report(parser: argparse.ArgumentParser) -> None:
    model_or_version(parser)
    parser.add_argument("--since", default="30d", metavar="30d", help="how far back: hours, days or weeks; default 30d")
    parser.add_argument("--html", type=Path, metavar="FILE", help="as one HTML file; without, Markdown is printed")


def alerts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "about",
        nargs="?",
        metavar="MODEL/STEP",
        help="a model; or what to do with an alert: acknowledge, snooze, or accept",
    )
    parser.add_argument("alert", nargs="?", type=int, metavar="ID", help="of the alert that is answered")
    parser.add_argument(
        "period",
        nargs="?",
        metavar="24h",
        help="how long it is snoozed; how far back is the new normal (default 7d): hours, days or weeks",
    )
    parser.add_argument("--all", action="store_true", help="also those that are over")
    reason(parser)
    parser.epilog = "A list ends with 1 where an alert is open."
