"""Who signs in, how often it may be tried, and where that leads."""

import fcntl
import threading
import time

import pytest
from django.conf import settings as site
from django.test import Client

from tests.scale import scaled
from trivet.console import login_tries
from trivet.console.login import BROWSER_COOKIE
from trivet.console.login_tries import ADDRESS, BROWSER, NAME, Count, Limit, Tries, counts_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
PASSWORD = "a long pass phrase"


@pytest.fixture
def ana(django_user_model):
    return django_user_model.objects.create_user("ana", password=PASSWORD)


def attempt(client, password="wrong", *, name="ana", address="192.0.2.7", to="/login/", **more):
    """Post a guess."""
    return client.post(to, {"username": name, "password": password, **more}, REMOTE_ADDR=address)


def exhaust(client, **how):
    """Guess until it is refused; return how often the password was looked at."""
    for looked_at in range(200):
        if attempt(client, **how).status_code == 429:
            return looked_at
    raise AssertionError("never refused")


def test_D10_after_ten_guesses_no_password_is_looked_at_not_even_the_right_one(client, ana):
    assert exhaust(client) == ADDRESS.at_once
    refused = attempt(client, PASSWORD)
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= ADDRESS.seconds
    assert "tried too often" in refused.content.decode()
    assert "_auth_user_id" not in client.session


def test_D10_a_name_that_nobody_has_is_told_and_throttled_like_one_that_somebody_has(ana):
    answers = []
    for name, address in (("ana", "192.0.2.1"), ("eve", "192.0.2.2")):
        client = Client()
        told = [attempt(client, name=name, address=address) for _ in range(ADDRESS.at_once + 2)]
        answers.append([(one.status_code, one.content.decode().replace(name, "NAME")) for one in told])
    of_ana, of_eve = answers
    assert [status for status, _ in of_ana] == [200] * ADDRESS.at_once + [429] * 2
    assert [status for status, _ in of_eve] == [status for status, _ in of_ana]
    without_token = [[text[text.index("<h2>") : text.index('name="next"')] for _, text in one] for one in answers]
    assert without_token[0] == without_token[1]


def test_D10_the_admin_has_no_login_of_its_own_to_guess_at(client, ana):
    for answer in (client.get("/admin/login/?next=/admin/trivet/"), attempt(client, PASSWORD, to="/admin/login/")):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/login/?next=/admin/")
    assert "_auth_user_id" not in client.session


def test_D10_a_stranger_keeps_nobody_out_who_signed_in_from_their_browser_before(ana):
    home, stranger = Client(), Client()
    assert attempt(home, PASSWORD, address="192.0.2.1").status_code == 302
    home.post("/logout/")
    for number in range(NAME.at_once):  # from many addresses, until the name has no tries left, and from hers
        attempt(stranger, address=f"198.51.100.{number}")
    exhaust(stranger, address="192.0.2.1")
    assert attempt(Client(), PASSWORD, address="203.0.113.9").status_code == 429  # she too, on a browser that is new
    assert attempt(home, PASSWORD, address="192.0.2.1").status_code == 302


def test_D10_a_known_browser_is_known_for_its_own_name_and_has_no_more_tries_than_others(ana, django_user_model):
    django_user_model.objects.create_user("ben", password=PASSWORD)
    home = Client()
    attempt(home, PASSWORD)
    cookie = home.cookies[BROWSER_COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/login/")
    home.post("/logout/")
    home.cookies[BROWSER_COOKIE] = cookie.value
    assert exhaust(home) == BROWSER.at_once
    assert exhaust(home, name="ben", address="192.0.2.8") == ADDRESS.at_once
    forged = Client()
    forged.cookies[BROWSER_COOKIE] = cookie.value[:-1] + ("A" if cookie.value[-1] != "A" else "B")
    assert exhaust(forged, address="192.0.2.9") == ADDRESS.at_once


def test_D10_who_signs_in_uses_up_nothing_and_gives_nobody_more_tries(client, ana, django_user_model):
    django_user_model.objects.create_user("eve", password=PASSWORD)
    for _ in range(ADDRESS.at_once - 1):
        attempt(client)
    for _ in range(3):
        own = Client()
        assert attempt(own, PASSWORD, name="eve").status_code == 302
    assert exhaust(client) == 1


def test_D10_neighbours_in_an_ipv6_network_are_one_and_mapped_addresses_are_what_they_map():
    def network(address):
        return counts_of(address=address, name="ana", browser=None)[0]

    assert network("2001:db8::1") == network("2001:db8::ffff") == network("2001:db8::1%eth0")
    assert network("2001:db8::1") != network("2001:db8:0:1::1")
    assert network("::ffff:192.0.2.1") == network("192.0.2.1") != network("192.0.2.2")
    assert network("") == network("nonsense")


def test_D10_spellings_that_a_database_takes_for_one_another_are_one_name(client, ana):
    for number in range(NAME.at_once):
        attempt(client, name=("ana", "ANA", "Ａna")[number % 3], address=f"198.51.100.{number}")
    assert attempt(client, name="aNa", address="192.0.2.200").status_code == 429


def test_D10_tries_at_the_same_moment_are_all_counted(tmp_path, monkeypatch):
    moment = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: moment)  # however long the threads take
    table, taken = Tries(tmp_path / "home" / "tries", b"k"), []

    def work():
        one = Tries(tmp_path / "home" / "tries", b"k")
        for _ in range(20):
            if not one.take(counts_of(address="192.0.2.1", name="ana", browser=None)):
                taken.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(taken) == ADDRESS.at_once
    assert table.take(counts_of(address="192.0.2.1", name="ana", browser=None)) > 0
    assert (tmp_path / "home" / "tries").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home" / "tries").stat().st_size == 128 * 1024  # whatever comes, no more


def test_D10_a_try_returns_when_its_time_has_passed(tmp_path, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    table, counts = Tries(tmp_path / "tries", b"k"), [Count("x", Limit(2, 10.0))]
    assert [table.take(counts) for _ in range(4)] == pytest.approx([0, 0, 10, 10])
    now += 10.1
    assert table.take(counts) == 0
    assert table.take(counts) == pytest.approx(9.9)
    now = 5.0  # the machine started anew: what was counted before counts no more
    assert table.take(counts) == 0


def test_D10_a_home_that_cannot_be_written_does_not_open_the_door(client, ana, settings, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    settings.TRIVET_HOME = tmp_path / "file"
    assert exhaust(client, address="192.0.2.77") <= ADDRESS.at_once
    assert "event=tries_counted_by_process" in caplog.text


def test_D10_a_process_that_was_stopped_while_it_counted_holds_nobody_up_and_does_not_open_the_door(
    client, tmp_path, settings, monkeypatch, caplog
):
    settings.TRIVET_HOME = tmp_path
    assert attempt(client).status_code == 200
    monkeypatch.setattr(login_tries, "LOCK_SECONDS", 0.01)
    with (tmp_path / "tries").open() as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert exhaust(client, address="192.0.2.78") <= ADDRESS.at_once
    assert "event=tries_counted_by_process" in caplog.text


def test_D10_a_login_gives_the_session_a_new_key(client, ana):
    before = client.session
    before["kept"] = 1
    before.save()
    client.cookies[site.SESSION_COOKIE_NAME] = before.session_key
    assert attempt(client, PASSWORD).status_code == 302
    assert client.session.session_key != before.session_key
    assert (
        Client(headers={"cookie": f"{site.SESSION_COOKIE_NAME}={before.session_key}"}).get("/login/").status_code == 200
    )


ELSEWHERE = (
    "//evil.example/",
    "///evil.example/",
    "////evil.example",
    "https://evil.example/",
    "http:evil.example",
    "http:///evil.example",
    "\\\\evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "/\t/evil.example",
    "\t//evil.example",
    "\x00//evil.example",
    "/%09/evil.example@",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "//evil.example\\@testserver/",
    "https://testserver@evil.example/",
    "https://testserver.evil.example/",
    "ftp://testserver/",
    "//testserver:81/",
    " //evil.example",
    "\r\nLocation: https://evil.example/",
)


@pytest.mark.parametrize("where", ELSEWHERE)
def test_D12_next_stays_on_the_site(client, ana, where):
    def host_of(response):
        from urllib.parse import urljoin, urlsplit

        assert response.status_code == 302
        assert not any(character in response["Location"] for character in "\r\n\t\x00\\")
        there = urlsplit(urljoin("http://testserver/login/", response["Location"]))
        return there.scheme, there.netloc

    assert host_of(attempt(client, PASSWORD, next=where)) == ("http", "testserver")
    assert host_of(client.get("/login/", {"next": where})) == ("http", "testserver")  # signed in already
    part = Client().get("/models/x/", headers={"hx-request": "true", "hx-current-url": where.strip()})
    assert part["HX-Redirect"].startswith("/login/?next=")  # and what stands behind that is judged as above


def test_D12_who_may_not_enter_the_admin_is_told_so_and_not_sent_in_circles(client, ana):
    client.force_login(ana)
    refused = client.get("/admin/login/?next=/admin/")
    assert refused.status_code == 403
    assert "not as somebody who may enter the admin" in refused.content.decode()


JUNK = ("", "abc", "'", '"', "%00", "\x00", "%", "1" * 5000, "-1", "null", "\u202e", "{}", "[]", "\U0001f600", "../..")


@pytest.mark.parametrize("junk", JUNK[:: scaled(test=5, ci=1, full=1)])
def test_D11_the_admin_answers_junk_without_falling_over(admin_client, junk):
    from urllib.parse import quote

    said = quote(junk.encode("utf-8", "surrogatepass"), safe="")
    admin_client.raise_request_exception = False
    tables = ["registeredmodel", "modelversion", "alias", "route", "goldencaserow", "event", "apikey", "prediction"]
    for table in tables:
        for address in (
            f"/admin/trivet/{table}/{said}/change/",
            f"/admin/trivet/{table}/{said}/history/",
            f"/admin/trivet/{table}/?q={said}&p={said}&o={said}&e={said}",
            f"/admin/trivet/{table}/?all={said}&_facets={said}&_popup={said}",
            f"/admin/jsi18n/?{said}",
        ):
            assert admin_client.get(address).status_code < 500, address
    posted = {"action": junk, "_selected_action": [junk, "0"], "index": junk, "select_across": junk}
    for table in tables:
        for address in (f"/admin/trivet/{table}/", f"/admin/trivet/{table}/add/", f"/admin/trivet/{table}/1/delete/"):
            assert admin_client.post(address, posted).status_code < 500, address
