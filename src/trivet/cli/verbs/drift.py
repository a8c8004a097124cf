"""The verb `drift`: what a version sees in a window beside its reference, and whether that is an alarm."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from django.utils import timezone

from trivet.cli.drift_table import about, about_segment, apart, changed, table_of, together
from trivet.cli.needed import Needed
from trivet.cli.person import check_may, person_of
from trivet.cli.values import duration_of
from trivet.cli.verb import DONE, USAGE, WRONG, Out, split_version
from trivet.control.monitoring.drift import DriftReport, FeatureDrift, drift_report, earlier, without_inputs
from trivet.control.monitoring.logged_rows import logged_columns, recorded_columns
from trivet.control.monitoring.segment_drift import segment_drift
from trivet.control.monitoring.sentences import enumerated
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.control.registry.permissions import can
from trivet.core.errors import InvalidRequest, Refused, quoted

if TYPE_CHECKING:
    from trivet.model.domain_classifier import Separation


def drift(options: argparse.Namespace, out: Out) -> int:
    """Print the verdict, then each feature, the farthest first."""
    if options.limit is not None and options.limit < 1:
        out.problem("trivet drift: --limit takes a number from 1.")
        return USAGE
    if options.segment is not None and options.classifier:
        out.problem("trivet drift: --classifier is of all rows, and --segment of some: ask for one of them.")
        return USAGE
    name, word = split_version(options.model)
    version = ModelVersion.objects.resolve(name, word or CHAMPION)
    report = drift_report(
        name,
        now=timezone.now(),
        number=version.number,
        window=duration_of("--window", options.window),
        against=options.reference,
    )
    if options.segment is not None:
        return _of_segment(options, out, version, report)
    person = person_of(options)
    if person is not None and not can(person, "view_inputs", name):
        report = without_inputs(report, version.read_signature())
    features = report.features[: options.limit]
    found = _told_apart(version, report) if options.classifier else None
    lines = [report.verdict, about(report), *filter(None, [together(report), apart(found, report)])]
    if report.rows and report.reference_rows:
        lines.append(changed(report))
    if report.rows:
        lines += ["", *_table(features), *_words(features)]
    facts = _facts(report, features) | ({"classifier": msgspec.to_builtins(found)} if found is not None else {})
    out.document(facts, "\n".join(lines))
    return WRONG if report.has_open_alert else DONE


def _of_segment(options: argparse.Namespace, out: Out, version: ModelVersion, report: DriftReport) -> int:
    """Print the same of the rows of one segment; values are inputs, and so for who may see these alone."""
    person = person_of(options)
    if person is not None:
        check_may(person, Needed("view_inputs", report.model))
    column, equals, value = options.segment.partition("=")
    if not equals:
        raise InvalidRequest(f"{quoted(options.segment)} is not COLUMN=VALUE.", code="BAD_PARAMETER")
    found = segment_drift(version, report, column, value)
    features = found.report.features[: options.limit]
    lines = [found.report.verdict, about_segment(found)]
    if found.report.rows and found.report.reference_rows:
        lines += [changed(found.report), "", *_table(features), *_words(features)]
    segment = {
        "column": column,
        "value": value,
        "looked_at": found.looked_at,
        "looked_at_before": found.looked_at_before,
    }
    out.document(_facts(found.report, features) | {"segment": segment}, "\n".join(lines))
    return WRONG if report.has_open_alert else DONE


def _told_apart(version: ModelVersion, report: DriftReport) -> Separation:
    """Train a classifier on rows of the window beside rows of what it is compared with."""
    try:
        from trivet.model.domain_classifier import separation
    except ImportError:
        raise Refused("--classifier needs scikit-learn: pip install 'trivet[compile]'.") from None
    spans = earlier(report.start, report.end, report.against)
    before = logged_columns(version, spans) if spans else recorded_columns(version)
    return separation(logged_columns(version, [(report.start, report.end)]), before)


def _table(features: Sequence[FeatureDrift]) -> list[str]:
    rows = table_of(features)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _words(features: Sequence[FeatureDrift]) -> list[str]:
    """Return a line for each feature with texts that the reference does not have."""
    told = ((feature.name, _unseen(feature)) for feature in features)
    return [f"unseen in {name}: {enumerated(values)}" for name, values in told if values]


def _unseen(feature: FeatureDrift) -> list[str]:
    return [f"{quoted(value)} ({rows:,})" for value, rows in feature.values_unseen]


def _facts(report: DriftReport, features: Sequence[FeatureDrift]) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(replace(report, features=tuple(features)), enc_hook=str)
    return facts
