"""The prediction paths as Django URLs: `path("", include("trivet.serving.urls"))`, for a site under any server.

They run inside Django's middleware, so they are the slowest of the doors; `trivet.serving.asgi` is the fastest.
"""

from __future__ import annotations

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from trivet.dataplane.frontends import wsgi
from trivet.serving.process import this_process


@csrf_exempt  # a key decides, never a cookie
def prediction_path(request: HttpRequest, rest: str = "") -> HttpResponseBase:  # noqa: ARG001  (the path is read whole)
    """Answer one request on a prediction path, reading the body itself so that Trivet's bounds hold, not Django's."""
    written = {name: request.META[name].encode().decode("latin-1") for name in ("SCRIPT_NAME", "PATH_INFO")}
    environ = {**request.META, **written, "wsgi.input": request}  # Django has put decoded paths in place of WSGI's own
    answer = wsgi.respond(this_process().plane, environ)
    response = HttpResponse(answer.body, status=answer.status)
    del response.headers["Content-Type"]
    for name, value in answer.headers:
        response.headers[name.decode("latin-1")] = value.decode("latin-1")
    return response


for _alias in connections:  # a change waits for workers, who see nothing of a transaction around the request
    prediction_path = transaction.non_atomic_requests(_alias)(prediction_path)

urlpatterns = [
    path("metrics", prediction_path),
    path("v2", prediction_path),
    path("v2/", prediction_path),
    path("v2/<path:rest>", prediction_path),
    path("v1/models", prediction_path),
    path("v1/models/", prediction_path),
    path("v1/models/<path:rest>", prediction_path),
]
