"""What the verbs take that make versions of trained files, and vouch for them."""

from __future__ import annotations

import argparse
from pathlib import Path

from trivet.cli.arguments.options import add_common_options, count


def inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a trained file, or a model directory of MLflow")
    parser.add_argument(
        "--sample", type=Path, metavar="CSV", help="rows as the model was trained on, in the order of time"
    )
    _labels_argument(parser)
    parser.add_argument("--model", metavar="app.Model", help="the table whose rows the model is about")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="ml.py",
        help="write a FeatureSet of what matches, and an f.TODO for each of the rest",
    )
    parser.add_argument("--yes", action="store_true", help="replace the file of --write where it is there")
    _vouch_argument(parser)


def push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a trained model, told by its content: joblib, pickle, skops, ONNX, XGBoost's .json or .ubj, LightGBM's .txt,"
        " CatBoost's .cbm, or a model directory of MLflow, also zipped",
    )
    parser.add_argument("--name", required=True, metavar="NAME", help="the model it becomes a version of")
    parser.add_argument(
        "--sample",
        type=Path,
        metavar="CSV",
        help="rows as the model was trained on, in the order of time: what parity is proved on, and traffic compared with",
    )
    _labels_argument(parser)
    parser.add_argument(
        "--features",
        metavar="APP.ML.CLASS",
        help="the FeatureSet that it was trained on, which gives the rows where there is no --sample; without it the one in the"
        " manifest of an exported sample",
    )
    parser.add_argument("--promote", action="store_true", help="take all the traffic, though another version has it")
    parser.add_argument(
        "--tolerance", type=float, metavar="T", help="largest difference allowed; default 1e-5, at most 1e-3"
    )
    _vouch_argument(parser)
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


def sign(parser: argparse.ArgumentParser) -> None:
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


def environments(parser: argparse.ArgumentParser) -> None:
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


def verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL[@V]",
        help="a model, or one version of it; none: what is in use",
    )
    parser.add_argument("--all", action="store_true", dest="everything", help="every version that is ready")
    parser.add_argument(
        "--log", action="store_true", help="instead: the prediction log and the history, by their chains of hashes"
    )
    parser.add_argument("--expect", metavar="HEAD", help="with --log: a head it printed before, kept elsewhere")


def replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL@V", help="a model and the version that is asked now, by number or alias"
    )
    parser.add_argument(
        "--against", metavar="V", help="the version whose logged answers it is compared with; default the champion"
    )
    parser.add_argument("--since", default="24h", metavar="24h", help="how far back: hours, days or weeks; default 24h")
    parser.add_argument(
        "--limit", type=count, default=10_000, metavar="N", help="no more than the N newest rows; default 10,000"
    )
    parser.add_argument(
        "--max-moved", type=float, metavar="P", help="end with 1 where more than P percent of the decisions moved"
    )
    parser.epilog = "With --max-moved it also ends with 1 where no decision could be compared."


def _labels_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", metavar="COLUMN", help="the column of the sample that is no input, but the truth")


def _vouch_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vouch", action="store_true", help="I made this file: open it even where the sandbox is weaker than L2"
    )
