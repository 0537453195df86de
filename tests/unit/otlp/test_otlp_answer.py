"""What a collector answers is understood, and garbage is not mistaken for an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from gatewayz.answers import Rejected
from gatewayz.otlp.answer import (
    PartialSuccess,
    read_json,
    read_protobuf,
    rejections,
    retry_delay_s,
    status_message,
)
from gatewayz.otlp.protobuf import fields, varint

unhurried = settings(deadline=None)


def answer(rejected: int, message: str) -> bytes:
    found = ExportTraceServiceResponse()
    found.partial_success.rejected_spans = rejected
    found.partial_success.error_message = message
    return found.SerializeToString()


@given(st.integers(0, 2**63 - 1), st.text(st.characters(codec="utf-8"), max_size=200))
@unhurried
def test_a_partial_success_is_read(rejected, message):
    found = read_protobuf(answer(rejected, message))
    shown = " ".join(message.split())
    assert found == (PartialSuccess(rejected, shown) if rejected or shown else None)


def test_an_empty_answer_means_that_all_was_taken():
    assert read_protobuf(b"") is None
    assert read_protobuf(ExportTraceServiceResponse().SerializeToString()) is None


def test_an_answer_longer_than_we_read_still_tells_the_number():
    whole = answer(3, "x" * 200_000)
    assert read_protobuf(whole[:65_536], cut=True) == PartialSuccess(3, "x" * 300)


@given(st.binary(max_size=200))
@unhurried
def test_any_bytes_are_an_answer_or_a_value_error(body):
    try:
        found = read_protobuf(body)
    except ValueError:
        return
    assert found is None or found.rejected >= 0


@pytest.mark.parametrize("garbage", [b"<html>", b"ok", b"\xff" * 12, b"\x0a\x05abc", b"\x00"])
def test_what_is_no_protobuf_is_no_answer(garbage):
    with pytest.raises(ValueError, match=r"protobuf|cut off"):
        read_protobuf(garbage)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", None),
        (b'{"partialSuccess":{}}', None),
        (b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}', PartialSuccess(2, "no")),
        (b'{"partialSuccess":{"rejectedSpans":2}}', PartialSuccess(2, "")),
        (b'{"partialSuccess":{"rejectedSpans":[]}}', None),
        (b'{"partialSuccess":"yes"}', None),
    ],
)
def test_an_answer_in_json_is_read(body, expected):
    assert read_json(body) == expected


@pytest.mark.parametrize("garbage", [b"", b"[]", b"null", b"{", b"\xff"])
def test_what_is_no_json_object_is_no_answer(garbage):
    with pytest.raises(ValueError, match="JSON object"):
        read_json(garbage)


def test_the_message_of_a_protobuf_error_is_found():
    assert status_message(b"\x08\x03\x12\x08bad span") == b"bad span"
    assert status_message(b"plain words") == b"plain words"
    assert status_message(b"") == b""


def test_a_retry_info_is_found_among_the_details():
    def field(number: int, body: bytes) -> bytes:
        return bytes(((number << 3) | 2,)) + varint(len(body)) + body

    duration = b"\x08\x07\x10" + varint(500_000_000)
    info = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, field(1, duration))
    other = field(1, b"type.googleapis.com/google.rpc.Help") + field(2, b"\x0a\x00")
    assert retry_delay_s(b"\x08\x08" + field(3, other) + field(3, info)) == 7.5
    assert retry_delay_s(b"\x08\x08" + field(3, other)) is None
    assert retry_delay_s(b"garbage") is None


def test_when_all_were_refused_each_record_is_rejected_with_the_reason():
    found = rejections(PartialSuccess(2, "too old"), 2)
    assert found == [
        Rejected(0, "partial success: too old"),
        Rejected(1, "partial success: too old"),
    ]


def test_when_some_were_refused_as_many_are_rejected_and_the_reason_says_that_they_are_not_known():
    found = rejections(PartialSuccess(2, ""), 5)
    assert found is not None
    assert len(found) == 2
    assert found[0].reason == "partial success: no reason given (2 of 5 refused, not told which)"


def test_more_refused_than_sent_are_no_more_than_were_sent():
    assert len(rejections(PartialSuccess(9, "no"), 2) or ()) == 2


def test_a_warning_without_refusals_rejects_nothing_and_is_logged(caplog):
    assert rejections(PartialSuccess(0, "slow down"), 5) is None
    assert "slow down" in caplog.text


def test_numbers_of_every_length_are_written_and_read():
    for bits in range(64):
        for value in (2**bits - 1, 2**bits):
            assert list(fields(b"\x08" + varint(value))) == [(1, value)]
