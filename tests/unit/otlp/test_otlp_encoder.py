"""What the encoder writes is what opentelemetry-proto reads, whatever it is given."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gatewayz.otlp import encoder
from gatewayz.otlp.encoder import EVENT, Key, clean_utf8

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = "00f067aa0ba902b7"
INT64 = range(-(2**63), 2**63)

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=400)
any_number = st.one_of(st.integers(), st.integers(-(2**70), 2**70), st.booleans())
any_value = st.recursive(
    st.one_of(st.none(), any_text, any_number, st.floats(), st.binary(max_size=50)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(any_text, inner, max_size=5)
    ),
    max_leaves=12,
)

unhurried = settings(deadline=None)


def a_span(**changes):
    fields = {"trace_id": TRACE, "span_id": SPAN, "name": "chat", "start_ns": 1, "end_ns": 2}
    return encoder.span(**{**fields, **changes})


def decoded(span: bytes) -> Span:
    body = encoder.request(encoder.resource({}), encoder.scope("s"), [span])
    return ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0]


def only_attribute(attribute: bytes) -> AnyValue:
    (found,) = decoded(a_span(attributes=attribute)).attributes
    assert found.key == "key"
    return found.value


def repaired(text: str) -> str:
    """What a text must become: valid, without NUL, every character that can be kept kept."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")


def same_float(one: float, other: float) -> bool:
    return struct.pack("<d", one) == struct.pack("<d", other) or (
        math.isnan(one) and math.isnan(other)
    )


def assert_means(found: AnyValue, value) -> None:
    """Assert that a decoded value is the one that was given, as OTLP can hold it."""
    kind = found.WhichOneof("value")
    if value is None:
        assert kind is None
    elif isinstance(value, bool):
        assert (kind, found.bool_value) == ("bool_value", value)
    elif isinstance(value, int):
        if value in INT64:
            assert (kind, found.int_value) == ("int_value", value)
        else:
            assert (kind, found.string_value) == ("string_value", str(value))
    elif isinstance(value, float):
        assert kind == "double_value"
        assert same_float(found.double_value, value)
    elif isinstance(value, str):
        assert (kind, found.string_value) == ("string_value", repaired(value))
    elif isinstance(value, bytes):
        assert (kind, found.bytes_value) == ("bytes_value", value)
    elif isinstance(value, list):
        assert kind == "array_value"
        for one, given_one in zip(found.array_value.values, value, strict=True):
            assert_means(one, given_one)
    else:
        assert kind == "kvlist_value"
        for pair, (name, given_one) in zip(found.kvlist_value.values, value.items(), strict=True):
            assert pair.key == repaired(name)
            assert_means(pair.value, given_one)


@given(any_text)
@unhurried
def test_any_text_arrives_valid_and_without_nul(text):
    assert only_attribute(Key("key").text(text)).string_value == repaired(text)


@given(any_number)
@unhurried
def test_any_number_arrives_as_itself_or_as_text(number):
    assert_means(only_attribute(Key("key").value(number)), number)


@given(st.floats())
@unhurried
def test_any_float_arrives_bit_for_bit(number):
    assert same_float(only_attribute(Key("key").double(number)).double_value, number)


@given(any_value)
@unhurried
def test_any_value_arrives_by_a_key_and_by_a_mapping(value):
    if value is None:
        assert Key("key").value(None) == encoder.attributes({"key": None}) == b""
        return
    assert_means(only_attribute(Key("key").value(value)), value)
    assert_means(only_attribute(encoder.attributes({"key": value})), value)


@given(st.lists(any_text))
@unhurried
def test_a_list_of_texts_arrives_as_an_array(texts):
    assert_means(only_attribute(Key("key").texts(texts)), texts)


@given(any_text, any_text, any_text, any_text)
@unhurried
def test_any_text_may_stand_in_every_place_of_a_span(name, key, message, state):
    events = encoder.event(name, 5, Key(key, EVENT).text(message))
    links = encoder.link(TRACE, PARENT, trace_state=state)
    span = decoded(
        a_span(
            name=name, attributes=Key(key).text(name), events=events, links=links, status=2,
            status_message=message, trace_state=state,
        )
    )  # fmt: skip
    assert span.name == span.events[0].name == repaired(name)
    assert span.attributes[0].key == span.events[0].attributes[0].key == repaired(key)
    assert span.status.message == repaired(message)
    assert span.trace_state == span.links[0].trace_state == repaired(state)


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_a_text_of_any_size_has_the_right_length_prefix(size):
    text = "x" * size
    assert only_attribute(Key("key").text(text)).string_value == text
    assert only_attribute(Key("key").texts([text, "y"])).array_value.values[0].string_value == text


def test_the_same_text_again_is_the_same_attribute():
    key = Key("key")
    first, second, other = key.text("a"), key.text("a"), key.text("b")
    assert first == second != other


def test_a_hundred_thousand_keys_arrive():
    values = {f"key-{n}": n for n in range(100_000)}
    span = decoded(a_span(attributes=encoder.attributes(values)))
    assert {a.key: a.value.int_value for a in span.attributes} == values


def test_a_number_too_long_to_write_in_decimal_becomes_hexadecimal():
    value = 10**5_000
    assert only_attribute(Key("key").integer(value)).string_value == hex(value)


def test_an_unknown_object_becomes_the_name_of_its_type_and_shows_nothing_else():
    found = only_attribute(Key("key").value([Decimal("0.1"), object()]))
    assert [v.string_value for v in found.array_value.values] == ["<Decimal>", "<object>"]


def test_a_value_that_holds_itself_ends_sixteen_levels_down():
    loop: list[object] = []
    loop.append(loop)
    found = only_attribute(Key("key").value(loop))
    depth = 0
    while found.WhichOneof("value") == "array_value":
        (found,) = found.array_value.values
        depth += 1
    assert (depth, found.string_value) == (16, "…")


def test_every_field_of_a_span_arrives():
    span = decoded(
        a_span(
            parent_span_id=PARENT,
            parent_is_remote=True,
            kind=encoder.KIND_CLIENT,
            start_ns=1_790_000_000_123_456_789,
            end_ns=1_790_000_001_123_456_789,
            events=encoder.event("retry", 7, Key("n", EVENT).integer(-1)),
            links=encoder.link(TRACE, PARENT, Key("why", encoder.LINK).text("cause")),
            status=encoder.STATUS_ERROR,
            status_message="no",
            trace_flags=1,
            trace_state="vendor=1",
        )
    )
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (
        TRACE,
        SPAN,
        PARENT,
    )
    assert span.kind == Span.SPAN_KIND_CLIENT
    assert span.start_time_unix_nano == 1_790_000_000_123_456_789
    assert span.end_time_unix_nano == 1_790_000_001_123_456_789
    assert span.flags == 0x301
    assert span.trace_state == "vendor=1"
    assert (span.status.code, span.status.message) == (2, "no")
    assert (span.events[0].name, span.events[0].time_unix_nano) == ("retry", 7)
    assert span.events[0].attributes[0].value.int_value == -1
    assert (span.links[0].trace_id.hex(), span.links[0].span_id.hex()) == (TRACE, PARENT)
    assert span.links[0].attributes[0].value.string_value == "cause"


def test_a_root_span_has_no_parent_and_says_that_it_is_known():
    span = decoded(a_span(parent_span_id=None))
    assert span.parent_span_id == b""
    assert span.flags == 0x101


@pytest.mark.parametrize("wrong", [{"trace_id": "ab"}, {"span_id": "ab"}, {"parent_span_id": "ab"}])
def test_an_id_of_the_wrong_length_is_refused_before_a_collector_refuses_the_batch(wrong):
    with pytest.raises(ValueError, match="hexadecimal digits"):
        a_span(**wrong)


def test_resource_and_scope_arrive():
    body = encoder.request(
        encoder.resource({"service.name": "api", "n": 2}), encoder.scope("gatewayz", "1.0"), []
    )
    (found,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert next((a.key, a.value.string_value) for a in found.resource.attributes) == (
        "service.name",
        "api",
    )
    assert (found.scope_spans[0].scope.name, found.scope_spans[0].scope.version) == (
        "gatewayz",
        "1.0",
    )


def test_two_requests_joined_are_one_request():
    one = encoder.request(encoder.resource({"service.name": "a"}), encoder.scope("s"), [a_span()])
    two = encoder.request(
        encoder.resource({"service.name": "b"}), encoder.scope("s"), [a_span()] * 2
    )
    found = ExportTraceServiceRequest.FromString(one + two).resource_spans
    names = [r.resource.attributes[0].value.string_value for r in found]
    assert names == ["a", "b"]
    assert [len(r.scope_spans[0].spans) for r in found] == [1, 2]


def test_clean_text_is_left_as_it_is():
    assert clean_utf8("Zürich ☂ 👩‍👩‍👧") == "Zürich ☂ 👩‍👩‍👧".encode()
