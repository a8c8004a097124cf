"""The way into the admin of the ready-made server: by the console's login, so that there is one place to guess at."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _

from trivet.console.screens import guarded


@guarded
def admin_login(request: HttpRequest) -> HttpResponseBase:
    """Send somebody to sign in, and from there to the admin; who is signed in and may not enter it is told so."""
    if request.user.is_authenticated and not admin.site.has_permission(request):
        raise PermissionDenied(_("You are signed in, but not as somebody who may enter the admin."))
    return redirect_to_login(request.GET.get("next", reverse("admin:index")), reverse("trivet:login"))
