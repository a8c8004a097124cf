"""What a page of somebody else's may do in the name of whoever is signed in: nothing."""

import pytest
from django.conf import settings as site
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory
from django.urls import URLResolver, get_resolver

from tests.django.worlds import ready
from trivet.control.registry import actions

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]
UNSAFE = ("POST", "PUT", "PATCH", "DELETE", "NONSENSE")
VALUES = {
    "name": "churn",
    "number": 1,
    "fingerprint": "0",
    "object_id": "1",
    "app_label": "trivet",
    "content_type_id": 1,
}
VALUES |= {"url": "nothing/", "user_id": 1, "id": 1, "identity": "019a0000-0000-7000-8000-000000000000"}
FOREIGN = (
    "https://evil.example",
    "http://testserver.evil.example",
    "null",
    "https://testserver:81",
    "http://testserver:8",
)


def addresses() -> list[str]:
    """Return an address below each pattern of the site."""
    found = []

    def walk(patterns, begun):
        for one in patterns:
            route = str(one.pattern)
            if isinstance(one, URLResolver):
                walk(one.url_patterns, begun + route)
            else:
                found.append(begun + (filled(one.pattern) if hasattr(one.pattern, "_route") else ""))

    def filled(pattern):
        address = pattern._route
        for name in pattern.converters:
            for kind in ("", *(f"{known}:" for known in ("str", "int", "slug", "path"))):
                address = address.replace(f"<{kind}{name}>", str(VALUES[name]))
        return address

    walk(get_resolver("trivet.server.urls").url_patterns, "/")
    return sorted(set(found))


@pytest.fixture
def world(admin_user):
    version = ready(2)[0]
    actions.promote(model="churn", version=version.number, actor="user:ana")


@pytest.fixture
def forger(world, admin_user):
    """A browser of somebody who may do everything, on a site that asks for tokens."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    return client


def token(client) -> str:
    request = RequestFactory().get("/")
    made = get_token(request)
    client.cookies[site.CSRF_COOKIE_NAME] = request.META["CSRF_COOKIE"]
    return made


def test_D24_without_a_token_every_unsafe_method_is_refused_on_every_path(forger):
    walked = addresses()
    assert len(walked) > 60
    assert {"/models/churn/promote/1/", "/models/churn/labels/", "/models/churn/labels/refused.csv"} <= {*walked}
    for address in walked:
        for method in UNSAFE:
            assert forger.generic(method, address).status_code in (403, 404), (method, address)
            wrong = forger.generic(method, address, headers={"x-csrftoken": "x" * 64})
            assert wrong.status_code in (403, 404), (method, address)


@pytest.mark.parametrize(
    "address",
    [
        *("/models/churn/promote/2/", "/models/churn/try/", "/login/", "/logout/", "/admin/"),
        *("/models/churn/labels/", "/models/churn/labels/refused.csv"),
    ],
)
def test_D24_with_a_token_from_elsewhere_it_is_refused(forger, address):
    made = token(forger)
    for origin in FOREIGN:
        headers = {"x-csrftoken": made, "origin": origin}
        assert forger.post(address, headers=headers).status_code == 403, origin
        assert forger.post(address, headers=headers, secure=True).status_code == 403, origin
        referred = {"x-csrftoken": made, "referer": f"{origin}/"}
        assert forger.post(address, headers=referred, secure=True).status_code == 403, origin
    assert forger.post(address, headers={"x-csrftoken": made}, secure=True).status_code == 403  # and without a Referer


def test_D24_from_the_site_itself_with_a_token_it_is_done(forger):
    page = forger.get("/models/churn/promote/2/").content.decode()
    generation = page.split('name="generation" value="')[1].split('"')[0]
    headers = {"x-csrftoken": token(forger), "origin": "http://testserver"}
    assert forger.post("/models/churn/promote/2/", {"generation": generation}, headers=headers).status_code == 302


def test_D24_a_site_without_djangos_middleware_asks_for_tokens_too(forger, settings):
    settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "csrf" not in one]
    for address in (
        "/models/churn/promote/2/",
        "/models/churn/roll-back/",
        "/models/churn/try/",
        "/models/churn/labels/",
        "/models/churn/labels/refused.csv",
        "/login/",
        "/logout/",
    ):
        assert forger.post(address).status_code == 403, address
    test_D24_from_the_site_itself_with_a_token_it_is_done(forger)


@pytest.mark.urls("tests.django.console.keyed_urls")
def test_D24_a_session_opens_no_prediction_path_of_a_site_that_mounts_them(live_parcels, admin_user):
    forger = Client(headers={"host": "localhost"})
    forger.force_login(admin_user)
    for address in ("/v2/models", "/v2/models/parcels", "/v2/models/parcels/infer", "/v2/repository/index", "/metrics"):
        for method in ("GET", "POST"):
            answer = (
                forger.get(address) if method == "GET" else forger.post(address, {}, content_type="application/json")
            )
            assert answer.status_code in (401, 405), (method, address, answer.content)
