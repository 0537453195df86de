"""Trace ids on the application's own log lines, so that a line leads to its trace.

    handler.addFilter(TraceContextFilter())          # standard library
    structlog.configure(processors=[add_trace_context, …, JSONRenderer()])

The ids are those of the span of ours that the code runs inside of, else of the application's own
current OpenTelemetry span. Nothing is configured here, and neither structlog nor OpenTelemetry is
imported.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewayz import scope
from gatewayz.span import InferenceContext

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["TraceContext", "TraceContextFilter", "add_trace_context", "current_trace_context"]


class TraceContext(NamedTuple):
    """The W3C ids of a span: 32 and 16 lower-case hex digits."""

    trace_id: str
    span_id: str


def current_trace_context() -> TraceContext | None:
    """Return the ids of the current span, None outside of any. Never raises.

    Of a span that is not traced (`suppress()`, tracing switched off) the ids would lead nowhere:
    those of the traced one around it count.
    """
    node = scope.living()
    while node is not None:
        if isinstance(node, InferenceContext) and node.is_recording():
            return TraceContext(node.trace_id, node.span_id)
        node = node._up  # noqa: SLF001 - a node's way up is the core's own
    return _host_context()


def _host_context() -> TraceContext | None:
    """Return the ids of the application's own OpenTelemetry span, where that API is in use."""
    api = sys.modules.get("opentelemetry.trace")
    current = getattr(api, "get_current_span", None)
    if current is None:
        return None
    found = current().get_span_context()
    if not found.trace_id or not found.span_id:
        return None
    return TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}")


class TraceContextFilter(logging.Filter):
    """Stamps `trace_id` and `span_id` on every log record; lets every record pass.

    Add it to a handler, where it sees the records of all loggers (a logger's filter sees only its
    own). Outside of any span both are `""`, so that a format may always name them:
    `%(levelname)s trace_id=%(trace_id)s %(message)s`. A record that has a `trace_id` already keeps
    its own: it was stamped where it was made, and is handled on another thread.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp one record."""
        if not hasattr(record, "trace_id"):
            found = current_trace_context()
            record.trace_id = "" if found is None else found.trace_id
            record.span_id = "" if found is None else found.span_id
        return True


def add_trace_context(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add `trace_id` and `span_id` to a structlog event, where there is a span: a processor.

    An event that names its `trace_id` itself keeps it.
    """
    del logger, method_name
    if "trace_id" not in event_dict:
        found = current_trace_context()
        if found is not None:
            event_dict["trace_id"] = found.trace_id
            event_dict["span_id"] = found.span_id
    return event_dict
