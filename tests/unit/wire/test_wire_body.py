"""Looking into a request body and changing a field of it, every other byte as it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.wire import Peek, peek, replace_fields


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m"}', Peek("m", False, False, False)),
        (b"{}", Peek(None, False, False, False)),
        (b'{"model":null,"stream":null,"stream_options":null}', Peek(None, False, False, False)),
        (b' {"stream" : true, "model" : "a/b"} \n', Peek("a/b", True, False, False)),
        (b'{"model":"m","stream":"true"}', Peek("m", False, False, False)),
        (b'{"model":"m","stream_options":{"include_usage":true}}', Peek("m", False, True, False)),
        (b'{"model":"m","stream_options":{"include_usage":false}}', Peek("m", False, False, False)),
        (b'{"model":"m","stream_options":[]}', Peek("m", False, False, False)),
        (b'{"model":"m","no-log":true}', Peek("m", False, False, True)),
        (b'{"model":"m","no-log":"True"}', Peek("m", False, False, True)),
        (b'{"model":"m","no-log":"false"}', Peek("m", False, False, False)),
        (b'{"model":"m","no-log":null}', Peek("m", False, False, False)),
        (
            b'{"messages":[{"model":3}],"model":"last","model":"wins"}',
            Peek("wins", False, False, False),
        ),
        # valid for other parsers: lone surrogates, NaN, a BOM, bytes that are no UTF-8
        (b'{"x":"\\ud83d","model":"m","stream":true,"no-log":true}', Peek("m", True, False, True)),
        (b'{"x":NaN,"model":"m"}', Peek("m", False, False, False)),
        (b'\xef\xbb\xbf{"model":"m"}', Peek("m", False, False, False)),
        (b'{"x":"\xff","model":"m"}', Peek("m", False, False, False)),
        ('{"model":"mödel"}'.encode(), Peek("mödel", False, False, False)),
    ],
)
def test_peek_tells_what_routing_needs(body, expected):
    assert peek(body) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"model":"m"', "not valid JSON"),
        (b'{"model":"m",}', "not valid JSON"),
        (b'{"model":"m"}x', "not valid JSON"),
        (b"model=m", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"model"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"[NaN]", "must be a JSON object"),
        (b'{"model":3}', "`model` must be a string"),
        (b'{"model":["m"],"x":NaN}', "`model` must be a string"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_peek_says_why_a_body_cannot_be_routed(body, reason):
    with pytest.raises(ValueError, match=reason):
        peek(body)


def test_only_the_named_fields_change_and_every_other_value_keeps_its_bytes():
    body = (
        b'{"model": "up/m","x" : {"a" :  1.00, "b":[ 1e2 ]},"y":"\\u00e9\xc3\xa9", "no-log": true}'
    )
    changed = replace_fields(body, model="m", drop=("no-log", "absent"))
    assert changed == b'{"model":"m","x":{"a" :  1.00, "b":[ 1e2 ]},"y":"\\u00e9\xc3\xa9"}'


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, b'{"include_usage":true}'),
        (b"null", b'{"include_usage":true}'),
        (b"7", b'{"include_usage":true}'),
        (b'{"include_usage":false,"other": 1.0}', b'{"include_usage":true,"other":1.0}'),
    ],
)
def test_usage_is_asked_for_beside_the_other_stream_options(options, expected):
    body = b'{"model":"m"' + (b',"stream_options":' + options if options else b"") + b"}"
    changed = replace_fields(body, include_usage=True)
    assert changed == b'{"model":"m","stream_options":' + expected + b"}"


def test_a_body_that_needs_no_change_is_the_same_object():
    body = b'{ "model": "m" }'
    assert replace_fields(body) is body
    assert replace_fields(body, drop=("no-log",)) is body


@pytest.mark.parametrize(
    "extra", [b'"\\ud83d"', b"NaN", b'"\xff"', b'[{"a":[NaN, -Infinity ]}]', b'"a\x01b"']
)
def test_what_msgspec_refuses_passes_unchanged(extra):
    body = b'\t{ "a" :1 , "x": ' + extra + b' ,"model":"a"}\n'
    assert replace_fields(body, model="b") == b'{"a":1,"x":' + extra + b',"model":"b"}'


@pytest.mark.parametrize("body", [b"[]", b"{", b"", b'{"a":NaN', b"[NaN]"])
def test_a_body_that_is_no_object_is_a_value_error(body):
    with pytest.raises(ValueError, match="the request body"):
        replace_fields(body, model="m")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _json, max_size=6), st.integers(0, 1))
def test_any_object_keeps_its_other_fields(fields, spaced):
    body = json.dumps(fields, separators=(" , ", " : ") if spaced else (",", ":")).encode()
    changed = json.loads(replace_fields(body, model="m", drop=("x",)))
    expected = {**fields, "model": "m"}
    expected.pop("x", None)
    assert json.dumps(changed) == json.dumps(expected)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_peek_or_a_value_error(body):
    try:
        found = peek(body)
    except ValueError as error:
        found = str(error)
    assert isinstance(found, Peek) or "request body" in found or "`model`" in found
