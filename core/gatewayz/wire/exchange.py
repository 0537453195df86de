"""Turns a captured exchange, or an answer handed in, into a Reading."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayz.events import Error
from gatewayz.wire import anthropic, openai, responses
from gatewayz.wire.failure import error_from
from gatewayz.wire.identity import identity
from gatewayz.wire.inflate import Inflater, is_readable
from gatewayz.wire.jsontext import count, decode, mapping, text
from gatewayz.wire.reading import Reading
from gatewayz.wire.request import read_request
from gatewayz.wire.sse import SseEvent, SseSplitter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayz.wire.capture import Capture

__all__ = ["read", "read_answer"]

_Stream = openai.ChatStream | anthropic.MessageStream | responses.ResponseStream


def read(capture: Capture) -> Reading:
    """Return what an exchange said. Never raises, whatever the bytes; cached on the capture.

    Call it after the exchange ended, on any one thread. `error` is what the provider reported, or
    the transport error that ended the answer, or `unreadable_answer` where a success was no JSON.
    """
    if capture.reading is not None:
        return capture.reading
    reading = Reading()
    request = mapping(decode(capture.request_body))
    read_request(request, reading)
    _read_identity(capture, request, reading)
    if capture.chunks or capture.status:
        _Answer(capture, reading).read(count(request.get("n")) or 1)
    if capture.upstream_failed is not None and not reading.terminal and not capture.client_left:
        failure = Error(type="upstream_failed", message=capture.upstream_failed)
        reading.error = reading.error or failure
    if capture.status >= 400:
        known = reading.error or error_from(None, capture.status)
        reading.error = msgspec.structs.replace(known, status=capture.status)
    capture.reading = reading
    return reading


def read_answer(value: Any) -> Reading | None:
    """Return what a whole answer says, given as the SDKs dump it; None where it is no answer.

    Known are chat completions, text completions, embeddings, Anthropic messages and responses.
    Only the fields an answer fills are set: nothing of the request.
    """
    if not isinstance(value, dict):
        return None
    kind = text(value.get("object"))
    reading = Reading(terminal=True)
    if kind in {"chat.completion", "text_completion"} or _is_embeddings(value, kind):
        openai.read_completion(value, reading)
    elif kind == "response":
        responses.read_response(value, reading)
    elif value.get("type") == "message" and "content" in value:
        anthropic.read_message(value, reading)
    else:
        return None
    return reading


def _is_embeddings(value: dict[str, Any], kind: str | None) -> bool:
    found = value.get("data")
    return (
        kind == "list"
        and isinstance(found, list)
        and mapping(found[0] if found else None).get("object") == "embedding"
    )


def _read_identity(capture: Capture, request: dict[str, Any], reading: Reading) -> None:
    who = identity(capture.request_headers, request)
    reading.user_id = who.user_id
    reading.session_id = who.session_id
    reading.tags = who.tags
    reading.metadata = who.metadata
    reading.omit_input = who.omit_input
    reading.omit_output = who.omit_output
    reading.skip_backends = who.skip_backends
    reading.prompt = who.prompt


class _Answer:
    """Reads the answer of one capture into a reading."""

    def __init__(self, capture: Capture, reading: Reading) -> None:
        self.capture = capture
        self.reading = reading
        self.gap = capture.gap_index if capture.skipped_bytes else None
        # Read to its end: neither side broke off.
        self.ended = capture.upstream_failed is None and not capture.client_left
        self.encoding = capture.response_headers.get("content-encoding", "").strip().lower()
        self.inflater = Inflater(self.encoding)
        self.plain = self.encoding in {"", "identity"}
        # The end of the answer cannot be read, though it may have come.
        self.blind = not is_readable(self.encoding)

    def read(self, wanted_choices: int) -> None:
        reading = self.reading
        reading.truncated = self.gap is not None
        if self.blind:
            reading.truncated = True
            reading.terminal = self.ended
            return
        kind = self.capture.response_headers.get("content-type", "").lower()
        if "text/event-stream" in kind or ("json" not in kind and self._looks_like_events()):
            reading.stream = True
            self._read_stream(wanted_choices)
        else:
            self._read_whole()
        if self.inflater.cut:
            reading.truncated = True

    def _looks_like_events(self) -> bool:
        first = b"".join(self.capture.chunks[:3])
        if not self.plain:
            first = Inflater(self.encoding).feed(first)
        first = first.lstrip()
        return first.startswith((b"data:", b"event:", b":", b"\xef\xbb\xbfdata:"))

    # -- streams -------------------------------------------------------------------------------

    def _read_stream(self, wanted_choices: int) -> None:
        reading, splitter, gap = self.reading, SseSplitter(), self.gap
        stream: _Stream | None = None
        index = 0
        for index, chunk in enumerate(self.capture.chunks):
            if index == gap:
                if not self.plain:
                    # A compressed stream cannot be entered in its middle.
                    self.blind = True
                    break
                # The rest of the event that the gap cut is no event, and is passed over.
                splitter = SseSplitter()
                stream = stream or self._stream_for({})
                stream.keep_content = False
            plain = chunk if self.plain else self.inflater.feed(chunk)
            stream = self._take(splitter.feed(plain), stream, index)
        stream = self._take(splitter.end(), stream, index)
        if stream is None and gap is None and type(decode(self._body())) is dict:
            # Announced as a stream, but one JSON object: some servers do so with errors.
            self._read_whole()
            return
        complete = stream is not None and stream.finish(wanted_choices)
        reading.terminal = (
            (stream is not None and stream.done)
            # Not every server sends the last event; one that said why it stopped has said all.
            # With a broken connection something may be missing, the usage for one.
            or (complete and self.capture.upstream_failed is None)
            # The provider itself ended it with an error.
            or reading.error is not None
            or ((self.blind or self.inflater.cut) and self.ended)
        )
        reading.truncated |= self.blind
        if self.capture.status >= 400:
            reading.error = reading.error or error_from(None, self.capture.status, self._body())

    def _take(
        self, events: Iterable[SseEvent], stream: _Stream | None, index: int
    ) -> _Stream | None:
        for event in events:
            data = event.data
            if not data:
                continue
            if data == b"[DONE]":
                stream = stream or self._stream_for({})
                stream.done = True
                continue
            chunk = decode(data)
            if type(chunk) is not dict:
                continue
            if stream is None:
                stream = self._stream_for(chunk)
            if stream.add(event.event, chunk) and self.reading.first_token_index is None:
                self.reading.first_token_index = index
        return stream

    def _stream_for(self, chunk: dict[str, Any]) -> _Stream:
        if self.capture.api == "anthropic":
            return anthropic.MessageStream(self.reading)
        kind = text(chunk.get("type"))
        if kind is not None and "choices" not in chunk and kind.startswith("response."):
            return responses.ResponseStream(self.reading)
        return openai.ChatStream(self.reading)

    # -- whole answers -------------------------------------------------------------------------

    def _read_whole(self) -> None:
        reading, capture = self.reading, self.capture
        if self.gap is not None:
            self._read_around_the_gap(self.gap)
            reading.terminal = self.ended
            return
        body = self._body()
        value = decode(body)
        if capture.status >= 400:
            reading.error = error_from(value, capture.status, body)
            reading.terminal = value is not None or self.ended
        elif isinstance(value, dict):
            self._read_fields(value)
            reading.terminal = True
        elif self.inflater.cut:
            reading.terminal = self.ended
        elif self.ended:
            reading.error = Error(
                type="unreadable_answer", message="the answer is not a JSON object"
            )

    def _body(self) -> bytes:
        body = b"".join(self.capture.chunks)
        if self.plain:
            return body
        self.inflater = Inflater(self.encoding)
        return self.inflater.feed(body)

    def _read_fields(self, value: dict[str, Any]) -> None:
        if self.capture.api == "anthropic":
            anthropic.read_message(value, self.reading)
        elif value.get("object") == "response":
            responses.read_response(value, self.reading)
        else:
            openai.read_completion(value, self.reading)

    def _read_around_the_gap(self, gap: int) -> None:
        """Read what an answer too large to keep says at its beginning and its end."""
        reading, chunks = self.reading, self.capture.chunks
        if not self.plain:
            return
        head = b"".join(chunks[:gap])[:_HEAD_BYTES]
        tail = b"".join(chunks[gap:])
        fields = {
            name: _find_text(name, head) or _find_text(name, tail) for name in ("id", "model")
        }
        usage = _find_last_object("usage", tail)
        self._read_fields({**fields, "usage": usage})
        if self.capture.status >= 400:
            reading.error = error_from(None, self.capture.status, head)


_HEAD_BYTES = 4096


def _find_text(name: str, raw: bytes) -> str | None:
    # Within a JSON string its quotes would be escaped, so this is a field, if maybe a nested one.
    found = re.search(rb'"%s"\s*:\s*("(?:[^"\\]|\\.){1,300}")' % name.encode(), raw)
    return text(decode(found[1])) if found else None


def _find_last_object(name: str, raw: bytes) -> dict[str, Any]:
    position = raw.rfind(b'"%s"' % name.encode())
    if position < 0:
        return {}
    rest = raw[position + len(name) + 2 :].decode("utf-8", "replace").lstrip(": \t\r\n")
    try:
        value, _ = json.JSONDecoder().raw_decode(rest)
    except (ValueError, RecursionError):
        return {}
    return mapping(value)
