"""The root of the ready-made server: a page for people, one word for probes (conformance item 55)."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.urls("trivet.server.urls")]


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_55_the_root_tells_a_probe_that_the_server_is_alive(accept: str | None):
    headers = {} if accept is None else {"Accept": accept}
    response = Client().get("/", headers=headers)
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert response["Content-Type"] == "application/json"
    assert Client().head("/", headers=headers).status_code == 200
    assert Client().post("/", headers=headers).status_code == 405


def test_55_the_root_leads_a_person_to_the_console():
    response = Client().get("/", headers={"Accept": "text/html,application/xhtml+xml;q=0.9"})
    assert response.status_code == 302
    assert "/login/" in response["Location"]
