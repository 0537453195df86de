"""The upstream `echo`: answers both wire formats in process, without a key or a network.

It repeats the last user message. Its model's name says how; parts combine with `-` or `,`:

| Model              | What it does                                                         |
|--------------------|----------------------------------------------------------------------|
| `echo`             | answers at once, one chunk a word                                    |
| `echo-tools`       | calls the first tool offered (also: `tool_choice` that demands one)  |
| `echo-error-429`   | answers with this HTTP status, 400 to 599                            |
| `echo-delay-500`   | waits so many milliseconds before its first byte                     |
| `echo-interval-20` | waits so many milliseconds between two chunks                        |
| `echo-chunks-100`  | answers with so many words, one a chunk                              |
| `echo-cut`         | ends its stream without the last events, or breaks off its JSON      |

Any other model name (`echo/gpt-4o`) answers as `echo` does. Usage is echo's own counting, nobody's
estimate: a token is a word. What was said before the last message counts as read from a cache
(Anthropic: what a `cache_control` marks in the last message, as written to it); a request that asks
for reasoning is told that its last message was reasoned about, word for word.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatewayz.gateway.echo_formats import FORMATS, Said, models, read_request
from gatewayz.gateway.refusals import Refusal, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gatewayz.gateway.upstreams import WireFormat

__all__ = ["Behaviour", "Echo", "EchoAnswer", "behaviour"]

_MAX_CHUNKS = 100_000
_MAX_WAIT_MS = 600_000
_NUMBERED = re.compile(r"(error|delay|interval|chunks)[-,](\d{1,6})")
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")


class Behaviour(NamedTuple):
    """What a model's name asks of echo. Times are in seconds."""

    tools: bool = False
    cut: bool = False
    error: int | None = None
    delay_s: float = 0.0
    interval_s: float = 0.0
    chunks: int | None = None


def behaviour(model: str) -> Behaviour:
    """Return what a model's name asks for.

    >>> behaviour("echo-delay-500-chunks-3")
    Behaviour(tools=False, cut=False, error=None, delay_s=0.5, interval_s=0.0, chunks=3)
    """
    name, *_ = re.split(r"[-,]", model, maxsplit=1)
    if name != "echo":
        return Behaviour()
    rest = model[len(name) :]
    numbers = {word: int(number) for word, number in _NUMBERED.findall(rest)}
    words = re.split(r"[-,]", rest)
    error = numbers.get("error")
    chunks = numbers.get("chunks")
    return Behaviour(
        tools="tools" in words,
        cut="cut" in words,
        error=error if error is not None and 400 <= error <= 599 else None,
        delay_s=min(numbers.get("delay", 0), _MAX_WAIT_MS) / 1000,
        interval_s=min(numbers.get("interval", 0), _MAX_WAIT_MS) / 1000,
        chunks=None if chunks is None else min(chunks, _MAX_CHUNKS),
    )


class EchoAnswer:
    """An answer of echo, in the shape of one that came over HTTP."""

    __slots__ = ("_chunks", "raw_headers", "status")

    def __init__(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], chunks: AsyncIterator[bytes]
    ) -> None:
        self.status = status
        self.raw_headers = headers
        self._chunks = chunks

    async def read(self) -> bytes:
        """Return the next chunk; nothing at the end."""
        return await anext(self._chunks, b"")

    def close(self) -> None:
        """Nothing is held open."""


class Echo:
    """Answers requests in process."""

    async def ask(self, method: str, path: str, api: WireFormat, body: Any) -> EchoAnswer:
        """Answer one request; a waiting model waits here."""
        if method == "GET" and path == "/v1/models":
            return _whole(200, models(api))
        name = {"/v1/chat/completions": "chat", "/v1/messages": "messages"}.get(path)
        counting = path == "/v1/messages/count_tokens"
        if method != "POST" or not (name or counting):
            return _error(api, Refusal(404, f"echo does not serve {method} {path}"))
        if not isinstance(body, (bytes, type(None))):
            body = b"".join([part async for part in body])
        try:
            request = msgspec.json.decode(body or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _error(api, Refusal(400, "the request body is not valid JSON"))
        if not isinstance(request, dict):
            return _error(api, Refusal(400, "the request body must be a JSON object"))
        asked = behaviour(str(request.get("model")))
        if asked.delay_s:
            await asyncio.sleep(asked.delay_s)
        if asked.error is not None:
            refusal = Refusal(asked.error, f"echo was asked for an error {asked.error}")
            return _error(api, refusal)
        said = read_request(api, request, call_tool=asked.tools, words=asked.chunks)
        if counting:
            return _whole(200, {"input_tokens": said.input_words})
        if request.get("stream") is True:
            return EchoAnswer(
                200, [_EVENTS, (b"cache-control", b"no-cache")], _stream(api, request, said, asked)
            )
        return await _complete(api, request, said, asked)


async def _complete(
    api: WireFormat, request: dict[str, Any], said: Said, asked: Behaviour
) -> EchoAnswer:
    if asked.interval_s:
        await asyncio.sleep(asked.interval_s * max(len(said.words) - 1, 0))
    if asked.cut:
        encoded = msgspec.json.encode(FORMATS[api].whole(request, said))
        # Of no known length: a client sees JSON that stops in its middle.
        return EchoAnswer(200, [_JSON], _one(encoded[: len(encoded) // 2]))
    return _whole(200, FORMATS[api].whole(request, said))


async def _stream(
    api: WireFormat, request: dict[str, Any], said: Said, asked: Behaviour
) -> AsyncIterator[bytes]:
    opening, content, closing = FORMATS[api].stream(request, said)
    for event in opening:
        yield event
    for number, event in enumerate(content):
        if number:
            # Also without an interval: others get their turn, and are asked whether they left.
            await asyncio.sleep(asked.interval_s)
        yield event
    if not asked.cut:
        for event in closing:
            yield event


async def _one(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


def _whole(status: int, value: Any) -> EchoAnswer:
    body = msgspec.json.encode(value)
    return EchoAnswer(status, [_JSON, (b"content-length", str(len(body)).encode())], _one(body))


def _error(api: WireFormat, refusal: Refusal) -> EchoAnswer:
    headers, body = answer(api, refusal)
    if refusal.status in {429, 503}:
        headers.append((b"retry-after", b"1"))
    return EchoAnswer(refusal.status, headers, _one(body))
