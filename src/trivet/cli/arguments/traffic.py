"""What the verbs take that move traffic."""

from __future__ import annotations

import argparse

from trivet.cli.arguments.options import decision, reason


def promote(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL@V", help="a model and the version's number, or an alias such as challenger"
    )
    decision(parser)


def route(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model")
    parser.add_argument(
        "shares", nargs="*", metavar="V=PERCENT", help="a version's share, adding to 100; none: the shares stay"
    )
    parser.add_argument(
        "--shadow",
        dest="shadows",
        action="append",
        metavar="V[=PERCENT]",
        help="a version that runs so many of the requests as well and never answers; default 100; repeatable",
    )
    parser.add_argument("--no-shadow", dest="shadows", action="store_const", const=[], help="no shadows any more")
    parser.add_argument("--sticky-by", metavar="INPUT", help="the input whose value keeps a caller on one version")
    parser.add_argument(
        "--no-sticky", dest="sticky_by", action="store_const", const="", help="sticky by no input any more"
    )
    parser.add_argument(
        "--fallback",
        action="append",
        metavar="V|JSON",
        help="who answers where the routed version fails: a number, an alias, at last a constant {output: value}; repeatable",
    )
    parser.add_argument("--no-fallback", dest="fallback", action="store_const", const=[], help="nobody answers for it")
    decision(parser)


def approve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "proposal", nargs="?", type=int, metavar="N", help="the proposal's number; none: list what waits"
    )
    parser.add_argument("--decline", action="store_true", help="close it: withdrawn by who made it, else declined")
    reason(parser)


def rollback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model")
    parser.add_argument(
        "--to", type=int, metavar="V", help="an earlier champion that was not rolled back from; default the one before"
    )
    decision(parser)
