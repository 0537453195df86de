"""Log lines carry the ids of the span they were written in."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.handlers
import queue
import subprocess
import sys
import threading

import pytest

from gatewayz import Backend, BackendSettings, Tracer, hookimpl
from gatewayz.logging import TraceContextFilter, add_trace_context, current_trace_context

FORMAT = "%(message)s trace_id=%(trace_id)s span_id=%(span_id)s"


class Kept(Backend):
    @hookimpl
    def on_end(self, event):
        return None


@pytest.fixture
def tracer():
    made = Tracer({}, backends={"kept": Kept(BackendSettings())})
    yield made
    made.shutdown(1)


@pytest.fixture
def log():
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(TraceContextFilter())
    logger = logging.getLogger("tests.of.trace.context")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.written = written
    yield logger
    logger.removeHandler(handler)


def test_a_line_carries_the_ids_of_the_span_around_it(tracer, log):
    with tracer.trace("plan") as outer:
        log.info("outer")
        with tracer.trace_inference("openai", "gpt-4o-mini") as inner:
            log.info("inner")
        log.info("outer again")
    assert log.written.getvalue().splitlines() == [
        f"outer trace_id={outer.trace_id} span_id={outer.span_id}",
        f"inner trace_id={outer.trace_id} span_id={inner.span_id}",
        f"outer again trace_id={outer.trace_id} span_id={outer.span_id}",
    ]


def test_outside_of_any_span_both_are_empty_and_the_format_still_works(log):
    log.info("alone")
    assert log.written.getvalue() == "alone trace_id= span_id=\n"


def test_a_record_stamped_where_it_was_made_keeps_its_ids_on_another_thread(tracer):
    waiting: queue.Queue = queue.Queue()
    handler = logging.handlers.QueueHandler(waiting)
    handler.addFilter(TraceContextFilter())
    logger = logging.getLogger("tests.of.queued.records")
    logger.addHandler(handler)
    try:
        with tracer.trace("here") as span:
            logger.warning("made here")
    finally:
        logger.removeHandler(handler)
    record = waiting.get_nowait()
    seen = []

    def handled() -> None:
        with tracer.trace("elsewhere"):
            TraceContextFilter().filter(record)
            seen.append((record.trace_id, record.span_id))

    thread = threading.Thread(target=handled)
    thread.start()
    thread.join(5)
    assert seen == [(span.trace_id, span.span_id)]


async def test_tasks_beside_each_other_do_not_mix_their_ids(tracer, log):
    async def work(name) -> tuple[str, str]:
        async with tracer.trace(name) as span:
            await asyncio.sleep(0)
            log.info(name)
            return name, f"{name} trace_id={span.trace_id} span_id={span.span_id}"

    done = dict(await asyncio.gather(*(work(f"t{n}") for n in range(5))))
    assert sorted(log.written.getvalue().splitlines()) == sorted(done.values())


def test_inherited_attributes_between_are_no_span(tracer):
    with tracer.trace("plan") as span, tracer.attributes(user_id="u"):
        assert current_trace_context() == (span.trace_id, span.span_id)


def test_in_what_is_not_traced_the_traced_span_around_it_counts(tracer):
    with tracer.trace("plan") as span, tracer.suppress(), tracer.trace("hidden"):
        assert current_trace_context() == (span.trace_id, span.span_id)
    with tracer.suppress(), tracer.trace("hidden"):
        assert current_trace_context() is None


def test_a_tracer_that_is_off_stamps_nothing():
    off = Tracer({"GATEWAYZ_TRACING_ENABLED": "false"})
    off.start()
    with off.trace("plan"):
        assert current_trace_context() is None
    off.shutdown(1)


def test_an_ended_span_stamps_nothing(tracer):
    with tracer.trace("plan") as span:
        span.end()
        assert current_trace_context() is None


def test_the_applications_own_span_counts_where_there_is_none_of_ours(tracer):
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    host = TracerProvider().get_tracer("host")
    with host.start_as_current_span("theirs") as theirs:
        context = theirs.get_span_context()
        ids = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
        assert current_trace_context() == ids
        with tracer.trace("ours") as ours:
            assert current_trace_context() == (ids[0], ours.span_id)
        assert current_trace_context() == ids
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert current_trace_context() is None


def test_structlog_adds_the_ids_within_a_span_alone(tracer):
    structlog = pytest.importorskip("structlog")
    written = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.WriteLogger(written),
        processors=[add_trace_context, structlog.processors.JSONRenderer()],
    )
    with tracer.trace("plan") as span:
        logger.info("inside", n=1)
        logger.info("given", trace_id="mine")
    logger.info("outside")
    inside, given, outside = map(json.loads, written.getvalue().splitlines())
    ids = {"trace_id": span.trace_id, "span_id": span.span_id}
    assert inside == {"event": "inside", "n": 1, **ids}
    assert given == {"event": "given", "trace_id": "mine"}
    assert outside == {"event": "outside"}


def test_it_imports_neither_structlog_nor_opentelemetry_nor_a_backend():
    code = "import sys, gatewayz.logging; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"structlog", "opentelemetry", "pydantic", "msgspec"} & {*loaded}
