"""The front door under WSGI: the same paths, the same answers, in the server's own threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trivet import conf
from trivet.core.errors import TrivetError
from trivet.dataplane.frontends import wsgi
from trivet.dataplane.frontends.headers import check_length
from trivet.dataplane.frontends.paths import is_prediction_path
from trivet.dataplane.plane import Plane
from trivet.serving.bounded import refusal

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def in_front_of(application: WsgiApplication) -> WsgiApplication:
    """Return a WSGI application that answers the prediction paths and hands everything else to `application`.

    Put it in `wsgi.py`: `application = in_front_of(get_wsgi_application())`.
    """
    most = conf.MAX_BODY_MB() * conf.MIB
    prefix = conf.PREFIX().encode().decode("latin-1")  # as PEP 3333 has paths, be they UTF-8 or not

    def front_door(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        if is_prediction_path(path, prefix):
            return wsgi.answer(_plane(), environ, start_response)
        try:
            check_length(wsgi.request_headers(environ), most)  # where none is declared, Django reads none
        except TrivetError as error:
            return wsgi.send(refusal(error), start_response)
        return application(environ, start_response)

    return front_door


def _plane() -> Plane:
    from trivet.serving.process import this_process  # a `wsgi.py` imports this module before it sets Django up

    return this_process().plane
