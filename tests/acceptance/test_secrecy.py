"""D13: whoever searches all that is kept and told for an API key finds its id, and not its secret.

H61: nor does anybody find the inside of the server, or another's name, in anything that they are told.
"""

from __future__ import annotations

import itertools
import json
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import grpc
import pytest

from tests.acceptance import bodies as strange_bodies, framing
from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, clean_environment, free_port, serving, trivet
from tests.acceptance.test_access import MAKE, Place, bodies, body_of, site_paths, table, variants
from tests.acceptance.test_framing import page, prediction
from tests.acceptance.test_mutated_requests import COLUMNS, OUTPUTS, SEED, rows
from tests.acceptance.wire import Wire
from tests.scale import scaled
from tests.unit.dataplane.inside import Recorder
from tests.unit.dataplane.json_corpus import no_json
from tests.unit.dataplane.mutations import Mutator, good_bodies
from tests.unit.dataplane.test_exchange import BAD_BODIES
from tests.unit.dataplane.test_hostile_requests import NAMES, RESERVED
from trivet.dataplane.frontends.grpc import servicer

SECRET_LENGTH = 43  # characters of a key between its id and its check part
PATHS = (
    "/v2/models/churn/infer",
    "/v2/models/nothing/infer",
    "/v2/models/churn",
    "/v2",
    "/metrics",
    "/nothing",
    "/login/",
)


@pytest.mark.slow
def test_D13_the_key_of_requests_answered_and_refused_is_found_nowhere(churn: Churn):
    secret = churn.key.split("_")[2][:SECRET_LENGTH].encode()
    with serving(churn.project, TRIVET_ACCESS_LOG="true", LOG_LEVEL="DEBUG") as server:
        told = [answer for key in (churn.key, churn.key[:-1], f"{churn.key}x") for answer in asked(server, churn, key)]
        lines = [command(pid) for pid in (server.process.pid, *server.children())]
        kept = list(files(churn.project))
        assert server.stop() == 0
    trivet("keeper", "--once", project=churn.project)
    kept += files(churn.project)
    listed = [trivet(*words, project=churn.project).stdout for words in (["keys", "list", "--json"], ["show", "churn"])]
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        dump = "\n".join(database.iterdump()).encode()
    for place in (*told, *lines, *kept, *(text.encode() for text in listed), dump, "".join(server.lines).encode()):
        assert secret not in place
    assert churn.key.split("_")[1].encode() in dump, "its id may be known, and is how the search shows that it looks"


def asked(server: Server, churn: Churn, key: str) -> Iterator[bytes]:
    """Ask every path with `key`, in each place that a key may stand in; yield all that is told."""
    for path in PATHS:
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-Api-Key": key}, {"Api-Key": key}):
            body = churn.body if path.endswith("/infer") else None
            request = urllib.request.Request(f"{server.url}{path}", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as response:
                    yield response.read() + str(response.headers).encode()
            except urllib.error.HTTPError as refusal:
                yield refusal.read() + str(refusal.headers).encode()


def command(pid: int) -> bytes:
    """Return what `ps` would show of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def files(project: Path) -> Iterator[bytes]:
    """Yield every file of the project as it is now."""
    for path in project.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


# --- H61: nothing of the inside in anything that anybody is told ---------------------------------------------------------

HIDDEN = ("quokka", "zanzibar", "wombat", "numbat", "dugong")  # a model, a key of its owner, the owner, and two others
KEYS = {
    "nobody": None,
    "numbat": {"churn": ["predict"]},
    "dugong": {"churn": ["promote"]},
    "zanzibar": {"quokka": ["view", "predict", "promote"]},
}
PEOPLE = {
    "wombat": ((), False, False),
    "viewer": (("view_registeredmodel", "view_predictions", "predict"), False, False),
}
PEOPLE["root"] = ((), True, True)
DEBUGGING = "from trivet.server.settings import *\n\nDEBUG = True\n"
MUTATED = scaled(test=200, ci=1_000, full=5_000)
LARGEST = 200_000  # bytes of a body that is sent here: the others have tests of their own
STRANGE = (
    *("/v2/models/quokk", "/v2/models/quoka/infer", "/v2/models/chrn/infer", "/v2/models/churn/versions/9/infer"),
    *("/v1/models/quokk:predict", "/v2/models/churn/infr", "/v2/repository/models/quokk/load", "/v2/models/%ff"),
    *("/metrics?a=%00", "/v2?x=%ff", "/v2/models/churn/openapi.json?a='--", "/v2/models/churn/versions/99999999999"),
)
PAGES = (
    *(
        "/?q='%22",
        "/login/?next=//elsewhere",
        "/login/?next=%00",
        "/models/quokk/",
        "/models/%00/",
        "/models/churn/?v=x",
    ),
    *("/models/churn/?version='--", "/models/churn/promote/999999999999/", "/assets/x/..%2f..%2fsettings.py", "/%ff"),
    *("/admin/trivet/event/?o=x", "/admin/trivet/event/?model__x=1", "/admin/trivet/event/?q=%00", "/static/%00"),
    *("/admin/trivet/event/999/change/", "/admin/jsi18n/?x='", "/admin/r/1/1/", "/static/../manage.py", "/manage.py"),
)


@pytest.fixture(params=[False, True], ids=["as it is", "with DEBUG"])
def place(request: pytest.FixtureRequest, churn: Churn) -> Iterator[tuple[Place, bool]]:
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", MAKE.replace('"other"', '"quokka"')],
        cwd=churn.project,
        env=clean_environment(),
        input=json.dumps([KEYS, PEOPLE]),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.partition("MADE")[2])
    environment = {}
    if request.param:
        (churn.project / "debugging.py").write_text(DEBUGGING)
        environment["DJANGO_SETTINGS_MODULE"] = "debugging"
    bind = f"127.0.0.1:{free_port()}"
    with serving(churn.project, workers=1, grpc=bind, **environment) as server:
        yield (
            Place(server, bind, replace(churn, key=made["keys"]["numbat"]), made["keys"], made["people"]),
            request.param,
        )


@pytest.mark.slow
def test_H61_nobody_is_told_anything_of_the_inside_whatever_they_ask(place: tuple[Place, bool]):
    here, is_debugging = place
    recorder = Recorder()
    ask_paths(here, recorder)
    ask_bodies(here, recorder)
    ask_frames(here, recorder, pages=not is_debugging)
    call_rpcs(here, recorder)
    if not is_debugging:  # which is to see the inside of pages
        ask_pages(here, recorder)
    ids = [key.split("_")[1] for key in here.keys.values() if key]
    assert len(recorder.told) > 2_000
    assert {answer.content[9:10] for answer in recorder.told} >= {b"2", b"4"}
    known = {"zanzibar": ["quokka"], "wombat": ["wombat"], "viewer": [*HIDDEN, *ids], "root": [*HIDDEN, *ids]}
    assert recorder.found([*HIDDEN, *ids, str(here.churn.project)], known=known) == {}


@pytest.mark.slow
def test_H61_a_database_that_is_none_is_told_to_nobody(churn: Churn):
    recorder = Recorder()
    with serving(churn.project, workers=1) as server:
        here = Place(server, "", churn, {"numbat": churn.key}, {"somebody": "a" * 32})
        database = churn.project / "db.sqlite3"
        for path in churn.project.glob("db.sqlite3*"):
            path.unlink()
        database.write_bytes(b"this is no database\n" * 400)
        ask_paths(here, recorder)
        ask_pages(here, recorder)
    assert recorder.found([*HIDDEN, str(churn.project)]) == {}
    assert any(b"500" in answer.content[:14] for answer in recorder.told), "pages have no database"


def tell(recorder: Recorder, here: Place, who: str, sent: bytes) -> None:
    """Send a request as bytes; keep every byte that comes back."""
    received = b""
    with Wire(here.server) as wire, suppress(OSError):
        with suppress(OSError):
            wire.send(sent)
            wire.socket.shutdown(socket.SHUT_WR)
        while part := wire.socket.recv(1 << 16):
            received += part
    recorder.keep(who, sent, received)


def written(here: Place, method: str, path: str, who: str, body: bytes = b"", *lines: str) -> bytes:
    """Return the bytes of a request."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *lines]
    if here.keys.get(who):
        head.append(f"Authorization: Bearer {here.keys[who]}")
    elif who in here.sessions:
        head += [f"Cookie: csrftoken={'a' * 32}; sessionid={here.sessions[who]}", f"X-CSRFToken: {'a' * 32}"]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def ask_paths(here: Place, recorder: Recorder) -> None:
    """Ask every path that there is, and some that there are not, as everybody who has a key and as nobody."""
    given = bodies(here.churn.body, here.churn.rows[:1])
    paths = [(path, body_of(row.what, given)) for row in table("Paths with an API key") for path in variants(row)]
    for who in ("nobody", *here.keys):
        for path, body in [*paths, *((path, b"{}") for path in STRANGE)]:
            for method in ("GET", "POST", "PUT"):
                tell(recorder, here, who, written(here, method, path, who, body if method == "POST" else b""))


def ask_bodies(here: Place, recorder: Recorder) -> None:
    """Ask for predictions with what is no JSON, no request, no tensor, no encoding."""
    sent = [*no_json().values(), *(as_bytes(body) for body, *_ in BAD_BODIES.values())]
    good = json.loads(here.churn.body)
    sent += [json.dumps(good | {"outputs": [{"name": name[:300]}]}).encode() for name in NAMES]
    sent += [json.dumps(good | {"parameters": parameters}).encode() for parameters in RESERVED]
    for body in sent:
        for path in ("/v2/models/churn/infer", "/v2/models/churn/predict", "/v1/models/churn:predict"):
            tell(recorder, here, "numbat", written(here, "POST", path, "numbat", body))
    for asked in islice(Mutator(SEED, good_bodies(COLUMNS, rows, OUTPUTS, "churn")), MUTATED):
        lines = [f"{name}: {value}" for name, value in asked.headers.items()]
        tell(recorder, here, "numbat", written(here, "POST", "/v2/models/churn/infer", "numbat", asked.body, *lines))


def as_bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def ask_frames(here: Place, recorder: Recorder, *, pages: bool) -> None:
    """Send every doubtful frame and every strange body."""
    for target in (prediction(here.churn), *([page(here.churn)] if pages else [])):
        for family in (*framing.FAMILIES.values(), *strange_bodies.FAMILIES.values()):
            for case in family(target):
                if len(case.sent) < LARGEST and (pages or b"//elsewhere" not in case.sent):  # which is a page's address
                    tell(recorder, here, "numbat", case.sent)


def ask_pages(here: Place, recorder: Recorder) -> None:
    """Open every page, and some that there are not, as everybody; send forms that are none."""
    paths = [*(path for paths in site_paths().values() for path in paths), *PAGES]
    for who in ("nobody", *here.sessions):
        for path in paths:
            tell(recorder, here, who, written(here, "GET", path, who, b"", "Accept: text/html"))
            form = b"username=root&password=x&version=x&%00=%ff&percent=\xff"
            kind = "Content-Type: application/x-www-form-urlencoded"
            if "logout" not in path:
                tell(recorder, here, who, written(here, "POST", path, who, form, kind))


def call_rpcs(here: Place, recorder: Recorder) -> None:
    """Call every RPC, and one that there is not, as everybody, with what is a message and what is none."""
    names = [*(row.what for row in table("gRPC")), "TraceSetting"]
    with grpc.insecure_channel(here.grpc) as channel:
        for name, who, message in itertools.product(names, ("nobody", *KEYS), MESSAGES):
            key = here.keys.get(who)
            service = servicer.HEALTH_SERVICE if name.startswith("Health/") else servicer.INFERENCE_SERVICE
            call = channel.stream_stream(f"/{service}/{name.removeprefix('Health/')}")(
                iter([message]), timeout=20, metadata=[("authorization", f"Bearer {key}")] if key else []
            )
            parts = []
            with suppress(grpc.RpcError):
                for part in call:
                    parts.append(part)
                    if name.endswith("Watch"):
                        call.cancel()
            trailing = [part for pair in call.trailing_metadata() or () for part in pair]
            told = [call.details() or "", *trailing, *(text for pair in call.initial_metadata() for text in pair)]
            content = b" ".join([*parts, *(text if isinstance(text, bytes) else text.encode() for text in told)])
            recorder.keep(who, message, b"gRPC     " + (b"4 " if call.code().value[0] else b"2 ") + content)


MESSAGES = (
    b"",
    b"\xff" * 40,  # no message
    b"\x0a\x05churn",  # a name, or a model's
    b"\x0a\x05quokk",
    b"\x12\x05churn",
    b"\x0a\x05churn\x12\x019",
    b"\x0a\x05churn\x1a\x03a b",
    b"\x0a\x05churn\x2a\x08\x0a\x06tenure",
)
