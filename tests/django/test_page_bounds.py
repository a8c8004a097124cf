"""Pages behind the front door: a body over TRIVET_MAX_BODY_MB is 413 before Django sees it, one of just that size is Django's.

Each mount that may stand before Django is asked: the protocol of `trivet web`, ASGI before Django's WSGI handler and before
its ASGI handler, and WSGI. `trivet.serving.urls` stands behind Django, so the pages beside it have no bound of ours.
"""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.asgi import get_asgi_application
from django.core.signals import request_started
from django.core.wsgi import get_wsgi_application

from tests.unit.dataplane.mounts import MOUNTS, by_uvicorn
from tests.unit.dataplane.world import World
from trivet.conf import MIB
from trivet.serving import asgi, wsgi

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("trivet.server.urls")]

PIECE = 64 * 1024
PAGES = ("/login/", "/models/churn/try/", "/models/churn/promote/1/", "/admin/login/")
FORM = {b"host": b"testserver", b"content-type": b"application/x-www-form-urlencoded"}


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


Mount = Callable[[str, bytes, bool], Answer]
"""Post a body to a page; as chunks of no length that is told, where it says so."""


def by_connection(folder: Path) -> Mount:
    plane = World(folder).plane

    def post(path: str, body: bytes, is_chunked: bool) -> Answer:
        headers, sent = (FORM | {b"transfer-encoding": b"chunked"}, chunked(body)) if is_chunked else declared(body)
        response = by_uvicorn(plane, "POST", path, headers, sent, site=get_wsgi_application())
        return Answer(response.status, dict(response.headers), response.body)

    return post


def declared(body: bytes) -> tuple[dict[bytes, bytes], bytes]:
    return FORM | {b"content-length": b"%d" % len(body)}, body


def pieces(body: bytes) -> Iterator[bytes]:
    yield from (body[at : at + PIECE] for at in range(0, len(body), PIECE))


def chunked(body: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body)) + b"0\r\n\r\n"


def by_asgi(get_application: Callable[[], Any], path: str, body: bytes, is_chunked: bool) -> Answer:
    left, sent = list(pieces(body)), []

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(60)  # who waits for the client to leave waits as long as it likes
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list((FORM if is_chunked else declared(body)[0]).items()),
    }
    asyncio.run(asgi.in_front_of(get_application())(scope, receive, send))
    content = b"".join(message.get("body", b"") for message in sent)
    return Answer(sent[0]["status"], dict(sent[0]["headers"]), content)


def by_wsgi(path: str, body: bytes, is_chunked: bool) -> Answer:
    assert not is_chunked, "of what has no length Django reads nothing"
    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "HTTP_HOST": "testserver",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
    }
    content = wsgi.in_front_of(get_wsgi_application())(environ, lambda *arguments: started.append(arguments))
    ((status, headers),) = started
    fields = {name.lower().encode(): value.encode() for name, value in headers}
    return Answer(int(status.split()[0]), fields, b"".join(content))


@pytest.fixture
def mount(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Mount:
    settings.TRIVET_MAX_BODY_MB = 1
    mounts: dict[str, Mount] = {
        "connection": by_connection(tmp_path),
        "asgi before wsgi": partial(by_asgi, get_wsgi_application),
        "asgi before asgi": partial(by_asgi, get_asgi_application),
        "wsgi": by_wsgi,
    }
    return mounts[request.param]


@pytest.fixture
def seen() -> Iterator[list[str]]:
    """Return a list to which Django adds each request that it begins to answer."""
    told: list[str] = []

    def note(**about: Any) -> None:
        scope = about.get("scope") or about["environ"]
        told.append(scope.get("path") or scope["PATH_INFO"])

    request_started.connect(note, weak=False)
    yield told
    request_started.disconnect(note)


@pytest.mark.parametrize(
    ("mount", "is_chunked"),
    [
        ("connection", False),
        ("connection", True),
        ("asgi before wsgi", False),
        ("asgi before wsgi", True),
        ("asgi before asgi", False),
        ("asgi before asgi", True),
        ("wsgi", False),
    ],
    indirect=["mount"],
)
@pytest.mark.parametrize("by", [-1, 0, 1])
def test_pages_a_body_over_the_bound_is_413_before_django_sees_it_and_one_within_is_djangos(
    mount: Mount, seen: list[str], by: int, is_chunked: bool
):
    body = b"name=".ljust(MIB + by, b"a")
    for path in PAGES:
        del seen[:]
        answer = mount(path, body, is_chunked)
        if by <= 0:
            assert seen == [path]
            assert (answer.status, answer.headers.get(b"trivet-error")) == (403, None), "no page takes a forged form"
            continue
        assert seen == []
        assert (answer.status, answer.headers[b"trivet-error"]) == (413, b"BODY_TOO_LARGE")
        assert json.loads(answer.body) == {"error": f"the body is over {MIB} bytes (TRIVET_MAX_BODY_MB)."}


def test_pages_what_is_over_the_bound_is_not_kept_in_a_file_on_the_way(settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.TRIVET_MAX_BODY_MB, settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1, 1024
    files = []

    class Spooled(tempfile.SpooledTemporaryFile[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.size = 0
            files.append(self)

        def write(self, data: Any) -> int:
            self.size += len(data)
            return super().write(data)

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Spooled)
    assert by_asgi(get_asgi_application, "/login/", b"a" * 3 * MIB, True).status == 413
    (kept,) = files
    assert kept.size <= MIB
    assert kept.closed


def test_pages_an_asgi_site_that_answers_before_the_body_has_come_gets_no_second_answer(settings: Any):
    settings.TRIVET_MAX_BODY_MB = 1

    async def hasty(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"to nobody"})
        raise RuntimeError("it takes it badly")

    assert by_asgi(lambda: hasty, "/", b"a" * 2 * MIB, True) == Answer(200, {}, b"")


@pytest.mark.parametrize("by", [-1, 0, 1])
@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/models/churn/load"])
@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS)
def test_management_a_body_over_the_bound_is_413_by_every_mount(tmp_path: Path, mount: Any, path: str, by: int):
    world = World(tmp_path)
    most = world.plane.limits.max_body_bytes
    headers = {b"host": b"localhost", b"x-api-key": world.key.encode(), b"content-length": b"%d" % (most + by)}
    response = mount(world.plane, "POST", path, headers, b"{}".ljust(most + by))
    expected = 413 if by > 0 else 200 if path.endswith("index") else 403  # a key that may predict loads nothing
    assert response.status == expected, response.body
