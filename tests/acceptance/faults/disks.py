"""Disks that can be filled and emptied while a server runs, and what a client was told meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.conftest import Churn
from tests.acceptance.servers import Server, trivet

PATH = "/v2/models/churn/infer"
LARGE_ROWS, LARGE_TEXT = 1024, "x" * 800  # a record of 0.9 MB: eighteen fill a segment
FILLER = "filler"


class Told(NamedTuple):
    """An answer: its status, the error's code, the id of its prediction."""

    status: int
    code: str
    prediction_id: str
    rows: int


class Disk:
    """A small file system of its own, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no room on it."""
        with (self.folder / FILLER).open("ab", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Take away what filled it, and double its size."""
        (self.folder / FILLER).unlink(missing_ok=True)
        status = os.statvfs(self.folder)
        size = 2 * status.f_blocks * status.f_frsize + (64 << 20)
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Disk]:
    """Mount a disk of `size` bytes on `folder`, with what lies there; skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    held = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "trivet-test", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        for path, content in held.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class Quota:
    """A bound on the size of the files that the web workers of a server write: for who may not mount anything."""

    def __init__(self, server: Server) -> None:
        self._pids = server.web_workers()

    def fill(self) -> None:
        """Let no file grow, nor be written beyond its first page."""
        self._limit(4096)

    def free(self) -> None:
        """Lift the bound."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for pid in self._pids:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size if size != resource.RLIM_INFINITY else hard, hard))


def large_body(rows: int = LARGE_ROWS) -> bytes:
    """Return a request whose record is nearly as large as a record may be."""
    columns = {"tenure": ("FP64", [1.5] * rows), "plan": ("BYTES", [LARGE_TEXT] * rows), "seats": ("INT64", [3] * rows)}
    inputs = [
        {"name": name, "shape": [rows, 1], "datatype": datatype, "data": data}
        for name, (datatype, data) in columns.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


def ask(server: Server, churn: Churn, body: bytes | None = None) -> Told:
    """Ask once, on a connection of its own."""
    content = churn.body if body is None else body
    status, headers, data = fetch(server, "POST", PATH, churn.key, content)
    answer = json.loads(data)
    if status != 200:
        return Told(status, headers.get("trivet-error", ""), "", 0)
    return Told(status, "", answer["parameters"]["prediction_id"], answer["outputs"][0]["shape"][0])


def ready(server: Server) -> tuple[int, dict[str, Any]]:
    """Return what readiness says, and its status."""
    status, _, data = fetch(server, "GET", "/v2/health/ready", "", None)
    return status, json.loads(data)


def fetch(server: Server, method: str, path: str, key: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # it was refused by its head, and the rest not waited for
            connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def logged(churn: Churn) -> dict[str, int]:
    """Return the rows of each prediction in the log, once all is shipped; read without our own code."""
    trivet("keeper", "--once", project=churn.project)
    with closing(sqlite3.connect(churn.project / "db.sqlite3")) as database:
        rows = database.execute(
            "select prediction_id, count(*) from trivet_prediction where kind = 'predict' group by 1"
        ).fetchall()
    return {f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}": count for i, count in rows}
