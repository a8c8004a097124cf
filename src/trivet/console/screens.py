"""What every screen has: a person who is signed in, the console's headers, the frame around the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import global_settings, settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect

import trivet
from trivet.console.assets import HTMX, asset
from trivet.console.headers import guard

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

View = Callable[..., HttpResponseBase]


@dataclass(frozen=True)
class Shell:
    """What the frame around every page shows and loads."""

    username: str
    release: str
    home: str
    style: str
    script: str
    icon: str
    htmx: str  # address of htmx; empty where django-htmx is not installed


def guarded(view: View) -> View:
    """Return `view` with the console's headers, and with its own pages for "not found" and "not allowed".

    What changes something needs the token of a form, on a site without Django's middleware for that too.
    """
    protected = csrf_protect(view)

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = protected(request, *args, **kwargs)
        except Http404:
            response = _refusal(request, 404, _("Not found"), _("There is no such page, or none that you may see."))
        except PermissionDenied as reason:
            response = _refusal(request, 403, _("Not allowed"), str(reason) or _("You may look, but not do this."))
        guard(response)
        return response

    return answer


def screen(view: View) -> View:
    """Return `view` for people who are signed in; others are sent to the login."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if is_htmx(request):
            return _to_login_as_a_whole(request)
        return redirect_to_login(request.get_full_path(), login_url())

    return guarded(answer)


def outside_transactions(view: View) -> View:
    """Return `view` without the transaction that ATOMIC_REQUESTS puts around a request.

    What it changes commits at once: workers, for whom it then waits, see nothing before. It must be the outermost one.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


def is_htmx(request: HttpRequest) -> bool:
    """True for a request of htmx, which takes a part of a page."""
    return request.headers.get("HX-Request") == "true"


def person(request: HttpRequest) -> AbstractBaseUser:
    """Return who is signed in, as the one who acts; a screen has nobody else."""
    if not request.user.is_authenticated:
        raise PermissionDenied
    return request.user


def login_url() -> str:
    """Return the site's own login where its settings name one, else the console's."""
    is_chosen = settings.LOGIN_URL != global_settings.LOGIN_URL
    return str(settings.LOGIN_URL) if is_chosen else reverse("trivet:login")


def shell(request: HttpRequest) -> Shell:
    """Return the frame for whoever asks."""
    return Shell(
        username=request.user.get_username() if request.user.is_authenticated else "",
        release=trivet.__version__,
        home=reverse("trivet:overview"),
        style=_address("console.css"),
        script=_address("console.js"),
        icon=_address("trivet.svg"),
        htmx=_address(HTMX),
    )


def _address(name: str) -> str:
    found = asset(name)
    return reverse("trivet:asset", args=[found.fingerprint, name]) if found else ""


def show(request: HttpRequest, template: str, page: Any, *, status: int = 200) -> HttpResponseBase:
    """Return the page made of `template` and the dataclass `page`."""
    return render(request, f"trivet/console/{template}.html", {"shell": shell(request), "page": page}, status=status)


def _to_login_as_a_whole(request: HttpRequest) -> HttpResponseBase:
    """Return what makes htmx leave the page for the login, and come back to it: a part of a page cannot be a login."""
    page = urlsplit(request.headers.get("HX-Current-URL", "")).path or reverse("trivet:overview")
    return HttpResponse(headers={"HX-Redirect": redirect_to_login(page, login_url()).url})


@dataclass(frozen=True)
class Refusal:
    """Why there is no page."""

    title: str
    sentence: str


def _refusal(request: HttpRequest, status: int, title: str, sentence: str) -> HttpResponseBase:
    return show(request, "refusal", Refusal(title, sentence), status=status)
