"""Compressed answers are read from the copy, bounded, and damage does no harm."""

import gzip
import zlib

import pytest

from gatewayz.wire.inflate import Inflater

TEXT = b"data: {}\n\n" * 200


def raw_deflate(data):
    z = zlib.compressobj(wbits=-15)
    return z.compress(data) + z.flush()


CODED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "deflate, raw": raw_deflate(TEXT),
    "gzip, two members": gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:]),
    "gzip, padded": gzip.compress(TEXT) + b"\0" * 20,
    "gzip, but plain": TEXT,
    "deflate, but plain": TEXT,
    "identity": TEXT,
}


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_body_is_decoded_in_any_pieces(name, size):
    coded = CODED[name]
    inflater = Inflater(name.split(",")[0])
    out = b"".join(inflater.feed(coded[i : i + size]) for i in range(0, len(coded), size))
    assert out == TEXT
    assert not inflater.cut


def test_output_is_bounded():
    inflater = Inflater("gzip", max_bytes=1000)
    out = inflater.feed(gzip.compress(b"x" * 10_000_000))
    assert out == b"x" * 1000
    assert inflater.cut
    assert inflater.feed(b"more") == b""


def test_damage_ends_the_reading_and_is_told():
    coded = CODED["gzip"]
    inflater = Inflater("gzip")
    assert inflater.feed(coded[:-8]) == TEXT
    assert inflater.feed(b"no crc32") == b""
    assert inflater.cut
    assert inflater.feed(coded) == b""


def test_endless_members_end():
    inflater = Inflater("gzip")
    inflater.feed(gzip.compress(b"") * 100_000)
    assert inflater.cut
