"""What the verbs take that start processes."""

from __future__ import annotations

import argparse

from trivet.cli.arguments.options import supervisor_argument

GRPC_BIND = "127.0.0.1:8001"


def serve(parser: argparse.ArgumentParser) -> None:
    _bind_argument(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="web workers; default one per core")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="serve gRPC there as well; default not at all")
    parser.add_argument("--grpc-workers", type=int, default=1, metavar="N", help="gRPC workers; default 1")


def web(parser: argparse.ArgumentParser) -> None:
    _bind_argument(parser)
    parser.add_argument("--fd", type=int, metavar="N", help="a listening socket this process inherited, instead")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="closed once requests are answered")
    _processes_argument(parser)
    supervisor_argument(parser)


def grpc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bind", default=GRPC_BIND, metavar="HOST:PORT", help=f"default {GRPC_BIND}")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="closed once calls are answered")
    _processes_argument(parser)
    supervisor_argument(parser)


def keeper(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="ship what there is, then end")
    supervisor_argument(parser)


def _bind_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bind", metavar="HOST:PORT", help="default TRIVET_BIND, 127.0.0.1:8000")


def _processes_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many of them answer on this machine; default TRIVET_WORKERS"
    )
