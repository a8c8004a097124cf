"""The parser of every verb: names, arguments, help. It imports no Django; a verb's own module is loaded when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from trivet.cli.project import find_project, find_project_of_table, initialise_project, make_demo_project
from trivet.cli.verb import Verb

DEMO_FOLDER = Path("var/demo")
DEMO_BIND = "127.0.0.1:8000"
GRPC_BIND = "127.0.0.1:8001"


def add_common_options(parser: argparse.ArgumentParser, *, is_step: bool = False) -> None:
    """Add what every verb takes. A step of a verb takes it as well, without a default that would undo the verb's."""
    default: dict[str, Any] = {"default": argparse.SUPPRESS} if is_step else {}  # what argparse takes
    settings_help = "the project's settings, where manage.py is not in the folder"
    parser.add_argument("--settings", metavar="MODULE", help=settings_help, **default)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON document on stdout", **default)
    parser.add_argument("-q", "--quiet", action="store_true", help="no messages", **default)
    parser.add_argument(
        "--as", metavar="USER", dest="as_user", help="act for this user, who needs the permissions", **default
    )


def _webhooks_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    test = steps.add_parser("test", help="send a signed message that says it is a test")
    add_common_options(test, is_step=True)
    test.add_argument("url", metavar="URL", help="where to; one that TRIVET_WEBHOOKS lists, or has the host of")


def _model_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL[@V]", help="a model, with a version's number or an alias where one is meant"
    )


def _promote_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL@V", help="a model and the version's number, or an alias such as challenger"
    )
    _decision_arguments(parser)


def _decision_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--reason", default="", help="why, for the Event")
    parser.add_argument(
        "--if-generation", type=int, metavar="N", help="only if nobody changed the model since generation N"
    )


def _route_arguments(parser: argparse.ArgumentParser) -> None:
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
    _decision_arguments(parser)


def _approve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "proposal", nargs="?", type=int, metavar="N", help="the proposal's number; none: list what waits"
    )
    parser.add_argument("--decline", action="store_true", help="close it: withdrawn by who made it, else declined")
    parser.add_argument("-m", "--reason", default="", help="why, for the Event")


def _rollback_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model")
    parser.add_argument("--to", type=int, metavar="V", help="an earlier champion; default the one before")
    _decision_arguments(parser)


def _redact_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model")
    parser.add_argument(
        "fields", nargs="*", metavar="FIELD", help="inputs, or columns of one, to hide as well; none: which are hidden"
    )
    parser.add_argument(
        "--no-longer", action="append", default=[], metavar="FIELD", help="keep it in the clear again; repeatable"
    )
    parser.add_argument("-m", "--reason", default="", help="why, for the Event")


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL[@V]",
        help="a model, or one version of it; none: what is in use",
    )
    parser.add_argument("--all", action="store_true", dest="everything", help="every version that was ever ready")
    parser.add_argument(
        "--log", action="store_true", help="instead: the prediction log and the history, by their chains of hashes"
    )
    parser.add_argument("--expect", metavar="HEAD", help="with --log: a head it printed before, kept elsewhere")


def _prune_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundles", action="store_true", help="bundles that no version has")
    parser.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="with --bundles: also those of versions out of use, but for the newest N of each model",
    )
    parser.add_argument("--log", action="store_true", help="predictions beyond TRIVET_LOG_RETENTION_DAYS")
    parser.add_argument(
        "--forget", metavar="ENTITY", help="inputs and entity of the predictions with this entity_key, as app.model:PK"
    )
    parser.add_argument("--apply", action="store_true", help="do it; without, only say what would be done")
    parser.add_argument("-m", "--reason", default="", help="why, for the Event")


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a trained file, or a model directory of MLflow")
    parser.add_argument("--sample", type=Path, metavar="CSV", help="rows as the model was trained on")
    parser.add_argument("--labels", metavar="COLUMN", help="the column of the sample that is no input, but the truth")
    parser.add_argument("--model", metavar="app.Model", help="the table whose rows the model is about")
    parser.add_argument(
        "--write", type=Path, metavar="ml.py", help="write the function that makes a row of an instance"
    )
    parser.add_argument(
        "--vouch", action="store_true", help="I made this file: open it even where the sandbox is weaker than L2"
    )


def _push_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a trained model, told by its content: joblib, pickle, skops, ONNX, XGBoost's .json or .ubj, LightGBM's .txt,"
        " CatBoost's .cbm, or a model directory of MLflow, also zipped",
    )
    parser.add_argument("--name", required=True, metavar="NAME", help="the model it becomes a version of")
    parser.add_argument(
        "--sample", type=Path, metavar="CSV", help="rows as the model was trained on: what parity is proved on"
    )
    parser.add_argument("--labels", metavar="COLUMN", help="the column of the sample that is no input, but the truth")
    parser.add_argument("--promote", action="store_true", help="take all the traffic, though another version has it")
    parser.add_argument(
        "--tolerance", type=float, metavar="T", help="largest difference allowed; default 1e-5, at most 1e-3"
    )
    parser.add_argument(
        "--vouch", action="store_true", help="I made this file: open it even where the sandbox is weaker than L2"
    )
    parser.add_argument(
        "--accept-types",
        action="extend",
        nargs="+",
        default=[],
        metavar="TYPE",
        help="types on no list that the model may hold where it runs unchanged; the history records it",
    )
    parser.add_argument(
        "--requirements",
        type=Path,
        metavar="FILE",
        help="exact versions of libraries, NAME==VERSION a line: it is opened and runs unchanged in their environment,"
        " which `trivet environments make` made",
    )
    parser.add_argument(
        "--sensitive",
        action="append",
        default=[],
        metavar="FIELD",
        help="an input that the log never keeps in the clear; in the sample its values are shuffled; repeatable",
    )
    parser.add_argument("--sign", type=Path, metavar="KEY.pem", help="sign the version with this private key")
    parser.add_argument("-m", "--message", default="", help="what is new, for the history")


def _sign_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL[@V]", help="a version; a model means those of its versions that are in use"
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--key",
        type=Path,
        metavar="KEY.pem",
        help="a private key of P-256, P-384 or P-521; its passphrase is asked for, or in TRIVET_SIGNING_PASSPHRASE",
    )
    way.add_argument(
        "--signature", type=Path, metavar="FILE", help="made elsewhere, by OpenSSF's model_signing with a trusted key"
    )
    parser.add_argument("-m", "--message", default="", help="why, for the Event")


def _keys_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="create|limit|list|rotate|revoke", required=True)
    create = steps.add_parser("create", help="make a key; it is printed once")
    create.add_argument("name", metavar="NAME", help="whose key it is, or for what")
    create.add_argument(
        "--model", dest="models", action="append", required=True, metavar="M", help="a model, or * for all; repeatable"
    )
    create.add_argument(
        "--verb",
        dest="verbs",
        action="append",
        required=True,
        metavar="V",
        help="view, predict, label, ...; repeatable",
    )
    create.add_argument("--expires", metavar="90d", help="how long it is valid: hours, days or weeks")
    create.add_argument("--owner", metavar="USER", help="whose key it is: disabling or deleting the user ends it")
    _limits_argument(create, "default what TRIVET_RATE_LIMIT says")
    limit = steps.add_parser("limit", help="say how often a key may ask; without --limit as every key")
    limit.add_argument("id", metavar="ID", help="the eight characters after trivet_")
    _limits_argument(limit, "repeatable")
    listing = steps.add_parser("list", help="list the keys, never their secrets")
    rotate = steps.add_parser("rotate", help="give a key a new secret, printed once; the old one is valid for a while")
    rotate.add_argument("id", metavar="ID", help="the eight characters after trivet_")
    rotate.add_argument("--overlap", default="1d", metavar="1d", help="for how long: hours, days or weeks; default 1d")
    rotate.add_argument("--at-once", action="store_true", help="the old secrets end now")
    revoke = steps.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("id", metavar="ID", help="the eight characters after trivet_")
    for step in (create, limit, listing, rotate, revoke):
        add_common_options(step, is_step=True)


def _grants_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="add|list|remove", required=True)
    add = steps.add_parser("add", help="let a user or a group do something with a model")
    listing = steps.add_parser("list", help="list who may do what with which model; Django's permissions are for all")
    remove = steps.add_parser("remove", help="take it from them")
    for step in (add, remove):
        step.add_argument("who", metavar="WHO", help="user:NAME or group:NAME")
        step.add_argument(
            "--model", dest="models", action="append", required=True, metavar="M", help="a model; repeatable"
        )
        step.add_argument(
            "--verb",
            dest="verbs",
            action="append",
            required=step is add,
            metavar="V",
            help="view, predict, push, promote, ...; repeatable" + ("" if step is add else "; none: all of them"),
        )
        step.add_argument("-m", "--reason", default="", help="why, for the Event")
    for step in (add, listing, remove):
        add_common_options(step, is_step=True)


def _limits_argument(parser: argparse.ArgumentParser, more: str) -> None:
    parser.add_argument(
        "--limit",
        dest="limits",
        action="append",
        default=[],
        metavar="RATE",
        help=f"how often it may ask, such as 100/s or 100/s,50000/d; of one model M=10/s; {more}",
    )


def _environments_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="make|list|remove", required=True)
    make = steps.add_parser("make", help="install what is missing on this machine; wheels only")
    make.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="a requirements file to push with; none: what versions in use need",
    )
    make.add_argument(
        "--python", type=Path, metavar="PATH", help="the interpreter; default this one, or one of the right version"
    )
    listing = steps.add_parser("list", help="list those of this machine, and which versions need them")
    remove = steps.add_parser("remove", help="remove one that no version in use needs")
    remove.add_argument("key", metavar="KEY", help="the first characters of its key, enough to tell it")
    for step in (make, listing, remove):
        add_common_options(step, is_step=True)


def _golden_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="add|list|remove", required=True)
    add = steps.add_parser("add", help="keep a case: no version that fails it gets traffic")
    add.add_argument("model", metavar="MODEL", help="a model")
    add.add_argument("values", nargs="*", metavar="NAME=VALUE", help="the row; empty means missing")
    add.add_argument("--class", dest="class_", metavar="CLASS", help="it is decided so")
    add.add_argument("--between", nargs=2, type=float, metavar=("LOW", "HIGH"), help="its number lies there")
    add.add_argument(
        "--same-as",
        action="append",
        metavar="NAME=VALUE",
        help="with this field changed the answer is the same; repeatable",
    )
    add.add_argument(
        "--not-below",
        action="append",
        metavar="X|NAME=VALUE",
        help="its number is at least X, or that of the row with this field changed; repeatable",
    )
    add.add_argument("--of", default="", metavar="CLASS", help="of which class or output the number is meant")
    add.add_argument("--file", type=Path, metavar="JSONL", help='cases, one {"inputs": ..., "expect": ...} a line')
    add.add_argument("-m", "--note", default="", help="why it must be so")
    listing = steps.add_parser("list", help="list a model's cases")
    listing.add_argument("model", metavar="MODEL", help="a model")
    remove = steps.add_parser("remove", help="take a case away; it stays on record")
    remove.add_argument("model", metavar="MODEL", help="a model")
    remove.add_argument("number", type=int, metavar="N", help="the case's number")
    remove.add_argument("-m", "--reason", default="", help="why, for the Event")
    for step in (add, listing, remove):
        add_common_options(step, is_step=True)


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL[@V]", help="a model, with a version's number or an alias where one is meant"
    )
    parser.add_argument("values", nargs="*", metavar="NAME=VALUE", help="the features of one row; empty means missing")
    parser.add_argument("--file", type=Path, metavar="CSV", help="a file of rows, with a header")
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column of the file that is no feature; repeatable",
    )
    parser.add_argument(
        "-o", "--output", choices=("csv", "jsonl"), default="csv", help="how the answers of a file are written"
    )


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bind", metavar="HOST:PORT", help="default TRIVET_BIND, 127.0.0.1:8000")
    parser.add_argument("--workers", type=int, metavar="N", help="web workers; default one per core")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="serve gRPC there as well; default not at all")
    parser.add_argument("--grpc-workers", type=int, default=1, metavar="N", help="gRPC workers; default 1")


def _web_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bind", metavar="HOST:PORT", help="default TRIVET_BIND, 127.0.0.1:8000")
    parser.add_argument("--fd", type=int, metavar="N", help="a listening socket this process inherited, instead")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="closed once requests are answered")
    _processes_argument(parser)
    parser.add_argument(
        "--supervisor", type=int, metavar="PID", help="the process that started this one; end when it ends"
    )


def _processes_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many of them answer on this machine; default TRIVET_WORKERS"
    )


def _grpc_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bind", default=GRPC_BIND, metavar="HOST:PORT", help=f"default {GRPC_BIND}")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="closed once calls are answered")
    _processes_argument(parser)
    parser.add_argument(
        "--supervisor", type=int, metavar="PID", help="the process that started this one; end when it ends"
    )


def _keeper_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="ship what there is, then end")
    parser.add_argument(
        "--supervisor", type=int, metavar="PID", help="the process that started this one; end when it ends"
    )


def _initialise_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="the folder to make")
    parser.add_argument("--noinput", action="store_true", help="accepted for scripts; nothing is ever asked")
    parser.add_argument(
        "--groups",
        action="store_true",
        help="make the suggested groups of people too; one that is there stays as it is",
    )


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bind", default=DEMO_BIND, metavar="HOST:PORT", help=f"default {DEMO_BIND}")
    parser.add_argument("--dir", type=Path, default=DEMO_FOLDER, metavar="DIR", help=f"default {DEMO_FOLDER}")
    parser.add_argument(
        "--check", action="store_true", help="predict once over HTTP, print the answer, stop everything"
    )
    parser.add_argument("--replay", action="store_true", help="send July to December to the running demo")
    parser.add_argument("--rows", type=int, metavar="N", help="with --replay: only the first N flights")


def _no_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


VERBS = (
    Verb(
        "init",
        "make a project, or say what an existing one lacks",
        "initialise:initialise",
        _initialise_arguments,
        initialise_project,
    ),
    Verb("demo", "the whole story on the flights of 2013", "demo:demo", _demo_arguments, make_demo_project),
    Verb(
        "serve",
        "serve this machine: web workers and the keeper, supervised",
        "processes:serve",
        _serve_arguments,
        find_project,
    ),
    Verb("web", "serve with one process, for containers", "web:web", _web_arguments, find_project),
    Verb("grpc", "serve gRPC with one process, for containers", "grpc:serve", _grpc_arguments, find_project),
    Verb(
        "model-workers",
        "run models that have processes of their own, for containers",
        "processes:model_workers",
        _no_arguments,
        find_project,
    ),
    Verb("webhooks", "say whether a webhook arrives", "webhooks:webhooks", _webhooks_arguments, find_project),
    Verb("keeper", "ship the prediction log, for containers", "keeper:keeper", _keeper_arguments, find_project),
    Verb(
        "inspect",
        "say what is in a trained file: read without loading first, then opened in the sandbox",
        "inspect:inspect",
        _inspect_arguments,
        find_project_of_table,
    ),
    Verb("push", "compile a trained file, prove it, register it", "push:push", _push_arguments, find_project),
    Verb("sign", "say with a key that a version is to be trusted", "sign:sign", _sign_arguments, find_project),
    Verb(
        "environments",
        "make, list and remove environments for models that need other versions of libraries",
        "environments:environments",
        _environments_arguments,
        find_project,
    ),
    Verb(
        "list",
        "list the models: champion, traffic, last prediction",
        "registry:list_models",
        _no_arguments,
        find_project,
    ),
    Verb(
        "show",
        "show a model's history, or everything about one version",
        "registry:show",
        _model_argument,
        find_project,
    ),
    Verb(
        "promote", "make a version champion, with all the traffic", "registry:promote", _promote_arguments, find_project
    ),
    Verb(
        "route",
        "share a model's traffic between versions; shadows, sticky callers, fallback",
        "registry:route",
        _route_arguments,
        find_project,
    ),
    Verb(
        "approve",
        "be the second person for what somebody proposed (TRIVET_APPROVALS), or list what waits",
        "approve:approve",
        _approve_arguments,
        find_project,
    ),
    Verb(
        "rollback",
        "give champion and traffic back to the version before",
        "registry:rollback",
        _rollback_arguments,
        find_project,
    ),
    Verb(
        "verify",
        "check stored bundles against their digests, and replay what they answered",
        "verify:verify",
        _verify_arguments,
        find_project,
    ),
    Verb(
        "predict", "predict one row, or every row of a file", "predict:predict_rows", _predict_arguments, find_project
    ),
    Verb("golden", "keep, list and take away golden cases", "golden:golden", _golden_arguments, find_project),
    Verb(
        "redact",
        "have inputs of a model recorded as keyed digests, never in the clear",
        "redact:redact",
        _redact_arguments,
        find_project,
    ),
    Verb(
        "prune",
        "delete what need not be kept: old bundles, the log beyond its retention, what is known of somebody",
        "prune:prune",
        _prune_arguments,
        find_project,
    ),
    Verb(
        "grants", "say what a user or a group may do with one model", "grants:grants", _grants_arguments, find_project
    ),
    Verb("keys", "make, limit, list, rotate and revoke API keys", "keys:keys", _keys_arguments, find_project),
)
