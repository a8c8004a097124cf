"""The console's doors: each parses, calls one thing, and presents what it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth import views as auth
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_safe

from trivet import conf
from trivet.console import form
from trivet.console.answer import Answer, explained, in_short, shown as shown_answer
from trivet.console.assets import asset
from trivet.console.headers import HEADERS
from trivet.console.login import Login
from trivet.console.model_page import Viewer, model_page
from trivet.console.move_page import Move, move_page, moved
from trivet.console.openapi_page import document_of, openapi_page
from trivet.console.overview import Overview, overview as overview_page
from trivet.console.proposal_page import proposal_page
from trivet.console.screens import guarded, is_htmx, outside_transactions, person, screen, show
from trivet.console.subject import Subject, subject
from trivet.console.try_it import TryIt, filled_form, fresh_form
from trivet.control.registry import actions
from trivet.control.registry.models import Event, ModelVersion, Proposal
from trivet.control.registry.permissions import can, models_open_to
from trivet.core import errors
from trivet.core.errors import TrivetError
from trivet.serving.acknowledgement import Acknowledgement, wait_for_workers
from trivet.serving.predict import predict

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

_MAY_NOT_MOVE = gettext_lazy("You may see this model, but not move its traffic.")
DECISIONS = ("approve", "decline")
FOR_EVER = "public, max-age=31536000, immutable"  # the address holds the content's fingerprint


login = guarded(sensitive_post_parameters("password")(Login.as_view()))
logout = guarded(auth.LogoutView.as_view(next_page=reverse_lazy("trivet:login")))


@screen
@require_safe
def overview(request: HttpRequest) -> HttpResponseBase:
    """Show the models that this person may know of."""
    known = models_open_to(request.user)
    may_see_models = known is None or bool(known)
    page = overview_page(timezone.now(), known) if may_see_models else Overview((), (), may_see_models=False)
    return show(request, "overview", page)


@screen
@require_safe
def model(request: HttpRequest, name: str) -> HttpResponseBase:
    """Show one model, through the live version or the one in `?version=`, its form filled with the row in `?row=`."""
    shown = _subject(request, name)
    return _model_page(request, shown, _fresh_form(request, shown))


@screen
def try_it(request: HttpRequest, name: str) -> HttpResponseBase:
    """Ask the model for the posted row; on GET, fill the form with another recorded row. htmx gets the form alone."""
    shown = _subject(request, name)
    if not can(request.user, "predict", name):
        raise PermissionDenied(_("You may see this model, but not ask it."))
    filled = _asked(request, shown) if request.method == "POST" else _fresh_form(request, shown)
    if is_htmx(request):
        return show(request, "parts/tried", filled)
    return _model_page(request, shown, filled)


@screen
@require_safe
def openapi(request: HttpRequest, name: str) -> HttpResponseBase:
    """Show what a version's OpenAPI document says, to be read by a person."""
    return show(request, "openapi", openapi_page(_subject(request, name), _base_url(request)))


@screen
@require_safe
def openapi_json(request: HttpRequest, name: str) -> HttpResponseBase:
    """Give the document itself to whoever is signed in; programs with an API key get it below `/v2`."""
    found, _signature = document_of(_subject(request, name), _base_url(request))
    return JsonResponse(found)


@outside_transactions
@screen
def promote(request: HttpRequest, name: str, number: int) -> HttpResponseBase:
    """Ask whether version `number` shall take all the traffic; on POST, make it champion."""
    found = _subject_to_move(request, name)
    if not ModelVersion.objects.filter(model=found.model, number=number).exists():
        raise Http404
    return _move(request, found, number, is_rollback=False)


@outside_transactions
@screen
def roll_back(request: HttpRequest, name: str) -> HttpResponseBase:
    """Ask whether the champion before shall take the traffic back; on POST, give it back."""
    found = _subject_to_move(request, name)
    if found.model.previous_champion is None:
        raise Http404
    return _move(request, found, found.model.previous_champion, is_rollback=True)


@outside_transactions
@screen
def proposal(request: HttpRequest, name: str, number: int) -> HttpResponseBase:
    """Show what somebody proposed; on POST, approve it as the second person, or close it."""
    found, problem, who = _subject(request, name), "", person(request)
    row = Proposal.objects.filter(model=found.model, pk=number).select_related("model").first()
    if row is None:
        raise Http404
    if request.method == "POST":
        try:
            return _decided(request, row, who)
        except errors.PermissionDenied as refusal:
            raise PermissionDenied(_("You may see this, but not decide it.")) from refusal
        except TrivetError as error:
            problem = error.message
            row.refresh_from_db()
    return show(request, "proposal", proposal_page(row, who, timezone.now(), problem=problem))


@require_GET
def file(_request: HttpRequest, fingerprint: str, name: str) -> HttpResponse:
    """Serve a file that pages load; public, as it holds nothing of this site."""
    found = asset(name)
    if found is None or found.fingerprint != fingerprint:
        raise Http404
    headers = {**HEADERS, "Cache-Control": FOR_EVER}
    return HttpResponse(found.content, content_type=found.content_type, headers=headers)


def _subject(request: HttpRequest, name: str) -> Subject:
    """Return the model, to those who may know of it; for others there is none."""
    if not can(request.user, "view", name):
        raise Http404
    return subject(name, request.GET.get("version"))


def _subject_to_move(request: HttpRequest, name: str) -> Subject:
    found = _subject(request, name)
    if request.method != "POST" and not can(request.user, "promote", name):  # else the action refuses, and records it
        raise PermissionDenied(_MAY_NOT_MOVE)
    return found


def _model_page(request: HttpRequest, shown: Subject, filled: TryIt | None) -> HttpResponseBase:
    user, name = request.user, shown.model.name
    viewer = Viewer(may_promote=can(user, "promote", name), sees_predictions=can(user, "view_predictions", name))
    page = model_page(
        shown,
        filled,
        now=timezone.now(),
        base_url=_base_url(request),
        viewer=viewer,
    )
    return show(request, "model", page)


def _base_url(request: HttpRequest) -> str:
    """Return the address before `/v2`, as callers write it."""
    site = conf.PUBLIC_URL() or request.build_absolute_uri("/").rstrip("/")
    return site + conf.PREFIX().rstrip("/")


def _fresh_form(request: HttpRequest, shown: Subject) -> TryIt | None:
    if not can(request.user, "predict", shown.model.name):
        return None
    row = request.GET.get("row", "0")
    return fresh_form(shown, int(row) if row.isascii() and row.isdigit() and len(row) < 6 else 0)


def _asked(request: HttpRequest, shown: Subject) -> TryIt | None:
    """Return the form with the model's answer to what was posted, or with what is wrong with it."""
    signature = shown.signature
    if signature is None or not form.can_be_filled_in(signature):
        raise Http404
    values = form.posted(signature, request.POST)
    row, errors = form.read(signature, values)
    answer: Answer | None = None
    problem = in_short(len(errors)) if errors else ""
    if not errors:
        try:
            prediction = predict(shown.selector, row, user=request.user)
        except TrivetError as error:
            found = explained(error, shown.model.name)
            errors, problem = dict(found.by_field), found.summary
        else:
            answer = shown_answer(prediction, _signature_of(shown, prediction.version))
    return filled_form(shown, values, errors, answer=answer, problem=problem)


def _signature_of(shown: Subject, number: int) -> Any:
    """Return the signature of the version that answered, which under a split need not be the one that is shown."""
    if shown.version is not None and shown.version.number == number:
        return shown.signature
    return ModelVersion.objects.get(model=shown.model, number=number).read_signature()


def _move(request: HttpRequest, found: Subject, number: int, *, is_rollback: bool) -> HttpResponseBase:
    """Show before and after and ask; on POST move the traffic, unless somebody did since the page was shown."""
    name, problem = found.model.name, ""
    reason = request.POST.get("reason", "").replace("\0", "")  # which PostgreSQL cannot store
    if request.method == "POST":
        move = Move(name, number, reason, _generation(request), person(request))
        try:
            event = _roll_back(move) if is_rollback else _promote(move)
        except errors.PermissionDenied as refusal:
            raise PermissionDenied(_MAY_NOT_MOVE) from refusal
        except errors.ApprovalNeeded as waits:
            return redirect("trivet:proposal", name, waits.proposal)
        except TrivetError as error:
            found.model.refresh_from_db()
            problem = error.message
        else:
            _tell(request, move, wait_for_workers(event.generation))
            return redirect("trivet:model", name)
    page = move_page(found.model, number, is_rollback=is_rollback, reason=reason, problem=problem)
    return show(request, "move", page)


def _decided(request: HttpRequest, row: Proposal, who: AbstractBaseUser) -> HttpResponseBase:
    """Approve or close the proposal, and go back to the model, which says what came of it."""
    reason = request.POST.get("reason", "").replace("\0", "")
    decision = request.POST.get("decision")
    if decision not in DECISIONS:
        raise errors.Refused(f"decide {' or '.join(DECISIONS)}, not {errors.quoted(decision or '')}.")
    if decision == "approve":
        event = actions.approve(proposal=row.pk, actor=who, reason=reason)
        move = Move(row.model.name, event.version or row.pk, reason, event.generation, who)
        reached = wait_for_workers(event.generation)
        sentence = _("Proposal %(number)s is approved.") % {"number": row.pk}
        if event.version is not None and event.action == "promote":
            sentence = moved(move, reached)
        level = messages.WARNING if reached.behind else messages.SUCCESS
        messages.add_message(request, level, sentence, fail_silently=True)
    else:
        closed = actions.decline(proposal=row.pk, actor=who, reason=reason)
        values = {"number": row.pk, "state": closed.get_state_display()}
        messages.add_message(
            request, messages.SUCCESS, _("Proposal %(number)s is %(state)s.") % values, fail_silently=True
        )
    return redirect("trivet:model", row.model.name)


def _tell(request: HttpRequest, move: Move, reached: Acknowledgement) -> None:
    """Say on the next page what was reached; a site without Django's messages reads it from the page itself."""
    level = messages.WARNING if reached.behind else messages.SUCCESS
    messages.add_message(request, level, moved(move, reached), fail_silently=True)


def _generation(request: HttpRequest) -> int:
    text = request.POST.get("generation", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def _promote(move: Move) -> Event:
    return actions.promote(
        model=move.model,
        version=move.number,
        actor=move.actor,
        reason=move.reason,
        expected_generation=move.seen_generation,
    )


def _roll_back(move: Move) -> Event:
    return actions.roll_back(
        model=move.model,
        to=move.number,
        actor=move.actor,
        reason=move.reason,
        expected_generation=move.seen_generation,
    )
