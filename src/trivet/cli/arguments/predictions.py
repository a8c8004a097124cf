"""What the verbs take that predict, say what must be answered, and say what is kept of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from trivet.cli.arguments.options import add_common_options, count, model_or_version, reason, supervisor_argument


def predict(parser: argparse.ArgumentParser) -> None:
    model_or_version(parser)
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


def score(parser: argparse.ArgumentParser) -> None:
    model_or_version(parser)
    parser.add_argument("table", metavar="APP.MODEL", help="the Django model whose rows are scored")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only rows that meet it, by any lookup of Django's: country=DE, joined_at__lt=2026-01-01; repeatable",
    )
    parser.add_argument(
        "--to", default="", metavar="FIELD", help="the column; by default the only PredictedField of the model"
    )
    parser.add_argument("--all", action="store_true", help="every row, not only those that are stale")
    parser.add_argument("--limit", type=count, metavar="N", help="no more rows than N")
    parser.add_argument(
        "--batch-size", type=count, metavar="N", help="rows that are read and predicted at once; default 2000"
    )
    parser.add_argument("--apply", action="store_true", help="do it; without, only say what would be done")
    parser.add_argument(
        "--resume", type=count, metavar="RUN", help="go on with a run that was interrupted or killed, by its number"
    )
    supervisor_argument(parser)


def label(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prediction", nargs="?", metavar="PREDICTION", help="its id, or an entity key with --model")
    parser.add_argument("value", nargs="?", metavar="VALUE", help="what turned out: true, false, a number or a text")
    parser.add_argument("--file", type=Path, metavar="CSV", help="labels, a line each: see the header it needs below")
    parser.add_argument(
        "--outcomes", action="store_true", help="look now through the tables that Outcomes name, as each night"
    )
    parser.add_argument("--model", default="", metavar="MODEL", help="a model")
    parser.add_argument("--source", default="", help="who or what knew")
    parser.epilog = (
        "The file has the columns prediction_id or entity_key, and label; where wanted also observed_at, with an offset,"
        " source and weight."
    )


def export(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="features|predictions", required=True)
    rows = steps.add_parser("features", help="rows to train on, of a FeatureSet, and a manifest beside them")
    rows.add_argument("features", metavar="APP.ML.CLASS", help="a FeatureSet, as code names it")
    rows.add_argument(
        "--as-of",
        metavar="7d|DATE|FIELD",
        help="the moment they are of: so long ago, a date, or the column in which each row says its own; now without it",
    )
    rows.add_argument(
        "--label", metavar="FIELD", help="the column of what is to be predicted; rows without it are left out"
    )
    rows.add_argument("-o", "--out", type=Path, metavar="FILE", required=True, help="the CSV file")
    add_common_options(rows, is_step=True)
    log = steps.add_parser("predictions", help="the prediction log of a model, a line each answer")
    log.add_argument("model", metavar="MODEL", help="a model")
    log.add_argument("--since", metavar="7d|DATE", help="no older ones: hours, days or weeks ago, or a date")
    log.add_argument("--until", metavar="7d|DATE", help="only older ones")
    log.add_argument("--version", type=int, metavar="N", help="only what version N answered")
    log.add_argument("--labels", action="store_true", help="with what each came true as")
    log.add_argument(
        "--format", choices=("csv", "parquet"), default="csv", help="default csv; Parquet takes pyarrow and --out"
    )
    log.add_argument("-o", "--out", type=Path, metavar="FILE", help="where to; without, standard output")
    reason(log)
    add_common_options(log, is_step=True)


def golden(parser: argparse.ArgumentParser) -> None:
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
    reason(remove)
    for step in (add, listing, remove):
        add_common_options(step, is_step=True)


def redact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model")
    parser.add_argument(
        "fields", nargs="*", metavar="FIELD", help="inputs, or columns of one, to hide as well; none: which are hidden"
    )
    parser.add_argument(
        "--no-longer", action="append", default=[], metavar="FIELD", help="keep it in the clear again; repeatable"
    )
    reason(parser)


def prune(parser: argparse.ArgumentParser) -> None:
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
    reason(parser)
