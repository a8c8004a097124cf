"""The panel of Django Debug Toolbar: what a page asked, as the toolbar stores and shows it."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

import trivet
from tests.contracts.rooms import loaded_by
from tests.django.declared import declaring, feature_set, predictor
from tests.django.worlds import live_model
from tests.shop.models import Customer
from trivet import f
from trivet.console import debug_toolbar
from trivet.control.registry.models import RegisteredModel
from trivet.core.errors import Unavailable
from trivet.serving import onlookers, process
from trivet.testing import override_predictor

PANEL = "trivet.console.debug_toolbar.PredictionsPanel"
ROW = {"seats": 3}


def page(request: HttpRequest, count: int) -> HttpResponse:
    """Ask about some rows, one by one."""
    for _ in range(count):
        trivet.predict("churn", ROW)
    return HttpResponse("<body>done</body>")


def batch(request: HttpRequest) -> HttpResponse:
    """Ask about some rows together."""
    trivet.predict_many("churn", [ROW, {"seats": 4}, {"seats": None}])
    return HttpResponse("<body>done</body>")


def hostile(request: HttpRequest) -> HttpResponse:
    """Ask with what somebody wrote into a form."""
    trivet.predict("churn", {"<b>seats": "<script>alert(1)</script>" + "x" * 1000})
    return HttpResponse("<body>done</body>")


def away(request: HttpRequest) -> HttpResponse:
    """Ask a model that is busy."""
    trivet.predict("churn", ROW, fallback=0.25)
    return HttpResponse("<body>done</body>")


def city(request: HttpRequest) -> HttpResponse:
    """Ask about somebody of whom the city is nobody's business."""
    trivet.predict("churn", {"age": 3.0, "city": "Oslo"})
    return HttpResponse("<body>done</body>")


def customers(request: HttpRequest) -> HttpResponse:
    """Ask a model about rows of a table."""
    for one in Customer.objects.order_by("pk"):
        trivet.predict("churn", one)
    return HttpResponse("<body>done</body>")


async def coroutine(request: HttpRequest, seats: int) -> HttpResponse:
    """Ask in a coroutine, at the same time as others."""
    await asyncio.gather(
        trivet.apredict("churn", {"seats": seats}), trivet.apredict_many("churn", [{"seats": seats}] * 2)
    )
    return HttpResponse("<body>done</body>")


urlpatterns = [
    path("<int:count>/", page),
    path("batch/", batch),
    path("hostile/", hostile),
    path("away/", away),
    path("city/", city),
    path("customers/", customers),
    path("coroutine/<int:seats>/", coroutine),
]
PAGES = len(urlpatterns)


@pytest.fixture(autouse=True)
def _toolbar(settings: Any) -> Iterator[None]:
    """Have the toolbar in the project, as its documentation says."""
    with override_settings(
        DEBUG=True,
        TRIVET_TESTS="stub",
        INTERNAL_IPS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[*settings.INSTALLED_APPS, "debug_toolbar"],
        MIDDLEWARE=["debug_toolbar.middleware.DebugToolbarMiddleware", *settings.MIDDLEWARE],
        DEBUG_TOOLBAR_PANELS=[PANEL],
    ):
        toolbar = import_module("debug_toolbar.toolbar")  # which has a table, so it is not imported before
        urlpatterns[PAGES:] = toolbar.debug_toolbar_urls()
        yield
        store().clear()
    toolbar.DebugToolbar._panel_classes = toolbar.DebugToolbar._urlpatterns = None
    onlookers.present = ()


def store() -> Any:
    """Return where the toolbar keeps what its panels found."""
    return import_module("debug_toolbar.store").get_store()


def shown() -> tuple[str, str]:
    """Return the title of the panel and what it shows, of the page that was made last, as the browser asks for it."""
    request_id = list(store().request_ids())[-1]
    toolbar = import_module("debug_toolbar.toolbar").DebugToolbar.fetch(request_id, "PredictionsPanel")
    panel = toolbar.get_panel_by_id("PredictionsPanel")
    asked = {"request_id": request_id, "panel_id": "PredictionsPanel"}
    return panel.title, Client().get("/__debug__/render_panel/", asked).json()["content"]


def text(content: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", content)).split())


def test_each_call_is_shown_with_what_was_asked_and_answered():
    with override_predictor("churn", returns=0.83, decision="churned"):
        answer = Client().get("/2/")
    title, content = shown()
    assert re.fullmatch(r"Predictions: 2 calls · [\d.]+ (µs|ms)", title)
    assert len(re.findall("<tr>", content)) == 3
    assert re.search(r"churn stub 1 seats 3 churned 0.83 [\d.]+ (µs|ms)", text(content))
    assert "N+1" not in content
    assert "Predictions 2 calls · " in text(answer.content.decode())  # in the side bar


def test_five_single_calls_of_a_model_are_told_and_a_batch_is_not():
    Client().get("/4/")
    assert "N+1" not in shown()[1]
    Client().get("/5/")
    assert "churn was asked about 5 single rows. N+1: use predict_many." in text(shown()[1])
    Client().get("/batch/")
    title, content = shown()
    assert title.startswith("Predictions: 1 call · ")
    assert "3 seats 3 0.5 and 2 more rows" in text(content)
    assert "N+1" not in content


def test_a_page_that_asks_nothing_says_so():
    Client().get("/0/")
    assert shown()[0] == "Predictions: 0 calls"
    assert text(shown()[1]) == "No model was asked while this page was made."


def test_what_somebody_wrote_is_text_and_is_cut():
    Client().get("/hostile/")
    content = shown()[1]
    assert "<script" not in content
    assert "<b>" not in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt;xxx" in content
    assert "x" * 201 not in content


def test_an_answer_in_place_of_a_model_is_told_as_such():
    with override_predictor("churn", raises=Unavailable("churn: its queue is full.")):
        Client().get("/away/")
    assert "churn fallback 1 0.25" in text(shown()[1])


@pytest.mark.django_db
def test_what_a_feature_set_calls_sensitive_is_shown_by_name_alone():
    Customer.objects.create(seats=3, email="ana@example.com")
    with declaring():
        predictor("Churn", features=feature_set(Customer, "seats", city=f.Column("email", sensitive=True)))
        Client().get("/customers/")
    assert "seats 3, city hidden" in text(shown()[1])
    assert "ana@example.com" not in str(store().panel(list(store().request_ids())[-1], "PredictionsPanel"))


@pytest.mark.django_db(transaction=True)
def test_what_the_registry_hides_of_a_live_model_is_hidden_and_its_version_and_cause_are_told(settings: Any):
    settings.TRIVET_TESTS = "real"
    settings.TRIVET_KEEPER = "external"
    live_model("churn")
    RegisteredModel.objects.update(sensitive=["city"])
    began = process.Process(process.WorkerKind.PROCESS)
    began.step()
    process._process = began
    try:
        Client().get("/city/")
    finally:
        process._process = None
        began.stop()
    content = text(shown()[1])
    assert "churn 1 all traffic 1 age 3, city hidden" in content
    assert "Oslo" not in content


def test_pages_that_are_made_at_once_in_coroutines_each_show_their_own():
    async def both() -> None:
        await asyncio.gather(*(AsyncClient().get(f"/coroutine/{seats}/") for seats in (1, 2)))

    asyncio.run(both())
    of = []
    for request_id in store().request_ids():
        calls = store().panel(request_id, "PredictionsPanel")["calls"]
        of.append([(call["rows"], call["inputs"][0]["value"]) for call in calls])
    assert sorted(sorted(calls) for calls in of) == [[("1", "1"), ("2", "1")], [("1", "2"), ("2", "2")]]


def test_outside_of_a_page_nothing_is_heard():
    Client().get("/1/")
    trivet.predict("churn", ROW)
    assert debug_toolbar._heard.get() is None
    assert shown()[0].startswith("Predictions: 1 call · ")


def test_nobody_is_told_of_calls_before_the_toolbar_is_shown():
    with override_settings(INTERNAL_IPS=[]):
        Client().get("/1/")
    assert onlookers.present == ()
    for _ in range(2):
        Client().get("/1/")
    assert onlookers.present == (debug_toolbar.hear,)


def test_a_project_without_the_toolbar_loads_nothing_of_it_and_one_with_it_no_runtime():
    setup = "import django; django.setup(); import trivet.console.urls, trivet.serving.predict"
    assert "debug_toolbar" not in loaded_by(setup)
    loaded = loaded_by("import django; django.setup(); import trivet.console.debug_toolbar")
    assert "debug_toolbar" in loaded
    assert not loaded & {"onnxruntime", "sklearn", "pandas"}
