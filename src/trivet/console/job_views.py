"""The console's doors to jobs: each parses, calls one thing, and presents it."""

from __future__ import annotations

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe

from trivet.console.jobs_page import JobsPage, job_page, jobs_page
from trivet.console.screens import is_htmx, person, screen, show
from trivet.control.registry.permissions import can
from trivet.control.scoring.models import ScoringRun


@screen
@require_safe
def jobs(request: HttpRequest) -> HttpResponseBase:
    """Show the latest runs of the models that this person may know of; htmx gets the table alone."""
    return _shown(request, jobs_page(person(request), timezone.now()))


@screen
@require_safe
def job(request: HttpRequest, number: int) -> HttpResponseBase:
    """Show one run, and what kept rows from their numbers."""
    run = ScoringRun.objects.filter(pk=number).first()
    if run is None or not can(person(request), "view", run.model):
        raise Http404
    sees_inputs = can(person(request), "view_inputs", run.model)
    return _shown(request, job_page(run, timezone.now(), sees_inputs=sees_inputs))


def _shown(request: HttpRequest, page: JobsPage) -> HttpResponseBase:
    return show(request, "parts/runs" if is_htmx(request) else "jobs", page)
