"""Pickles as bodies and as texts, addresses, shell, template and format strings: bytes and texts, whatever a header says."""

from __future__ import annotations

import base64
import json
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.scale import scaled
from tests.unit.dataplane.mounts import MOUNTS, exchange
from tests.unit.dataplane.test_hostile_json import PATHS, alike, by
from tests.unit.dataplane.test_mutated_requests import mirror
from tests.unit.dataplane.world import World, infer_body
from trivet.dataplane.plane import Limits

MEDIA = [
    *(
        "application/x-pickle",
        "application/python-pickle",
        "application/x-python-serialize",
        "application/vnd.pickle+gzip",
    ),
    *("python/pickle", "application/octet-stream", "application/json", "application/x-www-form-urlencoded", "text/csv"),
    *(
        "multipart/form-data; boundary=x",
        "application/x-joblib",
        "application/x-numpy",
        "application/x-yaml",
        "image/png",
    ),
]
SELECTING = {
    "content-serialization": "pickle",
    "x-serialization": "pickle",
    "x-pickle": "1",
    "payload-container": "NumpyArray",
    "x-payload-serializer": "pickle",
    "content-transfer-encoding": "base64",
}


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return mirror(tmp_path / "world", limits=Limits())


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def test_A01_to_A03_a_pickle_as_a_body_is_refused_under_every_media_type_and_header(world: World, canary: Path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        body = pickle.dumps(Canary(canary), protocol)
        for path in PATHS[:3]:
            for media in MEDIA:
                headers = {"content_type": media} | (SELECTING if protocol % 2 else {})
                everywhere = scaled(test=protocol == 4 and path == PATHS[0], ci=True, full=True)
                for name, mount in (MOUNTS if everywhere else {"exchange": exchange}).items():
                    response = by(mount, world, body, path, **headers)
                    assert response.status in (400, 415), (protocol, path, media, name, response)
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists(), "the canary would have been made"


def texts(canary: Path, address: str) -> list[str]:
    """Return texts that mean something to somebody, and nothing here."""
    written = [base64.b64encode(pickle.dumps(Canary(canary), protocol)).decode() for protocol in (0, 2, 5)]
    written += [
        f"{scheme}{address}/x" for scheme in ("http://", "file://", "gopher://", "//", "ftp://", "http://user@")
    ]
    written += [
        f"$(touch {canary})",
        f"`touch {canary}`",
        f"; touch {canary} #",
        f"| touch {canary}",
        "%(asctime)s",
        "%s%n%x",
    ]
    return [
        *written,
        "{0.__class__.__mro__}",
        "{{ 7919*7907 }}",
        "{% debug %}",
        "${7919*7907}",
        "<%= 7919*7907 %>",
        "!!python/object/apply:os.system",
    ]


def test_A04_A25_A32_A34_a_text_is_a_text_in_every_place_that_takes_one(world: World, canary: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for text in texts(canary, f"127.0.0.1:{listener.getsockname()[1]}"):
            good = infer_body()
            as_city = alike(world, json.dumps(infer_body(city=[text])).encode())
            assert (as_city[0], as_city[1]["outputs"][1]["data"]) == (200, [text]), "literally"
            parameters = {"note": text, "route_key": text[:128], "entity_key": text[:128]}
            status, _ = alike(world, json.dumps(good | {"parameters": parameters}).encode())
            assert status == (200 if len(text) <= 1_024 else 400)
            for body in (
                good | {"id": text},
                good | {"model_name": text},
                good | {"outputs": [{"name": text}]},
                {text: 1},
            ):
                status, told = alike(world, json.dumps(body).encode())
                assert (status, set(told)) == (400, {"error"})
                assert "62615533" not in told["error"]  # the product
                assert "<class" not in told["error"]
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not canary.exists()
