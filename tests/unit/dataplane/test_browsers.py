"""What a page of another site can make a browser send: refused at every mount, and no header says that one is no browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.dataplane.mounts import MOUNTS
from tests.unit.dataplane.world import World, infer_body

BODY = json.dumps(infer_body()).encode()
LENGTH = {b"content-length": str(len(BODY)).encode()}
FOREIGN = (
    b"elsewhere",
    b"localhost.elsewhere",
    b"elsewhere:80",
    b"127.0.0.1.nip.io",
    b"",
    b"localhost@elsewhere",
    b"*",
    b"[::2]",
)
CROSS_SITE = {
    b"origin": b"https://elsewhere",
    b"referer": b"https://elsewhere/page",
    b"sec-fetch-site": b"cross-site",
    b"sec-fetch-mode": b"no-cors",
    b"sec-fetch-dest": b"empty",
    b"cookie": b"sessionid=abc; csrftoken=def",
    b"content-type": b"application/x-www-form-urlencoded",
}
PATHS = {
    "/v2": "GET",
    "/v2/models": "GET",
    "/v2/models/churn": "GET",
    "/v2/models/churn/infer": "POST",
    "/v2/models/churn/predict": "POST",
    "/v2/repository/index": "POST",
    "/v2/repository/models/churn/load": "POST",
    "/v1/models/churn:predict": "POST",
}


@pytest.mark.parametrize("mount", MOUNTS)
def test_H67_a_foreign_host_is_refused_on_every_path_though_the_key_is_good(mount: str, tmp_path: Path):
    world = World(tmp_path, allowed_hosts=("localhost",))
    key = {b"authorization": f"Bearer {world.key}".encode()}
    for path, method in PATHS.items():
        for host in FOREIGN:
            told = MOUNTS[mount](world.plane, method, path, {b"host": host, **key, **LENGTH}, BODY)
            assert told.status == 400, (path, host)
            if mount != "urls":  # where Django's middleware refuses before us what is no host's name at all
                assert dict(told.headers)[b"trivet-error"] == b"BAD_HOST", (path, host)


@pytest.mark.parametrize("mount", MOUNTS)
def test_H68_H69_no_preflight_is_granted_and_no_answer_may_be_read_by_another_origin(mount: str, tmp_path: Path):
    world = World(tmp_path, allowed_hosts=("localhost",))
    key = {b"authorization": f"Bearer {world.key}".encode()}
    asks = {b"access-control-request-method": b"POST", b"access-control-request-headers": b"authorization"}
    for path, method in PATHS.items():
        preflight = MOUNTS[mount](world.plane, "OPTIONS", path, {b"host": b"localhost", **CROSS_SITE, **asks}, b"")
        assert preflight.status == 405, path
        told = MOUNTS[mount](world.plane, method, path, {b"host": b"localhost", **key, **CROSS_SITE, **LENGTH}, BODY)
        for response in (preflight, told):
            assert not [name for name, _ in response.headers if name.startswith(b"access-control")]
            assert dict(response.headers)[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("mount", MOUNTS)
def test_H70_without_a_key_no_header_makes_a_caller_somebody(mount: str, tmp_path: Path):
    world = World(tmp_path, allowed_hosts=("localhost",))
    plain = {name: value for name, value in CROSS_SITE.items() if name in (b"content-type", b"cookie")}
    same_site = CROSS_SITE | {
        b"origin": b"http://localhost",
        b"sec-fetch-site": b"same-origin",
        b"referer": b"http://localhost/",
    }
    tool = {b"user-agent": b"curl/8", b"x-requested-with": b"XMLHttpRequest", b"x-forwarded-for": b"127.0.0.1"}
    inner = {b"x-forwarded-user": b"root", b"remote-user": b"root", b"x-real-ip": b"127.0.0.1", b"x-csrftoken": b"def"}
    for path, method in PATHS.items():
        for sent in (CROSS_SITE, same_site, plain, tool, inner, {}):
            told = MOUNTS[mount](world.plane, method, path, {b"host": b"localhost", **sent, **LENGTH}, BODY)
            assert told.status == 401, (path, sent)
            if mount != "urls":  # where Django's middleware takes a session back that it does not know
                assert b"set-cookie" not in dict(told.headers)
