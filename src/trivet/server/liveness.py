"""The root of the ready-made server: the console for people, one word for KServe's probes."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from trivet.console import views

ALIVE = {"status": "alive"}


@require_safe
def root(request: HttpRequest) -> HttpResponseBase:
    """Return the console's overview to whoever accepts HTML, else KServe V1's liveness; that one needs no key."""
    if "text/html" in request.headers.get("Accept", ""):
        return views.overview(request)
    return JsonResponse(ALIVE, headers={"Cache-Control": "no-store", "Vary": "Accept"})
