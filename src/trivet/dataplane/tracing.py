"""Tracing: a span for each prediction, with one for each of its stations, from the clock readings that metrics use.

The spans are made once the request is over, so nothing on its way waits for them. Whoever configures OpenTelemetry in
this process decides what becomes of them; where nobody does, they are dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trivet.dataplane.protocol.messages import Answer
from trivet.dataplane.witness import Passage, Witness

_CONTEXT = TraceContextTextMapPropagator()


class Tracing(Witness):
    """Makes spans with the tracer `trivet` of `provider`, or of the process's own."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("trivet", tracer_provider=provider)

    def see(self, passage: Passage) -> None:
        """Make the spans of `passage`, below the caller's own where it sent a `traceparent`."""
        to_wall = time.time_ns() - time.monotonic_ns()
        parent = _CONTEXT.extract({"traceparent": passage.traceparent}) if passage.traceparent else None
        span = self._tracer.start_span(
            f"predict {passage.model}",
            context=parent,
            kind=SpanKind.SERVER,
            start_time=(passage.began or passage.ended) + to_wall,
            attributes={
                "trivet.door": passage.door,
                "trivet.model": passage.model,
                "trivet.version": passage.version,
                "trivet.code": passage.code,
                "trivet.request_id": passage.request_id,
            },
        )
        if passage.answer is None:
            span.set_status(Status(StatusCode.ERROR, passage.code))
        elif span.is_recording():
            answer = passage.answer
            span.set_attribute("trivet.prediction_id", answer.prediction_id)
            span.set_attribute("trivet.route", answer.route)
            span.set_attribute("trivet.rows", answer.rows)
            inside = trace.set_span_in_context(span)
            for name, start, end in _stations(passage, answer):
                self._tracer.start_span(name, context=inside, start_time=start + to_wall).end(end + to_wall)
        span.end(passage.ended + to_wall)


def _stations(passage: Passage, answer: Answer) -> Iterator[tuple[str, int, int]]:
    """Yield each station with when it was reached and left."""
    entered, validated, ran, recorded = answer.stations
    decoded = entered - passage.waited
    asked = validated + min(answer.queued_ns, ran - validated)
    yield "decode", passage.began, decoded
    if passage.waited:
        yield "queue", decoded, entered
    yield "validate", entered, validated
    if answer.queued_ns:
        yield "queue", validated, asked
    yield "infer", asked, ran
    yield "record", ran, recorded
    yield "encode", recorded, passage.ended
