"""The parser: the table of verbs, and what makes a command line of it. A verb's own module is loaded when it runs."""

from __future__ import annotations

import argparse

import trivet
from trivet.cli.arguments import access, monitoring, options, predictions, processes, projects, traffic, versions
from trivet.cli.project import find_project_of_table, initialise_project, make_demo_project
from trivet.cli.verb import Verb


def build_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of every verb."""
    parser = argparse.ArgumentParser(prog=program, description="Deploy trained models from Django.")
    parser.add_argument("--version", action="version", version=f"trivet {trivet.__version__}")
    add_verbs(parser)
    return parser


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs to `parser`, each with the options all of them take."""
    chosen = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=argparse.ArgumentParser)
    for one in VERBS:
        sub = chosen.add_parser(one.name, help=one.help, description=one.help)
        options.add_common_options(sub)
        one.arguments(sub)
        sub.set_defaults(chosen=one)


VERBS = (
    Verb(
        "init",
        "make a project, or say what an existing one lacks",
        "initialise:initialise",
        projects.initialise,
        initialise_project,
    ),
    Verb("demo", "the whole story on the flights of 2013", "demo:demo", projects.demo, make_demo_project),
    Verb("serve", "serve this machine: web workers and the keeper, supervised", "processes:serve", processes.serve),
    Verb("web", "serve with one process, for containers", "web:web", processes.web),
    Verb("grpc", "serve gRPC with one process, for containers", "grpc:serve", processes.grpc),
    Verb(
        "model-workers",
        "run models that have processes of their own, for containers",
        "processes:model_workers",
        options.no_arguments,
    ),
    Verb("webhooks", "say whether a webhook arrives", "webhooks:webhooks", projects.webhooks),
    Verb("keeper", "ship the prediction log, for containers", "keeper:keeper", processes.keeper),
    Verb(
        "inspect",
        "say what is in a trained file: read without loading first, then opened in the sandbox",
        "inspect:inspect",
        versions.inspect,
        find_project_of_table,
    ),
    Verb("push", "compile a trained file, prove it, register it", "push:push", versions.push),
    Verb("sign", "say with a key that a version is to be trusted", "sign:sign", versions.sign),
    Verb(
        "environments",
        "make, list and remove environments for models that need other versions of libraries",
        "environments:environments",
        versions.environments,
    ),
    Verb("list", "list the models: champion, traffic, last prediction", "models:list_models", options.no_arguments),
    Verb("show", "show a model's history, or everything about one version", "models:show", options.model_or_version),
    Verb("promote", "make a version champion, with all the traffic", "traffic:promote", traffic.promote),
    Verb(
        "route",
        "share a model's traffic between versions; shadows, sticky callers, fallback",
        "traffic:route",
        traffic.route,
    ),
    Verb(
        "approve",
        "be the second person for what somebody proposed (TRIVET_APPROVALS), or list what waits",
        "approve:approve",
        traffic.approve,
    ),
    Verb("rollback", "give champion and traffic back to the version before", "traffic:rollback", traffic.rollback),
    Verb(
        "verify",
        "check stored bundles against their digests, and replay what they answered",
        "verify:verify",
        versions.verify,
    ),
    Verb(
        "replay",
        "run logged inputs through another version: what it would have answered; nobody is answered",
        "replay:replay_log",
        versions.replay,
    ),
    Verb("predict", "predict one row, or every row of a file", "predict:predict_rows", predictions.predict),
    Verb(
        "score",
        "write what a model says of each row of a table into its columns; a plan, until --apply",
        "score:score",
        predictions.score,
    ),
    Verb("label", "say what turned out true for one prediction, or those of a file", "label:label", predictions.label),
    Verb("drift", "say what a model sees beside what it was trained on", "drift:drift", monitoring.drift),
    Verb("report", "say how a model is, as a page for people", "report:report", monitoring.report),
    Verb(
        "alerts",
        "list the alerts that are open, acknowledge one, snooze it, or accept it as the new normal",
        "alerts:alerts",
        monitoring.alerts,
    ),
    Verb("export", "take something away as a file", "export:export", predictions.export),
    Verb("golden", "keep, list and take away golden cases", "golden:golden", predictions.golden),
    Verb(
        "redact",
        "have inputs of a model recorded as keyed digests, never in the clear",
        "redact:redact",
        predictions.redact,
    ),
    Verb(
        "prune",
        "delete what need not be kept: old bundles, the log beyond its retention, what is known of somebody",
        "prune:prune",
        predictions.prune,
    ),
    Verb("grants", "say what a user or a group may do with one model", "grants:grants", access.grants),
    Verb("keys", "make, limit, list, rotate and revoke API keys", "keys:keys", access.keys),
)
