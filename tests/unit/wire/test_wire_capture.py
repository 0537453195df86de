"""The capture keeps head and tail of an answer and counts what it left out."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayz.wire import Capture
from gatewayz.wire.capture import TAIL_BYTES


def test_what_fits_is_kept_as_it_came():
    capture = Capture("openai")
    for n in range(5):
        capture.add(b"%d" % n, n * 10)
    assert capture.chunks == [b"0", b"1", b"2", b"3", b"4"]
    assert capture.times_ns == [0, 10, 20, 30, 40]
    assert (capture.skipped_bytes, capture.gap_index) == (0, None)


def test_beyond_the_bound_head_and_tail_stay_and_the_rest_is_counted():
    capture = Capture("openai", max_bytes=10_000)
    chunks = [bytes([n % 256]) * 1000 for n in range(400)]
    for n, chunk in enumerate(chunks):
        capture.add(chunk, n)
    whole = b"".join(chunks)
    head = b"".join(capture.chunks[: capture.gap_index])
    tail = b"".join(capture.chunks[capture.gap_index :])
    assert whole.startswith(head)
    assert 9_000 <= len(head) <= 10_000
    assert whole.endswith(tail)
    assert TAIL_BYTES * 0.9 <= len(tail) <= 2 * TAIL_BYTES
    assert len(head) + len(tail) + capture.skipped_bytes == len(whole)
    assert len(capture.chunks) == len(capture.times_ns)


def test_many_tiny_chunks_count_with_what_they_cost():
    capture = Capture("openai", max_bytes=10_000)
    for n in range(5000):
        capture.add(b"x", n)
    assert len(capture.chunks) < 2500
    assert sum(map(len, capture.chunks)) + capture.skipped_bytes == 5000


@given(st.lists(st.integers(1, 400_000), max_size=12), st.integers(0, 100_000))
def test_kept_and_skipped_bytes_always_add_up(sizes, max_bytes):
    capture = Capture("openai", max_bytes=max_bytes)
    whole = b""
    for n, size in enumerate(sizes):
        chunk = bytes([n]) * size
        whole += chunk
        capture.add(chunk, n)
    gap = len(capture.chunks) if capture.gap_index is None else capture.gap_index
    head, tail = b"".join(capture.chunks[:gap]), b"".join(capture.chunks[gap:])
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) <= max_bytes
    assert len(tail) <= 3 * TAIL_BYTES
    assert len(head) + len(tail) + capture.skipped_bytes == len(whole)
    assert len(capture.chunks) == len(capture.times_ns)
    assert capture.nbytes >= len(head) + len(tail)
