"""A process that is the clients: keep-alive connections that ask and time the answers.

Argument: {"port", "connections", "stream": bool, and either "seconds" (every connection asks as
fast as it is answered) or "rate" and "requests" (so many a second, whoever is free asks; a
latency is counted from when the request was due)}. Prints {"requests", "failed", "rps",
"p50_ms", "p99_ms", "ttft_p50_ms", "ttft_p99_ms", "cpu_share"}; `ttft` is the time until the first
byte after an answer's headers. The first tenth is warm-up and not counted in the figures.

Requests and answers are handled as bytes: a client library would cost more than the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from typing import Any, cast

import uvloop

_CONTENT = "Summarise this: " + "lorem ipsum dolor " * 110
_WARM_UP = 0.1


def request(port: int, *, stream: bool) -> bytes:
    """Return a chat request of 2 KB as it goes over the wire."""
    value: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": _CONTENT}],
        "user": "user-1",
    }
    if stream:
        value |= {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(value, separators=(",", ":")).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        "authorization: Bearer sk-bench\r\ncontent-type: application/json\r\n"
        f"accept: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = bytearray()
        self._first_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def ask(self, due: float) -> None:
        """Send the request; `due` is when it should have been sent."""
        self._due = due
        self._first_at = 0.0
        self._received.clear()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        end = received.find(b"\r\n\r\n")
        if end < 0 or len(received) == end + 4:
            return
        if not self._first_at:
            self._first_at = time.perf_counter()
        head = bytes(received[:end]).lower()
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            if len(received) < end + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0]):
                return
            whole = b'"usage"' in received
        else:
            if not received.endswith(b"0\r\n\r\n"):
                return
            whole = b"data: [DONE]" in received and received.count(b"data: {") == 100
        good = whole and head.startswith(b"http/1.1 200")
        self._load.answered(self, self._due, self._first_at, good=good)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost()


class Load:
    """All connections, and what they measured."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.request = request(config["port"], stream=config["stream"])
        self._config = config
        self._free: deque[Client] = deque()
        self._waiting: deque[float] = deque()
        self._sent = 0
        self._done: list[tuple[float, float, float]] = []
        self._failed = 0
        self._stop_at = float("inf")
        self._finished = asyncio.Event()
        self._over = False

    async def run(self) -> dict[str, float]:
        """Ask, and return the figures."""
        config = self._config
        loop = asyncio.get_running_loop()
        clients = []
        for _ in range(config["connections"]):
            _, client = await loop.create_connection(
                lambda: Client(self), "127.0.0.1", config["port"]
            )
            clients.append(client)
        cpu, began = time.process_time(), time.perf_counter()
        if "seconds" in config:
            self._stop_at = began + config["seconds"]
            for client in clients:
                self._ask(client, time.perf_counter())
        else:
            self._free.extend(clients)
            await self._pace(began)
        await self._finished.wait()
        took = time.perf_counter() - began
        self._over = True
        return self._figures(began, took, (time.process_time() - cpu) / took)

    async def _pace(self, began: float) -> None:
        every = 1 / self._config["rate"]
        self._stop_at = 0.0
        for number in range(self._config["requests"]):
            due = began + number * every
            while (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            if self._free:
                self._ask(self._free.popleft(), due)
            else:
                self._waiting.append(due)
            if (
                number == self._config["requests"] - 1
                and len(self._done) + self._failed == self._sent
            ):
                self._finished.set()

    def _ask(self, client: Client, due: float) -> None:
        self._sent += 1
        client.ask(due)

    def answered(self, client: Client, due: float, first_at: float, *, good: bool) -> None:
        """Take one answer; let its connection go on."""
        now = time.perf_counter()
        if good:
            self._done.append((due, first_at, now))
        else:
            self._failed += 1
        if self._waiting:
            self._ask(client, self._waiting.popleft())
        elif now < self._stop_at and self._stop_at != 0.0:
            self._ask(client, now)
        else:
            self._free.append(client)
            expected = self._config.get("requests", self._sent)
            if len(self._done) + self._failed == self._sent == expected:
                self._finished.set()

    def lost(self) -> None:
        """Note a connection that was closed."""
        if not self._over:
            self._failed += 1
            self._finished.set()

    def _figures(self, began: float, took: float, cpu_share: float) -> dict[str, float]:
        from_s = began + _WARM_UP * took
        counted = [(d, f, e) for d, f, e in self._done if d >= from_s]
        whole = sorted((end - due) * 1000 for due, _, end in counted)
        first = sorted((at - due) * 1000 for due, at, _ in counted)
        return {
            "requests": len(self._done),
            "failed": self._failed,
            "rps": len(counted) / (took * (1 - _WARM_UP)),
            "p50_ms": at(whole, 0.5),
            "p99_ms": at(whole, 0.99),
            "ttft_p50_ms": at(first, 0.5),
            "ttft_p99_ms": at(first, 0.99),
            "cpu_share": cpu_share,
        }


def at(ordered: list[float], share: float) -> float:
    """Return a percentile of ordered values; NaN where there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(Load(json.loads(sys.argv[1])).run())) + "\n")
