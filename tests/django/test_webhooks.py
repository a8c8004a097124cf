"""Webhooks: where they may go, that nothing else is asked, and what a receiver can check."""

import contextlib
import gzip
import json
import re
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from trivet import conf
from trivet.checks import check_webhooks
from trivet.control.webhooks import sending
from trivet.control.webhooks.sending import send
from trivet.control.webhooks.targets import is_public, parsed, target
from trivet.core.errors import Refused, TrivetError, Unavailable

SECRET = "a secret for tests only"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "webhooks.md"


class Receiver(HTTPServer):
    """Somebody who takes messages: what came, and an answer of the test's choice."""

    def __init__(self, answer):
        self.came = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.came.append((self.path, dict(self.headers), body))
                with contextlib.suppress(OSError):
                    answer(self)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)


def taken(handler):
    handler.send_response(204)
    handler.end_headers()


@contextlib.contextmanager
def receiving(answer=taken, context=None):
    server = Receiver(answer)
    server.handle_error = lambda *_: None
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def deliver(url, **how):
    return send(url, {"event": "test"}, **{"allowed": [url], "secret": SECRET, **how})


# Where to


INNER = (
    *(
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
    ),
    *("224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1"),
    *(
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
    ),
    *("2002:a9fe:a9fe::1", "2001:0:7f00:1::80ff:fffe", "::ffff:0:0"),
)
SPELLED = (
    *(
        "127.1",
        "127.0.1",
        "0",
        "0x7f000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "2130706433",
        "127.0.0.01",
    ),
    *(
        "127.0.0.1.",
        "127.0.0.1%2e",
        "localhost.",
        "0.0.0.0.",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "127.0.0.0x1",
        "169.254.43518",
    ),
    *(
        "0251.0376.0251.0376",
        "0xa9fea9fe",
        "2852039166",
        "[::1%25lo]",
        "[0:0:0:0:0:0:0:1]",
        "[::FFFF:127.0.0.1]",
        "[::1].",
    ),
    *("foo@127.0.0.1", "127.0.0.1\\@hooks.example.com", "hooks.example.com@127.0.0.1", "127.0.0.1#@hooks.example.com"),
    *(
        "hooks.example.com\t",
        "hooks.example.com\r\nHost:x",
        "hooks.example.com%00",
        "hooks_example.com",
        "-a.example",
        "",
    ),
    *("[", "[::1", "hooks.example.com:99999", "hooks.example.com:0", "hooks.example.com:port", "a" * 64 + ".example"),
)


@pytest.mark.parametrize("address", INNER)
def test_A26_a_name_at_an_inner_address_is_refused_and_nobody_is_asked(address, monkeypatch):
    import ipaddress

    assert not is_public(ipaddress.ip_address(address))
    asked_for = []
    monkeypatch.setattr(sending.socket, "create_connection", lambda *a, **k: asked_for.append(a))
    for answers in ([address], ["93.184.216.34", address], [address, "93.184.216.34"]):
        with pytest.raises(Refused, match="no public address"):
            deliver("https://hooks.example.com/x", resolve=lambda *_, known=answers: known)
    assert asked_for == []


@pytest.mark.parametrize("host", SPELLED)
def test_A26_a_host_that_two_readers_may_take_for_different_ones_is_refused_at_save_and_at_send(host, settings):
    url = f"http://{host}/hook"
    with pytest.raises(Refused):
        parsed(url)
    with pytest.raises(Refused):
        deliver(url)  # though it is listed
    settings.TRIVET_ALERT_WEBHOOKS = [url]
    assert [problem.id for problem in check_webhooks()] == ["trivet.E006"]


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"]
)
def test_A26_public_addresses_are_public(address):
    import ipaddress

    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/other",
        "https://hooks.example.com/trivet?x=1",
        "http://hooks.example.com/trivet",
        "https://hooks.example.com:8443/trivet",
        "https://chat.example.com:444/x",
        "http://chat.example.com/x",
        "https://evil.chat.example.com/x",
        "https://chat.example.com.evil.example/x",
        "file:///etc/passwd",
        "gopher://chat.example.com/x",
        "//chat.example.com/x",
        "https:chat.example.com",
        "https://10.0.0.8/x",
    ],
)
def test_A26_what_the_operator_did_not_list_is_refused(url):
    with pytest.raises(Refused):
        target(url, ["https://hooks.example.com/trivet", "chat.example.com", "10.0.0.7"])


def test_A26_what_the_operator_listed_is_sent_to(settings):
    with receiving() as (receiver, url):
        assert deliver(url).status == 204  # an inner address that is listed itself
        settings.TRIVET_ALERT_WEBHOOKS = [url, "chat.example.com", "10.0.0.7"]
        assert check_webhooks() == []
        with pytest.raises(Refused, match="no public address"):
            deliver(url.replace("127.0.0.1", "localhost"))  # a name for it does not do
    assert len(receiver.came) == 1
    assert target("https://chat.example.com/any?thing", ["chat.example.com"]).path == "/any?thing"
    assert str(target("https://10.0.0.7/x", ["10.0.0.7"]).address) == "10.0.0.7"


def test_A27_a_redirect_is_an_answer_that_nobody_follows():
    with receiving() as (inner, inner_url):
        for status in (301, 302, 303, 307, 308):

            def elsewhere(handler, status=status):
                handler.send_response(status)
                handler.send_header("Location", inner_url)
                handler.end_headers()

            with receiving(elsewhere) as (_, url), pytest.raises(Unavailable, match=f"answered {status}"):
                deliver(url, allowed=[url, inner_url])
        assert inner.came == []


def test_A28_a_dns_that_changes_its_answer_is_asked_once_and_the_connection_goes_where_it_said(monkeypatch):
    answers, connected = iter([["93.184.216.34"], ["127.0.0.1"]]), []

    def connect(place, timeout):
        connected.append(place)
        raise ConnectionRefusedError

    def forbidden(*_, **__):
        raise AssertionError("asked a second time")

    monkeypatch.setattr(sending.socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    with pytest.raises(Unavailable, match="cannot be reached"):
        deliver("https://hooks.example.com/x", resolve=lambda *_: next(answers))
    assert connected == [("93.184.216.34", 443)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for hooks.example.com, and the files of it."""
    cryptography = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = cryptography.Name([cryptography.NameAttribute(cryptography.NameOID.COMMON_NAME, "tests")])
    names = cryptography.SubjectAlternativeName([cryptography.DNSName("hooks.example.com")])
    now = datetime.now(UTC)
    made = (
        cryptography.CertificateBuilder(name, name, key.public_key(), cryptography.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(cryptography.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem, secret = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


def test_A28_tls_is_with_the_name_at_the_address_that_was_looked_at(certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    named = []
    context.sni_callback = lambda _socket, name, _context: named.append(name)
    trust = ssl.create_default_context(cafile=certificate[0])
    with receiving(context=context) as (receiver, _):
        real = socket.create_connection
        here = ("127.0.0.1", receiver.server_port)
        monkeypatch.setattr(sending.socket, "create_connection", lambda place, timeout: real(here, timeout))
        public = {"resolve": lambda *_: ["93.184.216.34"]}
        assert deliver("https://hooks.example.com/x", trust=trust, **public).status == 204
        assert named == ["hooks.example.com"]
        assert receiver.came[0][1]["Host"] == "hooks.example.com"
        for how in ({"url": "https://other.example.com/x", "trust": trust}, {"url": "https://hooks.example.com/x"}):
            with pytest.raises(Unavailable, match="certificate"):
                deliver(**how, **public)
        assert len(receiver.came) == 1


# What comes back


_ended = threading.Event()  # the test is over: who still waits goes home


def pause(seconds: float) -> None:
    if _ended.wait(seconds):
        raise OSError


def silent(handler):
    pause(30)


def dripping_headers(handler):
    while True:
        handler.wfile.write(b"x")
        pause(0.05)


def dripping_status(handler):
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        pause(0.01)


def streaming(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def bomb(handler):
    body = gzip.compress(b"\0" * 50_000_000)
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize("answer", [silent, dripping_headers, dripping_status])
def test_A29_a_receiver_that_does_not_come_to_an_end_is_dropped_in_time(answer, monkeypatch):
    assert sending.SECONDS == 5.0
    monkeypatch.setattr(sending, "SECONDS", 0.5)
    _ended.clear()
    started = time.monotonic()
    with receiving(answer) as (_, url):
        try:
            with pytest.raises(Unavailable, match="did not answer"):
                deliver(url)
            assert time.monotonic() - started < 3
        finally:
            _ended.set()


@pytest.mark.parametrize("answer", [streaming, bomb])
def test_A29_of_a_long_answer_64_kib_are_read(answer, monkeypatch):
    import http.client

    reads = []
    real = http.client.HTTPResponse.read
    monkeypatch.setattr(http.client.HTTPResponse, "read", lambda one, most=None: reads.append(most) or real(one, most))
    with receiving(answer) as (_, url):
        delivered = deliver(url)
    assert delivered.status == 200
    assert reads == [64 * 1024]


def test_A29_a_resolver_that_never_answers_is_left_alone(monkeypatch):
    monkeypatch.setattr(sending, "SECONDS", 0.2)
    never = threading.Event()
    with pytest.raises(Unavailable, match="not found within"):
        deliver("https://hooks.example.com/x", resolve=lambda *_: [str(never.wait(10))][1:])
    never.set()


@pytest.mark.parametrize("status", [400, 404, 500, 199, 300])
def test_A29_only_2xx_means_that_it_was_taken(status):
    def answer(handler):
        handler.send_response(status)
        handler.end_headers()

    with receiving(answer) as (_, url), pytest.raises(TrivetError):
        deliver(url)


# What is said of it: the path of a chat's webhook is its secret

PATH = "/services/T0123/B0456/hush?token=hush"
TYPED = (
    "https://hooks.example.com",
    "http://hooks.example.com:9",
    "https://ana:hush@hooks.example.com",
    "https://hooks.example.com:port",
    "https://127.1",
    "https://hooks.example.com/\t",
    "https://hooks.example.com#",
    "hooks.example.com",
    "https:hooks.example.com",
    "hooks.example.com/hush://",
    "//hooks.example.com",
)


@pytest.mark.parametrize("place", TYPED)
def test_no_path_of_a_webhook_that_may_not_be_sent_to_is_in_a_message(place, settings):
    url = place + PATH
    with pytest.raises(Refused) as refusal:
        target(url, ["https://hooks.example.com/trivet"])
    assert not {"services", "hush", "token"} & set(re.findall(r"\w+", str(refusal.value)))
    settings.TRIVET_ALERT_WEBHOOKS = [url]
    assert "hush" not in str(check_webhooks())


def test_no_path_of_a_webhook_that_did_not_take_a_message_is_in_a_message_and_its_host_is(monkeypatch):
    def broken(handler):
        handler.wfile.write(b"nonsense\r\n\r\n")

    def refusing(handler):
        handler.send_error(404)

    said = []
    for answer in (broken, refusing):
        with receiving(answer) as (_, url), pytest.raises(Unavailable) as failure:
            deliver(url.replace("/hook", PATH))
        said.append(str(failure.value))
    with receiving() as (_, url):
        pass
    with pytest.raises(Unavailable) as failure:
        deliver(url.replace("/hook", PATH))
    for message in (*said, str(failure.value)):
        assert message.startswith("the webhook at 'http://127.0.0.1' ")
        assert not {"services", "hush", "token"} & set(re.findall(r"\w+", message))


def test_a_setting_that_cannot_be_read_is_not_repeated(settings):
    settings.TRIVET_ALERT_WEBHOOKS = f"https://hooks.example.com{PATH}"
    with pytest.raises(ImproperlyConfigured, match="TRIVET_ALERT_WEBHOOKS") as problem:
        conf.ALERT_WEBHOOKS()
    assert "hush" not in str(problem.value)


# What is sent


def test_A30_the_pages_receiver_knows_a_message_of_ours_and_none_else():
    source = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[-1]
    page = {}
    exec(source, page)
    is_of_trivet = page["is_of_trivet"]
    with receiving() as (receiver, url):
        send(url, {"event": "test", "text": "Grüße"}, allowed=[url], secret=SECRET)
    ((path, headers, body),) = receiver.came
    assert (path, json.loads(body)["text"], headers["Content-Type"]) == ("/hook", "Grüße", "application/json")
    assert is_of_trivet(headers, body, SECRET)
    assert not is_of_trivet(headers, body + b" ", SECRET)
    assert not is_of_trivet(headers, body, "another")
    later = str(int(headers["Trivet-Timestamp"]) + 1)
    assert not is_of_trivet(headers | {"Trivet-Timestamp": later}, body, SECRET)
    page["time"].time, real = lambda: real() + 400, time.time
    try:
        assert not is_of_trivet(headers, body, SECRET)  # sent again, too late
    finally:
        time.time = real
    for bad in ({}, {"Trivet-Timestamp": "²"}, {"Trivet-Timestamp": "-1"}, headers | {"Trivet-Signature": "é"}):
        assert not is_of_trivet(bad, body, SECRET)


def test_A30_neither_the_secret_nor_a_key_is_in_a_message(settings):
    with receiving() as (receiver, url):
        deliver(url)
    sent = repr(receiver.came)
    for secret in (SECRET, settings.SECRET_KEY, "Authorization", "Cookie", "trv_"):
        assert secret not in sent


def test_A30_without_a_secret_nothing_is_sent():
    with receiving() as (receiver, url), pytest.raises(Refused, match="TRIVET_WEBHOOK_SECRET"):
        deliver(url, secret="")
    assert receiver.came == []


def test_A30_the_verb_sends_where_the_settings_allow_it(settings, capsys):
    from django.core.management import call_command

    settings.TRIVET_WEBHOOK_SECRET = SECRET
    with receiving() as (receiver, url):
        settings.TRIVET_ALERT_WEBHOOKS = [url]
        call_command("trivet", "webhooks", "test", url)
        assert "answered 204" in capsys.readouterr().out
        with pytest.raises(SystemExit) as refused:
            call_command("trivet", "webhooks", "test", f"{url}2")
    assert refused.value.code == 3
    assert [path for path, _, _ in receiver.came] == ["/hook"]
