"""The console's login: who signs in, where that leads, and how often it may be tried."""

from __future__ import annotations

import hashlib
import math
import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth import views as auth
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import ngettext

from trivet import conf
from trivet.console.login_tries import Tries, counts_of, folded
from trivet.console.screens import shell

FILE_NAME = "tries"
BROWSER_COOKIE = "trivet_browser"
BROWSER_SECONDS = 400 * 24 * 3600  # as long as browsers keep a cookie


class Login(auth.LoginView):
    """The console's own login page; whoever is signed in already goes on to the overview."""

    template_name = "trivet/console/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign in, unless this was tried too often: then the password is not looked at."""
        name = request.POST.get("username", "")
        browser = _known_browser(request, name)
        counts = counts_of(address=request.META.get("REMOTE_ADDR", ""), name=name, browser=browser)
        tries = _tries()
        if wait := tries.take(counts):
            return self._not_now(name, math.ceil(wait))
        response = super().post(request, *args, **kwargs)
        if request.user.is_authenticated:
            tries.give_back(counts)
            if browser is None:
                _make_known(response, name)
        return response

    def get_default_redirect_url(self) -> str:
        """Return the overview, whatever the site's own login leads to."""
        return reverse("trivet:overview")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the frame around the page."""
        return super().get_context_data(shell=shell(self.request), **kwargs)

    def _not_now(self, name: str, seconds: int) -> HttpResponse:
        form = self.get_form_class()(self.request, initial={"username": name})  # not bound: that would try
        told = ngettext(
            "That was tried too often. Try again in %(seconds)s second.",
            "That was tried too often. Try again in %(seconds)s seconds.",
            seconds,
        )
        context = self.get_context_data(form=form, problem=told % {"seconds": seconds})
        return self.render_to_response(context, status=429, headers={"Retry-After": str(seconds)})


def _tries() -> Tries:
    key = hashlib.blake2b(str(settings.SECRET_KEY).encode(), digest_size=32, person=b"trivet tries").digest()
    return Tries(conf.HOME() / FILE_NAME, key)


def _known_browser(request: HttpRequest, name: str) -> str | None:
    """Return the id of a browser that has signed in to `name` before; None for any other."""
    said = request.get_signed_cookie(BROWSER_COOKIE, "", salt=BROWSER_COOKIE, max_age=BROWSER_SECONDS) or ""
    whose, _, browser = said.partition(":")
    return browser if whose == _digest(name) else None


def _make_known(response: HttpResponse, name: str) -> None:
    response.set_signed_cookie(
        BROWSER_COOKIE,
        f"{_digest(name)}:{secrets.token_hex(8)}",
        salt=BROWSER_COOKIE,
        max_age=BROWSER_SECONDS,
        path=reverse("trivet:login"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _digest(name: str) -> str:
    return hashlib.sha256(folded(name).encode("utf-8", "surrogatepass")).hexdigest()
