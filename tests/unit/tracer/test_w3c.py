"""Trace headers are parsed strictly: what is malformed starts a new trace."""

import pytest

from gatewayz.w3c import Remote, format_traceparent, parse_headers, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_is_read_and_written_alike():
    remote = parse_traceparent(f"00-{TRACE}-{SPAN}-01")
    assert remote == Remote(int(TRACE, 16), int(SPAN, 16), 1, "")
    assert (
        format_traceparent(remote.trace_id, remote.span_id, remote.flags) == f"00-{TRACE}-{SPAN}-01"
    )


def test_a_later_version_may_say_more():
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-03-extra").flags == 3


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
    ],
)
def test_a_malformed_traceparent_names_no_span(header):
    assert parse_traceparent(header) is None


def test_headers_are_found_in_any_case():
    remote = parse_headers({"TraceParent": f"00-{TRACE}-{SPAN}-00", "TRACESTATE": "a=b"})
    assert (remote.flags, remote.state) == (0, "a=b")
