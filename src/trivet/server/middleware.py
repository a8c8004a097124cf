"""The headers of every response of the ready-made server, whichever app it comes from: those of the console."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from trivet.console.headers import HEADERS

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def headers_middleware(get_response: GetResponse) -> GetResponse:
    """Return what answers as `get_response` does, with the headers it did not set itself."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return answer
