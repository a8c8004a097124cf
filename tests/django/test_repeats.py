"""A model that is asked row by row while a page is made: told once in DEBUG, and never counted elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextvars import copy_context

import pytest
from django.core.signals import request_finished, request_started
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

import trivet
from trivet.serving import repeats

ROW = {"tenure_months": 3}


def page(request: HttpRequest, count: int) -> HttpResponse:
    """Ask about some rows, one by one."""
    for _ in range(count):
        trivet.predict("churn", ROW)
    trivet.predict("late", ROW)
    trivet.predict_many("late", [ROW] * 20)
    return HttpResponse("done")


urlpatterns = [path("<int:count>/", page)]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def _in_debug() -> Iterator[None]:
    with override_settings(DEBUG=True):
        repeats.watch_requests()
    yield
    request_started.disconnect(dispatch_uid="trivet.repeats.begin")
    request_finished.disconnect(dispatch_uid="trivet.repeats.end")


@pytest.fixture(autouse=True)
def _stubs() -> Iterator[None]:
    with override_settings(TRIVET_TESTS="stub"):
        yield


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == repeats.__name__]


@pytest.mark.usefixtures("_in_debug")
def test_a_loop_of_twenty_is_told_once_and_names_predict_many(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        Client().get("/20/")
        assert told(caplog) == [
            'event=predicted_one_by_one model=churn rows=5 remedy="N+1: use predict_many, which asks for all rows together"'
        ]
        Client().get("/4/")
        Client().get("/4/")
        assert len(told(caplog)) == 1
        Client().get("/5/")
    assert len(told(caplog)) == 2


@pytest.mark.usefixtures("_in_debug")
def test_outside_of_requests_nothing_is_counted(caplog: pytest.LogCaptureFixture):
    Client().get("/4/")
    for _ in range(20):
        copy_context().run(trivet.predict, "churn", ROW)
    assert told(caplog) == []
    assert repeats._asked.get() is None


def test_without_debug_nothing_listens_to_requests(caplog: pytest.LogCaptureFixture):
    repeats.watch_requests()
    assert not [one for one in request_started.receivers if "trivet" in str(one[0][0])]
    Client().get("/20/")
    assert told(caplog) == []
