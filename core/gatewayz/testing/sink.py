"""A loopback HTTP server that records what a backend sends, and can misbehave in every known way.

    with RecordingSink() as sink:
        post(sink.url, b"[1]")
        assert sink.requests[0].json() == [1]
        sink.answer_with(status(429, {"Retry-After": "7"}))

How it answers is a `Behaviour`: a function from the `Request` to an `Answer`. The ones below cover
the failures that a backend meets; any function of that shape will do. Each connection has a
thread of its own, so one hanging request holds up nothing else.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = [
    "Answer",
    "Behaviour",
    "RecordingSink",
    "Request",
    "all_but_one",
    "dead_address",
    "drip",
    "eventually",
    "hang",
    "in_turn",
    "limit",
    "ok",
    "poison",
    "redirect",
    "reset",
    "status",
]

_JSON = MappingProxyType({"Content-Type": "application/json"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived.

    `headers` have lower-case names; `body` is decompressed, `wire_bytes` is its size before that.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    wire_bytes: int

    def json(self) -> Any:
        """Return the body, decoded from JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sink does with one request.

    `hold` keeps everything back until `RecordingSink.release`; `drip_s` sends one byte of an
    endless body each so many seconds; `reset` breaks the connection instead of answering.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    body: bytes = b"{}"
    hold: bool = False
    drip_s: float | None = None
    reset: bool = False


Behaviour = Callable[[Request], Answer]
"""How a sink answers: called once for each request, on that connection's thread."""


def ok(body: bytes = b"{}", headers: Mapping[str, str] = _JSON) -> Behaviour:
    """Take everything: 200."""
    return lambda _: Answer(200, headers, body)


def status(code: int, headers: Mapping[str, str] = _JSON, body: bytes = b"{}") -> Behaviour:
    """Answer every request with this status and these headers."""
    return lambda _: Answer(code, headers, body)


def redirect(location: str, code: int = 307) -> Behaviour:
    """Send the client elsewhere."""
    return lambda request: Answer(code, {"Location": location + request.path}, b"")


def hang() -> Behaviour:
    """Read the request and say nothing until `RecordingSink.release` is called."""
    return lambda _: Answer(hold=True)


def drip(every_s: float = 0.1) -> Behaviour:
    """Answer 200, then send the body a byte at a time, for ever: read timeouts never fire."""
    return lambda _: Answer(drip_s=every_s)


def reset() -> Behaviour:
    """Break the connection after having read the request: the outcome is unknown to the client."""
    return lambda _: Answer(reset=True)


def limit(max_bytes: int) -> Behaviour:
    """Answer 413 to a body of more than `max_bytes` (decompressed), 200 to the rest."""
    return lambda request: Answer(413) if len(request.body) > max_bytes else Answer()


def poison(marker: bytes | str, code: int = 400) -> Behaviour:
    """Refuse a request whose body holds `marker` anywhere, take the rest."""
    wanted = marker.encode() if isinstance(marker, str) else marker
    return lambda request: Answer(code) if wanted in request.body else Answer()


def all_but_one(marker: bytes | str) -> Behaviour:
    """Take a JSON array and refuse the items that hold `marker`: 207 with one entry for each.

    The answer reads `{"successes": […], "errors": [{"index", "status", "message"}]}`; an item's
    `id` is repeated where it has one. An object with a `batch` array is read like that array.
    """
    wanted = marker.decode() if isinstance(marker, bytes) else marker

    def answer(request: Request) -> Answer:
        items = request.json()
        items = items["batch"] if isinstance(items, dict) else items
        taken: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        for index, item in enumerate(items):
            entry = {"index": index}
            if isinstance(item, dict) and "id" in item:
                entry["id"] = item["id"]
            if wanted in json.dumps(item, ensure_ascii=False):
                refused.append({**entry, "status": 400, "message": "refused by the sink"})
            else:
                taken.append({**entry, "status": 201})
        body = json.dumps({"successes": taken, "errors": refused}).encode()
        return Answer(207, _JSON, body)

    return answer


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Answer the first request like the first behaviour, and so on; the last one stays."""
    if not behaviours:
        msg = "in_turn needs at least one behaviour"
        raise ValueError(msg)
    counter = itertools.count()
    last = len(behaviours) - 1

    def answer(request: Request) -> Answer:
        return behaviours[min(next(counter), last)](request)

    return answer


def dead_address() -> str:
    """Return an http URL on loopback where nothing listens: connections are refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class RecordingSink:
    """A loopback HTTP server that keeps every request; a context manager.

    `requests` grows in the order of arrival, before the answer is sent. Thread safe. Leaving the
    block releases what hangs, closes every connection and frees the port.
    """

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self._behaviour = behaviour or ok()
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="recording-sink", daemon=True
        )
        self.host = "127.0.0.1"
        self.port: int = self._server.server_address[1]
        self.url = f"http://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join(5)

    @property
    def requests(self) -> list[Request]:
        """Return a copy of what has arrived so far."""
        with self._changed:
            return [*self._requests]

    @property
    def connections(self) -> int:
        """Return how many connections were opened so far, those without a request included."""
        return self._server.opened

    def clear(self) -> None:
        """Forget the requests recorded so far."""
        with self._changed:
            self._requests.clear()

    def answer_with(self, behaviour: Behaviour) -> None:
        """Answer like this from the next request on; what hangs goes on hanging."""
        self._behaviour = behaviour

    def release(self) -> None:
        """Let every request that hangs, now or later, be answered, and every drip end."""
        self._released.set()

    def wait_for(self, count: int, timeout_s: float = 5.0) -> list[Request]:
        """Return the requests once there are `count`; TimeoutError when they do not come."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout_s):
                msg = f"{len(self._requests)} of {count} requests arrived within {timeout_s} s"
                raise TimeoutError(msg)
            return [*self._requests]

    def bodies(self) -> Sequence[bytes]:
        """Return the decompressed bodies of all requests so far."""
        return [request.body for request in self.requests]

    # -- called by the connections' threads ------------------------------------------------------

    def _take(self, request: Request) -> Answer:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        answer = self._behaviour(request)
        if answer.hold:
            self._released.wait()
        return answer

    def _is_released(self, within_s: float) -> bool:
        return self._released.wait(within_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, sink: RecordingSink) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sink = sink
        self.opened = 0
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.opened += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in [*self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that gives up in the middle is what these tests are about; socketserver
        # would print a traceback for each.
        del request, client_address


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        sink = self.server.sink
        answer = sink._take(self._request())  # noqa: SLF001 - one room, two classes
        if answer.reset:
            # Linger 0 makes close() send RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return
        self.send_response_only(answer.status)
        self.send_header("Date", self.date_time_string())
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.drip_s is None:
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            return
        self.close_connection = True
        self.send_header("Content-Length", "1000000000")
        self.end_headers()
        while not sink._is_released(answer.drip_s):  # noqa: SLF001 - as above
            self.wfile.write(b" ")
            self.wfile.flush()

    def __getattr__(self, name: str) -> Any:
        # The base class asks for do_GET, do_POST, …: every method is answered alike.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _request(self) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        raw = self._body(headers)
        parts = urlsplit(self.path)
        body = _decompressed(raw, headers.get("content-encoding", ""))
        return Request(self.command, parts.path, parts.query, headers, body, len(raw))

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length", "0")))
        chunks: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


def _decompressed(raw: bytes, encoding: str) -> bytes:
    match encoding.strip().lower():
        case "gzip":
            return gzip.decompress(raw)
        case "deflate":
            return zlib.decompress(raw)
        case _:
            return raw


def eventually(holds: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    """Return whether `holds()` became true within `timeout_s` seconds; asked every 5 ms."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
