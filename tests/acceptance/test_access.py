"""Who may call what: `docs/reference/access.md`, walked on a real server and on every mount, and nothing beside it."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, clean_environment, copy_project, free_port, serving
from tests.scale import scaled
from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.world import GOOD_ROW, World, infer_body
from trivet.dataplane.frontends import paths
from trivet.dataplane.frontends.grpc import servicer
from trivet.dataplane.frontends.grpc.descriptor import health, inference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "access.md"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")[: scaled(test=1, ci=4, full=4)]
NO_SUCH_OBJECT = "999999"
KEYS = {
    "nobody": None,
    "bad key": None,
    "other": {"other": ["view", "predict", "explain", "label", "promote"]},
    "view": {"churn": ["view"]},
    "predict": {"churn": ["predict"]},
    "promote": {"churn": ["promote"]},
    "view on all": {"*": ["view"]},
}
PEOPLE = {  # permissions; whether staff, whether superuser
    "user": ((), False, False),
    "viewer": (("view_registeredmodel", "view_predictions"), False, False),
    "mover": (("view_registeredmodel", "view_predictions", "predict", "promote"), False, False),
    "staff": ((), True, False),
    "superuser": ((), True, True),
}
BAD_KEY = "trivet_aaaaaaaa_" + "b" * 49
MAKE = """
import json, sys
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from trivet.control.registry import actions
from trivet.control.registry.models import ModelVersion
from trivet.control.registry.storage import fetch_bundle

keys, people = json.loads(sys.stdin.read())
bundle = fetch_bundle(ModelVersion.objects.get(model__name="churn", number=1).digest)
actions.register_version(name="other", bundle=bundle, actor="test", source="a test")
made = {"keys": {}, "people": {}}
for name, grants in keys.items():
    if grants:
        made["keys"][name] = actions.issue_key(name=name, grants=grants, actor="test")[1]
for name, (permissions, is_staff, is_superuser) in people.items():
    user = get_user_model().objects.create(username=name, is_staff=is_staff, is_superuser=is_superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    session = SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session.save()
    made["people"][name] = session.session_key
print("MADE" + json.dumps(made))
"""


@dataclass(frozen=True)
class Row:
    """One line of a table: a path or a method, and what each principal is answered."""

    what: str
    methods: tuple[str, ...]
    answers: dict[str, str]


def table(heading: str) -> list[Row]:
    """Return the table below a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    names, rows = lines[0], lines[2:]
    first = 2 if "methods" in names else 1
    return [
        Row(
            cells[0].strip("`"),
            tuple(cells[1].split()) if first == 2 else (),
            dict(zip(names[first:], cells[first:], strict=True)),
        )
        for cells in rows
    ]


@dataclass(frozen=True)
class Place:
    """A server with everybody who may call it."""

    server: Server
    grpc: str
    churn: Churn
    keys: dict[str, str]
    sessions: dict[str, str]


@pytest.fixture(scope="module")
def place(churn_template: Churn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    project = copy_project(churn_template.project, tmp_path_factory.mktemp("access") / "project")
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", MAKE],
        cwd=project,
        env=clean_environment(),
        input=json.dumps([KEYS, PEOPLE]),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.partition("MADE")[2])
    keys = made["keys"] | {"bad key": BAD_KEY}
    bind = f"127.0.0.1:{free_port()}"
    with serving(project, workers=1, grpc=bind) as server:
        yield Place(server, bind, churn_template, keys, made["people"])


def asked(
    place: Place, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, bytes]:
    """Return status and body of one request."""
    with closing(http.client.HTTPConnection("127.0.0.1", place.server.port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def bodies(infer: bytes, rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """Return a body that works, by the end of the path that takes one."""
    predict, instances = json.dumps({"rows": rows}).encode(), json.dumps({"instances": rows}).encode()
    return {"infer": infer, "v2/models/{m}/predict": predict, ":predict": instances}


def body_of(path: str, given: dict[str, bytes]) -> bytes:
    return next((body for end, body in given.items() if path.endswith(end)), b"{}")


def variants(row: Row) -> list[str]:
    """Return the paths of a row: without a version, with its number, with an alias."""
    plain = row.what.replace("{m}", "churn")
    if "{m}" not in row.what or row.what.rpartition("/")[2] in paths.WITHOUT_VERSION:
        return [f"/{plain}"]
    return [f"/{plain.replace('churn', f'churn{behind}', 1)}" for behind in ("", "/versions/1", "/versions/champion")]


def wanted(row: Row, method: str, principal: str) -> int:
    """Return the status that the table names; a method that no row names is 405, whoever asks."""
    named = method in row.methods or (method == "HEAD" and "GET" in row.methods)
    return int(row.answers[principal]) if named else 405


def test_D01_every_path_and_rpc_that_there_is_stands_in_the_table():
    known = {
        "/".join((*start, "{m}", *end)).replace("/:", ":")
        for start, ends in (*paths._OF_MODEL.items(), (("v2", "repository", "models"), paths._OF_REPOSITORY))
        for end in ends
    }
    known |= {"/".join(path) for path in paths._SERVER}
    assert {row.what for row in table("Paths with an API key")} == known
    inside = {*servicer.PUBLIC, *servicer.WITH_A_KEY, *servicer.IN_A_THREAD, "ModelInfer", "ModelStreamInfer"}
    assert {row.what for row in table("gRPC")} == inside | {"Health/Check", "Health/Watch"}


def test_D01_D02_every_path_answers_each_key_as_the_table_says(place: Place):
    given, differ = bodies(place.churn.body, place.churn.rows[:1]), []
    for row, principal in itertools.product(table("Paths with an API key"), KEYS):
        key = place.keys.get(principal)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        for path, method in itertools.product(variants(row), METHODS):
            if (
                "repository/models" in path
                and not path.startswith("/v2/repository/models/churn/l")
                and method == "POST"
            ):
                continue  # one that changes what is loaded: once is enough
            status, content = asked(place, method, path, headers, body_of(row.what, given))
            if status != wanted(row, method, principal):
                differ.append((method, path, principal, status, content[:100]))
    assert differ == []


@pytest.mark.parametrize("mount", MOUNTS)
def test_D01_D02_every_mount_answers_each_key_as_the_table_says(mount: str, tmp_path: Path):
    given, differ = bodies(json.dumps(infer_body()).encode(), [GOOD_ROW]), []
    for principal in KEYS:
        world = World(tmp_path / principal)
        world.mount = MOUNTS[mount]  # type: ignore[misc]
        world.sees_all = principal == "view on all"
        world.route({1: 100}, verbs={principal} if principal in ("view", "predict", "label", "promote") else set())
        world.plane.change_loading = lambda _change: None
        for row in table("Paths with an API key"):
            for path, method in itertools.product(variants(row), METHODS):
                if method == "TRACE":
                    continue  # no client library sends it
                key = {"nobody": None, "bad key": BAD_KEY}.get(principal, world.key)
                response = world.send(method, path, body_of(row.what, given), key=key)
                if response.status != wanted(row, method, principal):
                    differ.append((method, path, principal, response.status, response.body[:100]))
    assert differ == []


def test_D01_D02_every_rpc_answers_each_key_as_the_table_says(place: Place):
    differ = []
    with grpc.insecure_channel(place.grpc) as channel:
        for row, principal in itertools.product(table("gRPC"), KEYS):
            key = place.keys.get(principal)
            metadata = [("authorization", f"Bearer {key}")] if key else []
            status = _called(channel, row.what, metadata)
            if status != row.answers[principal]:
                differ.append((row.what, principal, status))
        load, key = "RepositoryModelLoad", place.keys["promote"]
        assert _called(channel, load, [("authorization", f"Bearer {key}")]) == "OK"
        for name in ("ModelInferX", "Reflect", "TraceSetting", "SystemSharedMemoryRegister"):
            assert _called(channel, name, []) == "UNIMPLEMENTED"
    assert differ == []


def _called(channel: grpc.Channel, name: str, metadata: list[tuple[str, str]]) -> str:
    """Return the status of one RPC about `churn`, which asks for a prediction of nothing."""
    message: Any = b""
    if not name.startswith("Health/") and name != "ModelStreamInfer":
        kind = getattr(inference, f"{name}Request", None)
        message = kind() if kind else b""
        for field in ("name", "model_name"):
            if kind and field in kind.DESCRIPTOR.fields_by_name:
                setattr(message, field, "churn")
    elif name.startswith("Health/"):
        message = health.HealthCheckRequest()
    data = message if isinstance(message, bytes) else message.SerializeToString()
    service = servicer.HEALTH_SERVICE if name.startswith("Health/") else servicer.INFERENCE_SERVICE
    path = f"/{service}/{name.removeprefix('Health/')}"
    try:
        if name == "Health/Watch":
            call = channel.unary_stream(path)(data, timeout=20, metadata=metadata)
            next(call)
            call.cancel()
        elif name == "ModelStreamInfer":
            list(channel.stream_stream(path)(iter(()), timeout=20, metadata=metadata))
        else:
            channel.unary_unary(path)(data, timeout=20, metadata=metadata)
    except grpc.RpcError as error:
        status = error.code().name
        return "OK" if name == "ModelInfer" and status == "INVALID_ARGUMENT" else status  # it was let in
    return "OK"


def site_paths() -> dict[str, list[str]]:
    """Return every path of the ready-made server's URLs by how the table writes it, with examples."""

    def walk(resolver: URLResolver, prefix: str) -> Iterator[str]:
        for entry in resolver.url_patterns:
            path = prefix + str(entry.pattern)
            if isinstance(entry, URLPattern):
                yield path
            else:
                yield from walk(entry, path)

    found: dict[str, list[str]] = {}
    for given in walk(get_resolver("trivet.server.urls"), ""):
        path = re.sub(r"\(\?P<app_label>[^)]*\)", "trivet", re.sub(r"\^|\$|\\Z", "", given)).replace(
            "(?P<url>.*)", "junk"
        )
        named = re.sub(r"admin/(trivet|auth)/\w+/", r"admin/\1/{object}/", path)
        named = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", named)
        example = path.replace("<str:name>", "churn", 1) if "assets" not in path else path
        example = example.replace("<int:number>", "1")
        found.setdefault(named or "/", []).append(f"/{re.sub('<[^>]*>', NO_SUCH_OBJECT, example)}")
    return found


def test_D01_D02_every_page_answers_each_person_as_the_table_says(place: Place):
    rows, found, differ = {row.what: row for row in table("Pages")}, site_paths(), []
    assert set(rows) == set(found)
    for named, principal in itertools.product(found, ("nobody", *PEOPLE)):
        headers = {"Accept": "text/html", "Authorization": f"Bearer {place.keys['predict']}"}
        if principal != "nobody":
            headers["Cookie"] = f"sessionid={place.sessions[principal]}"
        for example in found[named]:
            (method,) = rows[named].methods
            status, _ = asked(place, method, example, headers)
            if str(status) != rows[named].answers[principal]:
                differ.append((example, principal, status))
        for method in UNSAFE:
            status, _ = asked(place, method, found[named][0], headers, b"username=a&password=b")
            if status not in (403, 404, 405, 302):
                differ.append((method, found[named][0], principal, status))
    assert differ == []
