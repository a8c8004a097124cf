"""What a real server shows to the network: its sockets, its first run, the headers of whatever it answers."""

import contextlib
import http.client
import ipaddress
import json
import os
import re
import socket
from pathlib import Path
from urllib.parse import quote

from tests.acceptance.servers import Server, free_port, serving, trivet, wait_for
from tests.scale import scaled
from trivet import conf
from trivet.console.headers import HEADERS

LISTENS = "0A"  # the state of a socket, in the kernel's table


def family(pid: int) -> set[int]:
    """Return a process and all that it started, and they."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid}.union(*(family(int(child)) for child in children))


def sockets_of(pids: set[int]) -> set[str]:
    found = set()
    for link in (link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.update(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
    return found


def listening(pids: set[int]) -> list[tuple[ipaddress._BaseAddress, int]]:
    """Return the TCP and UDP addresses on which these processes wait for others."""
    own, found = sockets_of(pids), []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if inode in own and (state == LISTENS or table.startswith("udp")):
                raw, port = local.split(":")
                words = [int(raw[at : at + 8], 16).to_bytes(4, "little") for at in range(0, len(raw), 8)]
                found.append((ipaddress.ip_address(b"".join(words)), int(port, 16)))
    return found


def test_D06_a_server_listens_on_this_machine_alone_and_on_no_more_than_it_says(churn):
    assert conf.BIND.default() == "127.0.0.1:8000"
    with socket.create_server(("0.0.0.0", 0)) as other:  # the table is read rightly
        assert listening({os.getpid()}).count((ipaddress.ip_address("0.0.0.0"), other.getsockname()[1]))
    grpc = free_port()
    with serving(churn.project, workers=1, grpc=f"127.0.0.1:{grpc}") as server:
        found = listening(family(server.process.pid))
    assert {port for _, port in found} == {server.port, grpc}
    assert all((getattr(address, "ipv4_mapped", None) or address).is_loopback for address, _ in found)


def test_D07_D09_D24_D32_D33_a_first_run_has_a_password_and_a_key_that_nobody_else_has(tmp_path):
    said = [trivet("init", name, project=tmp_path).stdout for name in ("one", "two")]
    passwords = [re.search(r"login admin / (\S+)", text)[1] for text in said]
    keys = [(tmp_path / name / ".env").read_text() for name in ("one", "two")]
    assert passwords[0] != passwords[1]
    assert keys[0] != keys[1]
    assert all(len(password) >= 16 for password in passwords)
    assert all((tmp_path / name / ".env").stat().st_mode & 0o777 == 0o600 for name in ("one", "two"))
    assert all(password not in key for password, key in zip(passwords, keys, strict=True))
    with serving(tmp_path / "one", workers=1) as server:
        for password in ("", "admin", "password", "trivet", passwords[1]):
            assert "sessionid" not in signed_in(server, password)
        assert "sessionid" in signed_in(server, passwords[0])
        assert_headers(server, signed_in(server, passwords[0]))
        assert_keys_alone_open_the_prediction_paths(server, signed_in(server, passwords[0]))
        assert_hostile_paths_bend_neither_log_nor_metrics(server, tmp_path / "one")
        assert_refusals_below_the_pages_name_no_server(server)


def signed_in(server: Server, password: str) -> str:
    """Sign in; return the cookies of whoever did."""
    _, cookies, page = ask(server, "GET", "/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    form = f"username=admin&password={password}&csrfmiddlewaretoken={token}"
    _, more, _ = ask(server, "POST", "/login/", form, cookies)
    return "; ".join(filter(None, (cookies, more)))


def ask(server: Server, method: str, path: str, body: str | None = None, cookies: str = "", **more: str):
    """Return the response's headers, the cookies it sets, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Accept": "text/html", "Cookie": cookies, **more}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read().decode("utf-8", "replace")
    connection.close()
    set_now = [value.split(";")[0] for name, value in response.getheaders() if name.lower() == "set-cookie"]
    return response, "; ".join(set_now), text


PAGES = (
    *("/", "/login/", "/logout/", "/models/none/", "/models/none/openapi.json", "/nothing", "/favicon.ico"),
    *("/admin/", "/admin/login/", "/admin/trivet/event/", "/admin/trivet/apikey/", "/admin/auth/user/1/change/"),
    *(
        "/admin/password_change/",
        "/admin/jsi18n/",
        "/static/admin/css/base.css",
        "/static/nothing.css",
        "/%00",
        "/admin",
    ),
)
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT")
KEY_PATHS = ("/v2/models", "/metrics", "/v1/models")
ANSWERS = ("/v2/health/live", "/v2/nothing", *KEY_PATHS)


def assert_headers(server: Server, cookies: str) -> None:
    """Look at every page as somebody signed in and as nobody, by every method."""
    for path in PAGES:
        for who in (cookies, ""):
            for method in METHODS[: scaled(test=2, ci=5, full=5)]:
                response, _, text = ask(server, method, path, "" if method == "POST" else None, who)
                where = (method, path, response.status)
                assert response.status < 500, (where, text)
                for name, value in HEADERS.items():
                    assert response.headers[name] == value, (where, name)
                assert response.headers["Server"] is None, where
    for path in ANSWERS:
        response, _, _ = ask(server, "GET", path)
        assert response.headers["X-Content-Type-Options"] == "nosniff", path
        assert response.headers["Server"] is None, path
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "object-src 'none'" in policy
    assert "base-uri 'none'" in policy


def assert_keys_alone_open_the_prediction_paths(server: Server, cookies: str) -> None:
    for path in (*KEY_PATHS, "/v2/models/churn/infer", "/v2/models/churn/predict", "/v2/repository/index"):
        for method in ("GET", "POST"):
            answers = [ask(server, method, path, "{}" if method == "POST" else None, who) for who in (cookies, "")]
            assert answers[0][0].status == answers[1][0].status, (method, path)
            assert answers[0][2] == answers[1][2]
            assert answers[0][0].status in (401, 405), (method, path)


def assert_hostile_paths_bend_neither_log_nor_metrics(server: Server, project: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    made = trivet("keys", "create", "scrape", "--model=*", "--verb=view", "--verb=predict", "--json", project=project)
    key = {"Authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    wait_for(lambda: ask(server, "GET", "/v2/models", **key)[0].status == 200)
    hostile = quote('x"} 1\nforged_total{a="b"} 7\n\x1b[31m\r\n2026-01-01 ERROR forged\\', safe="")
    for path in (
        f"/v2/models/{hostile}/infer",
        f"/v2/models/{hostile}",
        f"/{hostile}",
        f"/models/{hostile}/",
        f"/admin/{hostile}",
    ):
        for method in ("GET", "POST"):
            answer, _, _ = ask(
                server, method, path, "{}" if method == "POST" else None, **key, **{"X-Request-Id": hostile}
            )
            assert answer.status < 500
    _, _, exposition = ask(server, "GET", "/metrics", **key)
    families = list(text_string_to_metric_families(exposition))
    assert len(families) > 5
    assert "forged" not in exposition
    assert not any("\x1b" in line or line.startswith("forged_total") for line in server.lines)
    assert not any(line.startswith("2026-01-01 ERROR forged") for line in server.lines)


def assert_refusals_below_the_pages_name_no_server(server: Server) -> None:
    for line in (b"GET / HTTP/9.9", b"\x00", b"GET http://[ HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(line + b"\r\nHost: localhost\r\n\r\n")
            answer = connection.recv(65536).lower()
        assert answer.startswith(b"http/1.1 4")
        assert b"\r\nserver:" not in answer
        assert b"uvicorn" not in answer
