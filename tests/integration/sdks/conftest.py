"""A provider of our own that answers the same every time, and misbehaves by the name of a model."""

import contextlib
import gzip
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gatewayz import Backend, BackendSettings, Tracer, hookimpl
from gatewayz.testing.sink import eventually

USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
TEXT = "Grüezi ☂"


def completion(model):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": TEXT},
            }
        ],
        "usage": USAGE,
    }


def chunk(model, delta=None, finish=None, usage=None):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
        "usage": usage,
    }


def response(model, status="completed"):
    text = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    done = status == "completed"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": model,
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 12, "output_tokens": 4, "total_tokens": 16} if done else None,
    }


def message(model):
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 4},
    }


def event(data, name=None):
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def chat_events(model):
    return [
        event(chunk(model, {"role": "assistant", "content": ""})),
        event(chunk(model, {"content": TEXT[:3]})),
        event(chunk(model, {"content": TEXT[3:]})),
        event(chunk(model, {}, "stop")),
        event(chunk(model, usage=USAGE)),
        b"data: [DONE]\n\n",
    ]


def response_events(model):
    delta = {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": TEXT,
        "logprobs": [],
        "sequence_number": 4,
    }
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    part = {"type": "output_text", "text": "", "annotations": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    made = [
        {
            "type": "response.created",
            "response": response(model, "in_progress"),
            "sequence_number": 1,
        },
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": item,
            "sequence_number": 2,
        },
        {"type": "response.content_part.added", **at, "part": part, "sequence_number": 3},
        delta,
        {"type": "response.completed", "response": response(model), "sequence_number": 5},
    ]
    return [event(m, m["type"]) for m in made]


def message_events(model):
    start = {**message(model), "content": [], "stop_reason": None}
    start["usage"] = {"input_tokens": 12, "output_tokens": 1}
    made = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": TEXT[:3]},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": TEXT[3:]},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 4},
        },
        {"type": "message_stop"},
    ]
    return [event(m, m["type"]) for m in made]


class Provider:
    """What arrived is in `requests`; a `held` stream goes on when `go` is set."""

    def __init__(self, url):
        self.url = url
        self.requests = []
        self.go = threading.Event()
        self.failures = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._note(b"")
        self._whole({"object": "list", "data": []})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["content-length"]))
        body = self._note(raw)
        provider = self.server.provider
        model, path = body.get("model", ""), self.path.partition("?")[0]
        if model == "flaky" and provider.failures < 2:
            provider.failures += 1
            self._whole({"error": {"message": "busy"}}, 503, {"retry-after-ms": "1"})
            return
        if model == "error-429":
            error = {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit"}
            self._whole({"type": "error", "error": error}, 429, {"x-should-retry": "false"})
            return
        if model == "never-answers":
            provider.go.wait(20)
            self.close_connection = True
            return
        if path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
            usage = {"prompt_tokens": 12, "total_tokens": 12}
            self._whole({"object": "list", "data": data, "model": model, "usage": usage})
        elif path.endswith("/completions") and not path.endswith("/chat/completions"):
            choice = {"index": 0, "text": TEXT, "finish_reason": "stop", "logprobs": None}
            self._whole(
                {
                    "id": "cmpl-1",
                    "object": "text_completion",
                    "created": 1,
                    "model": model,
                    "choices": [choice],
                    "usage": USAGE,
                }
            )
        elif path.endswith("/responses"):
            self._answer(body, response(model), response_events(model))
        elif path.endswith("/messages"):
            self._answer(body, message(model), message_events(model))
        elif path.endswith("/count_tokens"):
            self._whole({"input_tokens": 12})
        else:
            self._answer(body, completion(model), chat_events(model))

    def _note(self, raw):
        body = json.loads(raw) if raw else {}
        self.server.provider.requests.append((self.path, dict(self.headers.items()), body))
        return body

    def _answer(self, body, whole, events):
        if not body.get("stream"):
            self._whole(whole)
            return
        self._stream(body["model"], events)

    def _whole(self, value, status=200, headers=()):
        raw = json.dumps(value).encode()
        sent = {"content-type": "application/json", "x-request-id": "req-1", **dict(headers)}
        if "gzip" in self.headers.get("accept-encoding", ""):
            raw, sent["content-encoding"] = gzip.compress(raw), "gzip"
        self.send_response(status)
        for name, text in {**sent, "content-length": str(len(raw))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, model, events):
        encode = None
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        if model in {"br", "gzip"}:
            self.send_header("content-encoding", model)
            encode = compressor(model)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for number, part in enumerate(events):
                if number == 2 and model == "held":
                    self.server.provider.go.wait(20)
                if number == 2 and model == "reset":
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.close_connection = True
                    self.connection.close()
                    return
                if number == 2 and model == "cut":
                    break
                if number == 2 and model == "error-in-stream":
                    error = {"type": "overloaded_error", "message": "too much"}
                    self._part(event({"type": "error", "error": error}, "error"))
                    break
                self._part(encode(part) if encode else part)
            if encode:
                self._part(encode(None))
            self.wfile.write(b"0\r\n\r\n")

    def _part(self, part):
        if part:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()


def compressor(encoding):
    import zlib

    if encoding == "gzip":
        z = zlib.compressobj(wbits=31)
        return lambda part: (
            z.flush() if part is None else z.compress(part) + z.flush(zlib.Z_SYNC_FLUSH)
        )
    import brotli

    b = brotli.Compressor()
    return lambda part: b.finish() if part is None else b.process(part) + b.flush()


@pytest.fixture
def provider():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    server.provider = Provider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.provider
    server.provider.go.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


class Keeps(Backend):
    def __init__(self):
        super().__init__(BackendSettings(flush_interval=0, capture_content=True))
        self.spans = []
        self.begun = []

    @hookimpl
    def on_start(self, event):
        self.begun.append(event.span_id)

    @hookimpl
    def on_end(self, event):
        self.spans.append(event)

    def only(self):
        """Return the one span there is."""
        assert eventually(lambda: self.spans or None)
        assert self.tracer.flush(10)["complete"]
        assert len(self.spans) == 1
        return self.spans[0]

    def nothing(self):
        assert self.tracer.flush(10)["complete"]
        return not self.spans


@pytest.fixture
def kept():
    """Both SDKs, traced to a backend that keeps everything; undone afterwards."""
    backend = Keeps()
    tracer = backend.tracer = Tracer({}, backends={"keeps": backend})
    tracer.start()
    tracer.instrument("openai", "anthropic")
    yield backend
    tracer.uninstrument()
    tracer.shutdown(5)
