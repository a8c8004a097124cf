"""D13: whoever searches all that is kept and told for an API key finds its id, and not its secret."""

from __future__ import annotations

import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, serving, trivet

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
