"""Writes OTLP trace export requests as protobuf bytes.

The messages are those of opentelemetry-proto 1.x (`trace/v1/trace.proto`, `common/v1/common.proto`,
`collector/trace/v1/trace_service.proto`). Every function returns one complete, tagged field of its
parent message, so that a message is made by joining the fields it holds:

    request( resource({...}), scope("gatewayz", "1.0"), [
        span(..., attributes=b"".join([MODEL.text("gpt-4"), INPUT_TOKENS.integer(12)])) ])

and two requests joined are one request. Blocks that repeat (resource, scope, the header of a key)
are encoded once and kept by the caller. Nothing here raises for a value: text is made valid UTF-8
without NUL, an integer beyond 64 bits becomes text, an unknown object becomes the name of its type.
All functions are pure and may be called from any thread.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from gatewayz.otlp.protobuf import length_delimited, varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "EVENT",
    "KIND_CLIENT",
    "KIND_INTERNAL",
    "LINK",
    "RESOURCE",
    "SCOPE",
    "SPAN",
    "STATUS_ERROR",
    "STATUS_OK",
    "STATUS_UNSET",
    "Key",
    "attributes",
    "clean_utf8",
    "event",
    "link",
    "request",
    "request_parts",
    "resource",
    "scope",
    "span",
]

SPAN: Final = 0x4A
EVENT: Final = 0x1A
LINK: Final = 0x22
RESOURCE: Final = 0x0A
SCOPE: Final = 0x1A
"""Tags of the `attributes` field of each message that has one; tells `Key` where it is used."""

KIND_INTERNAL: Final = 1
KIND_CLIENT: Final = 3
STATUS_UNSET: Final = 0
STATUS_OK: Final = 1
STATUS_ERROR: Final = 2

_MAX_DEPTH: Final = 16
_INT64: Final = range(-(2**63), 2**63)
_double = struct.Struct("<d").pack
_times = struct.Struct("<BQBQ").pack
_fixed64 = struct.Struct("<BQ").pack
_SHORT: Final = 256
_KNOWN: Final = 128
_SMALL = tuple(bytes((n,)) for n in range(128))
# The field `flags`: W3C flags, bit 8 "it is known whether the parent is remote", bit 9 "it is".
_FLAGS = tuple(
    tuple(b"\x85\x01" + struct.pack("<I", known | flags) for flags in range(256))
    for known in (0x100, 0x300)
)


def clean_utf8(text: str) -> bytes:
    """Return a text as valid UTF-8 without NUL; a lone surrogate becomes U+FFFD."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    return raw.replace(b"\0", b"") if b"\0" in raw else raw


class Key:
    """An attribute's name, encoded once. Make one per name and place, and keep it.

    Each method returns the whole attribute, ready to be joined with others.
    """

    __slots__ = (
        "_bool",
        "_double",
        "_header",
        "_ints",
        "_known",
        "_lists",
        "_tag",
        "_texts",
        "name",
    )

    def __init__(self, name: str, place: int = SPAN) -> None:
        """Encode the headers; `place` is the message the attribute belongs to."""
        key = length_delimited(0x0A, clean_utf8(name))
        self.name = name
        self._tag = bytes((place,))
        self._header = key + b"\x12"
        self._double = self._prefix(9) + b"\x21"
        self._bool = tuple(self._prefix(2) + b"\x10" + bit for bit in (b"\0", b"\1"))
        # What precedes a number, by the length of its varint (1 to 10), and a short text, by its size.
        self._ints = tuple(self._prefix(1 + size) + b"\x18" for size in range(11))
        self._texts: dict[int, bytes] = {}
        self._known: dict[str, bytes] = {}
        self._lists: dict[tuple[str, ...], bytes] = {}

    def _prefix(self, size: int) -> bytes:
        inner = self._header + varint(size)
        return self._tag + varint(len(inner) + size) + inner

    def text(self, value: str) -> bytes:
        """Return the attribute with a text."""
        whole = self._known.get(value)
        if whole is not None:
            return whole
        whole = self.utf8(clean_utf8(value))
        # Models, providers and outcomes repeat; where values do not, the first few are kept in vain.
        if len(whole) < _SHORT and len(self._known) < _KNOWN:
            self._known[value] = whole
        return whole

    def utf8(self, raw: bytes) -> bytes:
        """Return the attribute with a text that is valid UTF-8 already."""
        size = len(raw)
        prefix = self._texts.get(size)
        if prefix is None:
            head = b"\x0a" + varint(size)
            prefix = self._prefix(len(head) + size) + head
            if size < _SHORT:
                self._texts[size] = prefix
        return prefix + raw

    def integer(self, value: int) -> bytes:
        """Return the attribute with a number; one beyond 64 bits becomes text."""
        if 0 <= value < 0x80:
            return self._ints[1] + _SMALL[value]
        if 0 <= value < 0x4000:
            return self._ints[2] + varint(value)
        if value not in _INT64:
            return self.text(_digits(value))
        number = varint(value & 0xFFFFFFFFFFFFFFFF)
        return self._ints[len(number)] + number

    def double(self, value: float) -> bytes:
        """Return the attribute with a floating-point number, NaN and infinities included."""
        return self._double + _double(value)

    def boolean(self, value: bool) -> bytes:
        """Return the attribute with a truth value."""
        return self._bool[1 if value else 0]

    def texts(self, values: Iterable[str]) -> bytes:
        """Return the attribute with a list of texts."""
        values = tuple(values)
        whole = self._lists.get(values)
        if whole is not None:
            return whole
        items: list[bytes] = []
        for value in values:
            raw = clean_utf8(value)
            size = len(raw)
            if size < 126:
                items += (b"\x0a", _SMALL[size + 2], b"\x0a", _SMALL[size], raw)
            else:
                items.append(length_delimited(0x0A, length_delimited(0x0A, raw)))
        whole = self._value(length_delimited(0x2A, b"".join(items)))
        # Tags and reasons to finish repeat as well.
        if len(whole) < _SHORT and len(self._lists) < _KNOWN:
            self._lists[values] = whole
        return whole

    def value(self, value: Any) -> bytes:
        """Return the attribute with any value; nothing (`b""`) for None.

        Lists become arrays and mappings key-value lists, at most 16 levels deep.
        """
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is int:
            return self.integer(value)
        if kind is bool:
            return self.boolean(value)
        if kind is float:
            return self.double(value)
        if value is None:
            return b""
        return self._value(_any_value(value, _MAX_DEPTH))

    def _value(self, encoded: bytes) -> bytes:
        return self._prefix(len(encoded)) + encoded


def attributes(values: Mapping[str, Any], place: int = SPAN) -> bytes:
    """Return a mapping as attributes of the message `place`. For names known ahead use `Key`."""
    tag = bytes((place,))
    return b"".join(tag + pair for pair in _pairs(values, _MAX_DEPTH))


def event(name: str, time_ns: int, attributes: bytes = b"") -> bytes:
    """Return something that happened within a span; attributes are of `EVENT`."""
    body = _fixed64(0x09, time_ns) + length_delimited(0x12, clean_utf8(name)) + attributes
    return length_delimited(0x5A, body)


def link(trace_id: str, span_id: str, attributes: bytes = b"", trace_state: str = "") -> bytes:
    """Return a link to another span; attributes are of `LINK`."""
    body = b"\x0a\x10" + _id(trace_id, 16) + b"\x12\x08" + _id(span_id, 8)
    if trace_state:
        body += length_delimited(0x1A, clean_utf8(trace_state))
    return length_delimited(0x6A, body + attributes)


def span(
    *,
    trace_id: str,
    span_id: str,
    name: str,
    start_ns: int,
    end_ns: int,
    parent_span_id: str | None = None,
    parent_is_remote: bool = False,
    kind: int = KIND_INTERNAL,
    attributes: bytes = b"",
    events: bytes = b"",
    links: bytes = b"",
    status: int = STATUS_UNSET,
    status_message: str = "",
    trace_flags: int = 1,
    trace_state: str = "",
) -> bytes:
    """Return one span. Ids are lower-case hex; times are nanoseconds since the epoch.

    `attributes`, `events` and `links` are what `Key`, `event` and `link` returned, joined. Raises
    ValueError for an id of the wrong length: a collector refuses the whole batch over one.
    """
    raw_name = clean_utf8(name)
    trace, this = bytes.fromhex(trace_id), bytes.fromhex(span_id)
    parent = bytes.fromhex(parent_span_id) if parent_span_id else b""
    if len(trace) != 16 or len(this) != 8 or len(parent) not in {0, 8}:
        msg = "a trace id must be 32 hexadecimal digits and a span id 16"
        raise ValueError(msg)
    state = length_delimited(0x1A, clean_utf8(trace_state)) if trace_state else b""
    status_field = b""
    if status or status_message:
        message = length_delimited(0x12, clean_utf8(status_message)) if status_message else b""
        status_field = length_delimited(0x7A, message + b"\x18" + _SMALL[status])
    body = b"".join(
        (
            b"\x0a\x10",
            trace,
            b"\x12\x08",
            this,
            state,
            b"\x22\x08" if parent else b"",
            parent,
            b"\x2a",
            varint(len(raw_name)),
            raw_name,
            b"\x30",
            _SMALL[kind],
            _times(0x39, start_ns, 0x41, end_ns),
            attributes,
            events,
            links,
            status_field,
            _FLAGS[parent_is_remote][trace_flags & 0xFF],
        )
    )
    return b"\x12" + varint(len(body)) + body


def resource(values: Mapping[str, Any]) -> bytes:
    """Return who sends the spans: `service.name` and so on."""
    return length_delimited(0x0A, attributes(values, RESOURCE))


def scope(name: str, version: str = "", values: Mapping[str, Any] | None = None) -> bytes:
    """Return what made the spans: the instrumentation's name and version."""
    body = length_delimited(0x0A, clean_utf8(name))
    if version:
        body += length_delimited(0x12, clean_utf8(version))
    return length_delimited(0x0A, body + attributes(values or {}, SCOPE))


def request(resource: bytes, scope: bytes, spans: Iterable[bytes], schema_url: str = "") -> bytes:
    """Return an ExportTraceServiceRequest of one resource and one scope.

    Requests for several resources are joined: protobuf reads them as one.
    """
    return b"".join(request_parts(resource, scope, spans, schema_url))


def request_parts(
    resource: bytes, scope: bytes, spans: Iterable[bytes], schema_url: str = ""
) -> list[bytes]:
    """Return what `request` does, yet to be joined: a batch may be megabytes."""
    spans = [*spans]
    schema = length_delimited(0x1A, clean_utf8(schema_url)) if schema_url else b""
    of_scope = len(scope) + sum(map(len, spans)) + len(schema)
    size_of_scope = varint(of_scope)
    whole = len(resource) + 1 + len(size_of_scope) + of_scope + len(schema)
    head = b"".join((b"\x0a", varint(whole), resource, b"\x12", size_of_scope, scope))
    return [head, *spans, schema, schema]


def _id(text: str, size: int) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != size:
        msg = f"an id must be {size * 2} hexadecimal digits, got {len(text)} characters"
        raise ValueError(msg)
    return raw


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # beyond what Python writes in decimal (sys.set_int_max_str_digits)
        return hex(value)


def _pairs(values: Mapping[Any, Any], depth: int) -> Iterable[bytes]:
    for name, value in values.items():
        if value is None and depth == _MAX_DEPTH:
            continue
        key = clean_utf8(name if isinstance(name, str) else str(name))
        encoded = _any_value(value, depth)
        pair = b"".join((b"\x0a", varint(len(key)), key, b"\x12", varint(len(encoded)), encoded))
        yield varint(len(pair)) + pair


def _any_value(value: Any, depth: int) -> bytes:
    """Return the fields of an AnyValue; none of them for None."""
    if isinstance(value, str):
        return length_delimited(0x0A, clean_utf8(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if value in _INT64:
            return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
        return length_delimited(0x0A, _digits(value).encode())
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return length_delimited(0x3A, bytes(value))
    if depth <= 0:
        return length_delimited(0x0A, "…".encode())
    if isinstance(value, (list, tuple, set, frozenset)):
        items = (length_delimited(0x0A, _any_value(item, depth - 1)) for item in value)
        return length_delimited(0x2A, b"".join(items))
    if hasattr(value, "items"):
        fields = (b"\x0a" + pair for pair in _pairs(value, depth - 1))
        return length_delimited(0x32, b"".join(fields))
    # The text of an unknown object may hold anything, a secret too.
    return length_delimited(0x0A, clean_utf8(f"<{type(value).__name__}>"))
