"""Who is told of a request once it is over: the access log, and the makers of spans."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.unit.dataplane.world import World, infer_body
from trivet.dataplane.access_log import AccessLog
from trivet.dataplane.tracing import Tracing

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(tmp_path: Path, spans: InMemorySpanExporter) -> World:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return World(tmp_path, witnesses=(Tracing(provider),))


def test_the_access_log_has_a_line_a_request_and_neither_payload_nor_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    world = World(tmp_path, witnesses=(AccessLog(),))
    with caplog.at_level(logging.INFO, logger="trivet.dataplane.access_log"):
        world.ask(headers={"X-Request-Id": "mine-1"})
        world.ask(body=infer_body(seats=["a secret"]), headers={"X-Request-Id": "mine-2"})
        world.ask(path="/v2/models/made-up/infer", headers={"X-Request-Id": "two\r\nlines"})
        world.ask("GET", "/v2/health/live")
    answered, refused, unknown = caplog.messages
    assert re.fullmatch(r"event=request door=rest model=churn version=1 code=OK us=\d+ request_id=mine-1", answered)
    assert re.fullmatch(
        r"event=request door=rest model=churn version=1 code=BAD_ELEMENT us=\d+ request_id=mine-2", refused
    )
    assert re.fullmatch(
        r"event=request door=rest model=_unknown version=- code=UNKNOWN_MODEL us=0 request_id=[0-9a-f-]{36}", unknown
    )


def test_an_error_tells_the_request_id_that_was_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    world = World(tmp_path, witnesses=(AccessLog(),))
    with caplog.at_level(logging.INFO, logger="trivet.dataplane.access_log"):
        _, _, headers = world.ask(key=None)
    assert caplog.messages[0].endswith(f"request_id={headers['x-request-id']}")


def test_a_request_is_a_span_of_the_callers_trace_with_one_for_each_station(traced: World, spans: InMemorySpanExporter):
    _, answer, _ = traced.ask(headers={"traceparent": TRACEPARENT, "X-Request-Id": "mine"})
    *stations, request = spans.get_finished_spans()
    assert (request.name, request.kind) == ("predict churn", SpanKind.SERVER)
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == SPAN
    assert dict(request.attributes or {}) == {
        "trivet.door": "rest",
        "trivet.model": "churn",
        "trivet.version": 1,
        "trivet.code": "OK",
        "trivet.request_id": "mine",
        "trivet.prediction_id": answer["parameters"]["prediction_id"],
        "trivet.route": "only",
        "trivet.rows": 1,
    }
    assert [span.name for span in stations] == ["decode", "validate", "infer", "record", "encode"]
    assert all(span.parent is not None and span.parent.span_id == request.context.span_id for span in stations)
    borders = [stations[0].start_time, *(span.end_time for span in stations)]
    assert borders == sorted(borders)
    assert (request.start_time, request.end_time) == (borders[0], borders[-1])


def test_a_refused_request_is_a_span_that_says_why(traced: World, spans: InMemorySpanExporter):
    traced.ask(body=infer_body(seats=["many"]))
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "BAD_ELEMENT")
    assert span.parent is None


@pytest.mark.parametrize(
    ("given", "kept"), [(TRACEPARENT, TRACEPARENT), ("00-xyz-1-01", ""), (f"{TRACEPARENT}-more", "")]
)
def test_the_record_keeps_the_callers_trace(tmp_path: Path, given: str, kept: str):
    world = World(tmp_path)
    assert world.ask(headers={"traceparent": given})[0] == 200
    assert world.records()[0].traceparent == kept


def test_who_traces_nothing_imports_nothing_for_it():
    seen = "import sys, trivet.dataplane.frontends.uvicorn; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
