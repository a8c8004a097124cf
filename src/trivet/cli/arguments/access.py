"""What the verbs take that say who may do what: grants and API keys."""

from __future__ import annotations

import argparse

from trivet.cli.arguments.options import add_common_options, reason


def grants(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="add|list|remove", required=True)
    add = steps.add_parser("add", help="let a user or a group do something with a model")
    listing = steps.add_parser("list", help="list who may do what with which model; Django's permissions are for all")
    remove = steps.add_parser("remove", help="take it from them")
    for step in (add, remove):
        step.add_argument("who", metavar="WHO", help="user:NAME or group:NAME")
        _models_argument(step, "a model; repeatable")
        more = "" if step is add else "; none: all of them"
        _verbs_argument(step, f"view, predict, push, promote, ...; repeatable{more}", is_required=step is add)
        reason(step)
    for step in (add, listing, remove):
        add_common_options(step, is_step=True)


def keys(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="create|limit|list|rotate|revoke", required=True)
    create = steps.add_parser("create", help="make a key; it is printed once")
    create.add_argument("name", metavar="NAME", help="whose key it is, or for what")
    _models_argument(create, "a model, or * for all; repeatable")
    _verbs_argument(create, "view, predict, label, ...; repeatable", is_required=True)
    create.add_argument("--expires", metavar="90d", help="how long it is valid: hours, days or weeks")
    create.add_argument("--owner", metavar="USER", help="whose key it is: disabling or deleting the user ends it")
    _limits_argument(create, "default what TRIVET_RATE_LIMIT says")
    limit = steps.add_parser("limit", help="say how often a key may ask; without --limit as every key")
    _key_argument(limit)
    _limits_argument(limit, "repeatable")
    listing = steps.add_parser("list", help="list the keys, never their secrets")
    rotate = steps.add_parser("rotate", help="give a key a new secret, printed once; the old one is valid for a while")
    _key_argument(rotate)
    rotate.add_argument("--overlap", metavar="1d", help="for how long: hours, days or weeks; default 1d")
    rotate.add_argument("--at-once", action="store_true", help="the old secrets end now")
    revoke = steps.add_parser("revoke", help="refuse a key from now on")
    _key_argument(revoke)
    for step in (create, limit, listing, rotate, revoke):
        add_common_options(step, is_step=True)


def _models_argument(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--model", dest="models", action="append", required=True, metavar="M", help=text)


def _verbs_argument(parser: argparse.ArgumentParser, text: str, *, is_required: bool) -> None:
    parser.add_argument("--verb", dest="verbs", action="append", required=is_required, metavar="V", help=text)


def _key_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the eight characters after trivet_")


def _limits_argument(parser: argparse.ArgumentParser, more: str) -> None:
    parser.add_argument(
        "--limit",
        dest="limits",
        action="append",
        default=[],
        metavar="RATE",
        help=f"how often it may ask, such as 100/s or 100/s,50000/d; of one model M=10/s; {more}",
    )
