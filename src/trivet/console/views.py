"""The console's doors: each parses, calls one thing, and presents what it returns."""

from __future__ import annotations

from datetime import timedelta
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
from trivet.console.accept_page import accept_page
from trivet.console.alerts_page import ANSWERING, alert_page, alerts_page
from trivet.console.answer import Answer, explained, in_short, shown as shown_answer
from trivet.console.assets import asset
from trivet.console.drift_page import drift_page
from trivet.console.figures import moment
from trivet.console.headers import HEADERS
from trivet.console.login import Login
from trivet.console.model_page import Viewer, model_page
from trivet.console.move_page import Move, move_page, moved
from trivet.console.openapi_page import document_of, openapi_page
from trivet.console.overview import Overview, overview as overview_page
from trivet.console.performance_page import performance_page
from trivet.console.proposal_page import proposal_page
from trivet.console.screens import guarded, is_htmx, outside_transactions, person, screen, show
from trivet.console.subject import Subject, subject_seen_by
from trivet.console.try_it import TryIt, filled_form, fresh_form
from trivet.control.monitoring.accepting import MOST_DAYS, accept_as_normal
from trivet.control.monitoring.alerts import LONGEST_SNOOZE, acknowledge_alert, snooze_alert
from trivet.control.monitoring.models import Alert
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
_MAY_NOT_ANSWER = gettext_lazy("You may see this alert, but not answer it.")
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
def drift(request: HttpRequest, name: str) -> HttpResponseBase:
    """Show what a version is asked beside a reference, over `?window=` days, `?against=` what, `?charts=all` of it."""
    shown = _subject(request, name)
    page = drift_page(
        shown,
        days=request.GET.get("window", ""),
        against=request.GET.get("against", ""),
        every=request.GET.get("charts") == "all",
        now=timezone.now(),
        sees_inputs=can(request.user, "view_inputs", name),
    )
    return show(request, "drift", page)


@screen
@require_safe
def performance(request: HttpRequest, name: str) -> HttpResponseBase:
    """Show how right a version was and probably is, over `?period=` days, its confusion at `?threshold=`."""
    page = performance_page(
        _subject(request, name),
        days=request.GET.get("period", ""),
        threshold=request.GET.get("threshold", ""),
        now=timezone.now(),
        sees_inputs=can(request.user, "view_inputs", name),
    )
    return show(request, "performance", page)


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


@screen
@require_safe
def alerts(request: HttpRequest) -> HttpResponseBase:
    """Show the alerts of the models that this person may know of."""
    return show(request, "alerts", alerts_page(person(request), timezone.now()))


@outside_transactions
@screen
def alert(request: HttpRequest, number: int) -> HttpResponseBase:
    """Show one alert; on POST, acknowledge it, or have it tell nobody for some hours."""
    row, who, problem = _alert(number), person(request), ""
    if row is None or not can(who, "view", row.model.name):
        raise Http404
    reason = request.POST.get("reason", "").replace("\0", "")
    if request.method == "POST":
        try:
            sentence = _answered(request, number, who, reason)
        except errors.PermissionDenied as refusal:
            raise PermissionDenied(_MAY_NOT_ANSWER) from refusal
        except TrivetError as error:
            row, problem = _alert(number) or row, error.message
        else:
            messages.add_message(request, messages.SUCCESS, sentence, fail_silently=True)
            return redirect("trivet:alerts")
    return show(request, "alerts", alert_page(row, who, timezone.now(), problem=problem, reason=reason))


@outside_transactions
@screen
def accept(request: HttpRequest, number: int) -> HttpResponseBase:
    """Ask whether what a version was asked in its last days is normal now; on POST, make it the reference."""
    row, who, problem = _alert(number), person(request), ""
    if row is None or not can(who, "view", row.model.name):
        raise Http404
    days, reason = request.POST.get("days", ""), request.POST.get("reason", "").replace("\0", "")
    if request.method == "POST":
        try:
            found = accept_as_normal(alert=number, actor=who, days=_days(days), reason=reason)
        except errors.PermissionDenied as refusal:
            raise PermissionDenied(_MAY_NOT_ANSWER) from refusal
        except TrivetError as error:
            problem = error.message
        else:
            told = _("What %(model)s was asked is what is normal now.") % {"model": found.model.name}
            messages.add_message(request, messages.SUCCESS, told, fail_silently=True)
            return redirect("trivet:alerts")
    elif not any(can(who, verb, row.model.name) for verb in ANSWERING):
        raise PermissionDenied(_MAY_NOT_ANSWER)
    page = accept_page(row, timezone.now(), days=days, reason=reason, problem=problem)
    return show(request, "accept", page)


@require_GET
def file(_request: HttpRequest, fingerprint: str, name: str) -> HttpResponse:
    """Serve a file that pages load; public, as it holds nothing of this site."""
    found = asset(name)
    if found is None or found.fingerprint != fingerprint:
        raise Http404
    headers = {**HEADERS, "Cache-Control": FOR_EVER}
    return HttpResponse(found.content, content_type=found.content_type, headers=headers)


def _subject(request: HttpRequest, name: str) -> Subject:
    """Return the model, to those who may know of it, through the version in the address."""
    return subject_seen_by(request.user, name, request.GET.get("version"))


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
            _tell(request, move, wait_for_workers(event.generation, event.model))
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
        reached = wait_for_workers(event.generation, event.model)
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


def _alert(number: int) -> Alert | None:
    return Alert.objects.filter(pk=number).select_related("model", "version").first()


def _days(typed: str) -> int:
    if not (typed.isascii() and typed.isdigit() and len(typed) < 4):
        raise errors.Refused(f"accept 1 to {MOST_DAYS} days as normal, not {errors.quoted(typed)}.")
    return int(typed)


def _answered(request: HttpRequest, number: int, who: AbstractBaseUser, reason: str) -> str:
    """Do with an alert what was chosen; return what was done."""
    decision, hours = request.POST.get("decision"), request.POST.get("hours", "")
    if decision == "acknowledge":
        found = acknowledge_alert(alert=number, actor=who, reason=reason)
        return _("You look after the alert of %(model)s.") % {"model": found.model.name}
    if decision != "snooze":
        raise errors.Refused(f"acknowledge or snooze, not {errors.quoted(decision or '')}.")
    longest = LONGEST_SNOOZE // timedelta(hours=1)
    if not (hours.isascii() and hours.isdigit() and len(hours) < 5 and 0 < int(hours) <= longest):
        raise errors.Refused(f"snooze for 1 to {longest} hours, not {errors.quoted(hours)}.")
    until = timezone.now() + timedelta(hours=int(hours))
    found = snooze_alert(alert=number, until=until, actor=who, reason=reason)
    return _("Nobody is told of the alert of %(model)s until %(moment)s.") % {
        "model": found.model.name,
        "moment": moment(until, timezone.now()).exact,
    }


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
