"""A process that answers in a provider's place: canned bytes, from memory.

A request with `"stream":true` gets 100 chunks, each as an event of its own, `gap_ms` apart; any
other one a JSON answer of 1 KB with usage. Argument: {"gap_ms": number}.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tests.benches.http1 import message, serve

CHUNKS = 100
_ABOUT = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "gpt-4o-mini-2024-07-18"}
_USAGE = {"prompt_tokens": 512, "completion_tokens": 256, "total_tokens": 768}


def _event(value: object) -> bytes:
    line = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    text = f"data: {line}\n\n".encode()
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


def _delta(text: str, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    more = {"usage": _USAGE} if finish else {}
    return _event({**_ABOUT, "object": "chat.completion.chunk", "choices": [choice], **more})


ANSWER = message(
    json.dumps(
        {
            **_ABOUT,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "word " * 200},
                    "finish_reason": "stop",
                }
            ],
            "usage": _USAGE,
        }
    ).encode()
)
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_STREAM = [_delta("word ", None)] * (CHUNKS - 1) + [_delta("", "stop")]
_END = _event("[DONE]") + b"0\r\n\r\n"


class Upstream:
    """Answers chat requests."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s

    def __call__(self, transport: asyncio.Transport, target: str, body: bytes) -> None:
        """Answer one request."""
        del target
        if b'"stream":true' not in body:
            transport.write(ANSWER)
            return
        transport.write(_HEAD + _STREAM[0])
        asyncio.get_running_loop().call_later(self._gap_s, self._go_on, transport, 1)

    def _go_on(self, transport: asyncio.Transport, index: int) -> None:
        if transport.is_closing():
            return
        if index == CHUNKS:
            transport.write(_END)
            return
        transport.write(_STREAM[index])
        asyncio.get_running_loop().call_later(self._gap_s, self._go_on, transport, index + 1)


if __name__ == "__main__":
    serve(Upstream(json.loads(sys.argv[1])["gap_ms"] / 1000))
