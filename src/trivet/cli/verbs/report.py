"""The verb `report`: how a model is, as a page for people."""

from __future__ import annotations

import argparse
from dataclasses import replace

import msgspec
from django.utils import timezone

from trivet.cli.person import person_of
from trivet.cli.report_page import html, markdown, page_of
from trivet.cli.values import duration_of
from trivet.cli.verb import DONE, USAGE, Out, split_version
from trivet.control.monitoring.drift import drift_report, without_inputs
from trivet.control.monitoring.models import Alert, AlertState
from trivet.control.monitoring.performance_report import performance_report
from trivet.control.monitoring.segment_report import without_values
from trivet.control.registry.models import CHAMPION, ModelVersion
from trivet.control.registry.permissions import can


def report(options: argparse.Namespace, out: Out) -> int:
    """Print the report as Markdown, or write it as one HTML file."""
    if options.html is not None and (options.html.is_dir() or not options.html.parent.is_dir()):
        out.problem(f"trivet report: {options.html} is no place for a file.")
        return USAGE
    name, word = split_version(options.model)
    version = ModelVersion.objects.resolve(name, word or CHAMPION)
    now, period = timezone.now(), duration_of("--since", options.since)
    alerts = Alert.objects.filter(model=version.model).exclude(state=AlertState.RESOLVED).order_by("-opened_at")
    drift = drift_report(name, now=now, number=version.number, window=period)
    performance = performance_report(name, now=now, number=version.number, period=period)
    person = person_of(options)
    if person is not None and not can(person, "view_inputs", name):
        drift = without_inputs(drift, version.read_signature())
        performance = replace(performance, segmentations=without_values(performance.segmentations))
    page = page_of(
        drift,
        performance,
        list(alerts.select_related("model", "version")),
    )
    if options.html is None:
        out.document(msgspec.to_builtins(page, enc_hook=str), markdown(page))
        return DONE
    options.html.write_text(html(page), encoding="utf-8")
    out.document({"model": name, "version": version.number, "file": str(options.html)}, f"{page.title}: {options.html}")
    return DONE
