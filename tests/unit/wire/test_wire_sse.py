"""The SSE splitter: no byte lost or changed, no event late, any chunk border."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.wire import SseSplitter


def split(*chunks, **kwargs):
    splitter = SseSplitter(**kwargs)
    return [e for c in chunks for e in splitter.feed(c)] + splitter.end()


def told(events):
    return [(e.event, e.data) for e in events if e.data is not None]


def by_the_book(stream):
    """An independent reading of the standard's rules, over the whole stream at once."""
    lines = (
        stream.removeprefix(b"\xef\xbb\xbf")
        .replace(b"\r\n", b"\n")
        .replace(b"\r", b"\n")
        .split(b"\n")
    )
    found, name, data = [], None, []
    for line in [*lines, b""]:
        if not line:
            if data:
                found.append((name or None, b"\n".join(data)))
            name, data = None, []
        elif not line.startswith(b":"):
            key, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if key == b"data":
                data.append(value)
            elif key == b"event":
                name = value.decode("utf-8", "replace")
    return found


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [(None, b"a")]),
        (b"data:a\n\n", [(None, b"a")]),
        (b"data:  a\n\n", [(None, b" a")]),
        (b"data: a\r\n\r\n", [(None, b"a")]),
        (b"data: a\r\rdata: b\r\r", [(None, b"a"), (None, b"b")]),
        (b"data: a\n\r\ndata: b\r\n\n", [(None, b"a"), (None, b"b")]),
        (b"event: x\ndata: a\n\n", [("x", b"a")]),
        (b"event:x\ndata:a\n\n", [("x", b"a")]),
        (b"data: a\nevent: x\n\n", [("x", b"a")]),
        (b"data: a\ndata: b\n\n", [(None, b"a\nb")]),
        (b"data\n\n", [(None, b"")]),
        (b"id: 7\nretry: 10\ndata: a\n\n", [(None, b"a")]),
        (b": OPENROUTER PROCESSING\n\ndata: a\n\n", [(None, b"a")]),
        (b":\n\n:\ndata: a\n: in between\ndata: b\n\n", [(None, b"a\nb")]),
        (b"\n\n\n\ndata: a\n\n\n\ndata: b\n\n\n", [(None, b"a"), (None, b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(None, b"a")]),
        ("data: é\u2028€\x0b\x0c\x85\n\n".encode(), [(None, "é\u2028€\x0b\x0c\x85".encode())]),
        (b"event: only a name\n\ndata: a\n\n", [(None, b"a")]),
        (b"data: a\n\ndata: [DONE]", [(None, b"a"), (None, b"[DONE]")]),
        (b"", []),
    ],
)
def test_a_stream_is_split_by_the_rules_of_the_standard(stream, expected):
    assert told(split(stream)) == expected
    assert told(split(*[stream[i : i + 1] for i in range(len(stream))])) == expected
    assert by_the_book(stream) == expected


_pieces = st.sampled_from(
    [b"data: ", b"data:", b"event: ", b": c", b"\n", b"\n", b"\n\n", b"\r", b"\r\n", b"{}", b"a", "é€".encode(), b"\xef\xbb\xbf", b"\x00", b"\xff"]
)  # fmt: skip
_streams = st.lists(_pieces, max_size=40).map(b"".join)


@given(_streams, st.lists(st.integers(0, 200), max_size=12))
def test_any_split_gives_the_same_events_and_returns_every_byte(stream, cuts):
    cuts = sorted({min(c, len(stream)) for c in cuts})
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    events = split(*chunks)

    assert b"".join(e.raw_bytes for e in events) == stream
    assert told(events) == by_the_book(stream)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r", b"\r\r"])
def test_an_event_is_returned_with_the_chunk_that_completes_it(end):
    splitter = SseSplitter()
    assert splitter.feed(b"data: a" + end[:-1]) == []
    (event,) = splitter.feed(end[-1:])
    assert (event.data, event.raw_bytes) == (b"a", b"data: a" + end)


def test_an_lf_after_the_cr_that_ended_an_event_begins_the_next_one():
    splitter = SseSplitter()
    splitter.feed(b"data: a\r\n\r")
    (event,) = splitter.feed(b"\ndata: b\r\n\r\n")
    assert (event.data, event.raw_bytes) == (b"b", b"\ndata: b\r\n\r\n")


def test_comments_pass_at_once_as_events_without_data():
    (event,) = SseSplitter().feed(b": ping\n\n")
    assert (event.event, event.data, event.raw_bytes) == (None, None, b": ping\n\n")


def test_an_oversized_event_passes_in_pieces_and_the_next_one_is_read_again():
    chunks = [b"data: " + b"x" * 40, b"y" * 40, b"z\n", b"\ndata: b\n\n"]
    events = split(*chunks, max_event_bytes=30)
    assert b"".join(e.raw_bytes for e in events) == b"".join(chunks)
    assert told(events) == [(None, b"b")]
    assert max(len(e.raw_bytes) for e in events) < 60


def test_a_large_event_in_small_chunks_is_put_together():
    stream = b"data: " + b"x" * 300_000 + b"\r\n\r\n"
    events = split(*[stream[i : i + 100] for i in range(0, len(stream), 100)])
    assert [len(e.data) for e in events] == [300_000]
