"""The console's doors to the prediction log and to what turned out true: each parses, calls one thing, and presents it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from trivet.console.labels_page import labels_page, refused_csv, upload_of
from trivet.console.prediction_page import Looker, prediction_page, signature_of, truth_in
from trivet.console.prediction_rows import label_words
from trivet.console.predictions_page import predictions_page
from trivet.console.screens import outside_transactions, person, screen, show
from trivet.console.subject import Subject, subject_seen_by
from trivet.control.predictions.labelling import Labelled
from trivet.control.predictions.models import Prediction
from trivet.control.predictions.models.labels import SOURCE_LENGTH
from trivet.control.registry.actions.permission import permitted
from trivet.control.registry.models import RegisteredModel
from trivet.control.registry.permissions import can, models_open_to
from trivet.core import errors
from trivet.core.errors import TrivetError
from trivet.core.ids import split_row_id
from trivet.serving.label_files import LabelledFile, label_file
from trivet.serving.labels import label_many, said_of

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

MODELS_OFFERED = 500
_MAY_NOT_READ = gettext_lazy("You may see this model, but not what it was asked and answered.")
_MAY_NOT_LABEL = gettext_lazy("You may see this, but not say what turned out true.")


@screen
@require_safe
def predictions(request: HttpRequest) -> HttpResponseBase:
    """Look for predictions of the model in `?model=`, else of the first whose log this person may read.

    An id of a prediction, alone or among other conditions, leads to its page.
    """
    known = models_open_to(request.user, "view_predictions")
    models = RegisteredModel.objects.order_by("name").values_list("name", flat=True)
    names = list((models if known is None else models.filter(name__in=known))[:MODELS_OFFERED])
    if not names and not request.GET.get("model"):
        if known is None:
            return redirect("trivet:overview")  # which says how to begin
        raise PermissionDenied(_("You may not read the log of any model."))
    shown = _subject_to_read(request, request.GET.get("model") or names[0])
    wanted = request.GET.get("prediction", "").strip().lower()
    if split_row_id(wanted):
        return redirect("trivet:prediction", wanted)
    return show(request, "predictions", predictions_page(shown, request.GET, names, timezone.now()))


@outside_transactions
@screen
def prediction(request: HttpRequest, identity: str) -> HttpResponseBase:
    """Show one prediction; on POST, keep what somebody says it came true as."""
    found = _prediction(identity)
    if found is None:
        raise Http404
    shown, problem, said = _subject_to_read(request, found.model), "", ""
    if request.method == "POST":
        who, said = _labeller(request, found.model), request.POST.get("truth", "").strip()
        try:
            sentence = _labelled(found, shown, said, who)
        except TrivetError as error:
            problem = error.message
        else:
            messages.add_message(request, messages.SUCCESS, sentence, fail_silently=True)
            return redirect("trivet:prediction", found.public_id)
    user, name = request.user, found.model
    looker = Looker(sees_inputs=can(user, "view_inputs", name), may_label=can(user, "label", name))
    page = prediction_page(found, shown, looker, timezone.now(), said=said, problem=problem)
    return show(request, "prediction", page)


@outside_transactions
@screen
def labels(request: HttpRequest, name: str) -> HttpResponseBase:
    """Show what is known of the labels of a model; on POST, apply those of an uploaded file, all of it or nothing."""
    shown, problem, user = subject_seen_by(request.user, name), "", request.user
    done: LabelledFile | None = None
    if request.method == "POST":
        who = _labeller(request, name)
        try:
            done = label_file(upload_of(request.FILES), model=name, actor=who, source=_source(who))
        except TrivetError as error:
            problem = error.message
    page = labels_page(
        shown,
        timezone.now(),
        may_label=can(user, "label", name),
        sees_predictions=can(user, "view_predictions", name),
        done=done,
        problem=problem,
    )
    return show(request, "labels", page)


@screen
@require_POST
def refused_labels(request: HttpRequest, name: str) -> HttpResponseBase:
    """Give the lines that were refused as a file, which the page of an upload sends back: nothing of them is kept here."""
    subject_seen_by(request.user, name)
    _labeller(request, name)
    text = refused_csv(request.POST.get("lines", ""))
    headers = {"Content-Disposition": f'attachment; filename="refused-{quote(name)}.csv"'}
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)


def _subject_to_read(request: HttpRequest, name: str) -> Subject:
    """Return the model, to those who may read its log."""
    found = subject_seen_by(request.user, name)
    if not can(request.user, "view_predictions", name):
        raise PermissionDenied(_MAY_NOT_READ)
    return found


def _labeller(request: HttpRequest, name: str) -> AbstractBaseUser:
    """Return who is signed in, where they may label what the model answered; else it is on record that they wanted to."""
    who = person(request)
    try:
        permitted(who, "label", to="label", model=name)
    except errors.PermissionDenied as refusal:
        raise PermissionDenied(_MAY_NOT_LABEL) from refusal
    return who


def _prediction(identity: str) -> Prediction | None:
    """Return the answer that an id names; None for what is no id, and for one that the log has not."""
    named = split_row_id(identity)
    if named is None:
        return None
    return Prediction.objects.answers().filter(prediction_id=named[0], row=named[1]).first()


def _labelled(found: Prediction, shown: Subject, said: str, who: AbstractBaseUser) -> str:
    """Keep what somebody says a prediction came true as; return what became of it."""
    value = truth_in(said, signature_of(found, shown))
    (answer,) = label_many([said_of(found.public_id, value, source=_source(who))], actor=who, model=found.model)
    if not isinstance(answer, Labelled):
        raise answer
    values = {"value": label_words(answer.value), "revision": answer.revision}
    if not answer.is_new:
        return _("“%(value)s” was said before: nothing has changed.") % values
    if answer.revision > 1:
        return _("It turned out “%(value)s”. That is revision %(revision)s; the earlier ones are kept.") % values
    return _("It turned out “%(value)s”.") % values


def _source(who: AbstractBaseUser) -> str:
    return f"console:{who.get_username()}"[:SOURCE_LENGTH]
