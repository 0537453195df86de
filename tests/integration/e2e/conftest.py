"""A provider with canned answers, and stand-ins for the services that every backend sends to."""

import importlib.util
import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gatewayz.testing import RecordingSink

OPENAI_USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 1000},
    "completion_tokens_details": {"reasoning_tokens": 250},
}
ANTHROPIC_USAGE = {
    "input_tokens": 200,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 0,
    "output_tokens": 300,
    "output_tokens_details": {"thinking_tokens": 250},
}
CHAT = {
    "id": "chatcmpl-canned",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}
    ],
    "usage": OPENAI_USAGE,
}
MESSAGE = {
    "id": "msg_canned",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Yes."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": ANTHROPIC_USAGE,
}


def chat_stream():
    head = {
        "id": "chatcmpl-s",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": CHAT["model"],
    }
    deltas = [{"role": "assistant", "content": ""}, {"content": "Ye"}, {"content": "s."}]
    for delta in deltas:
        yield None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield None, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield None, {**head, "choices": [], "usage": OPENAI_USAGE}
    yield None, "[DONE]"


def message_stream():
    start = {**MESSAGE, "content": [], "stop_reason": None}
    start["usage"] = {**ANTHROPIC_USAGE, "output_tokens": 1}
    yield "message_start", {"type": "message_start", "message": start}
    block = {"type": "text", "text": ""}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
    for text in ("Ye", "s."):
        delta = {"type": "text_delta", "text": text}
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {"output_tokens": 300, "output_tokens_details": {"thinking_tokens": 250}}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": usage}
    yield "message_stop", {"type": "message_stop"}


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        chat = self.path.endswith("/chat/completions")
        self.send_response(200)
        if not body.get("stream"):
            answer = json.dumps(CHAT if chat else MESSAGE).encode()
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            return
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event, value in chat_stream() if chat else message_stream():
            text = value if isinstance(value, str) else json.dumps(value)
            self.wfile.write(f"event: {event}\n".encode() if event else b"")
            self.wfile.write(f"data: {text}\n\n".encode())
            self.wfile.flush()

    def log_message(self, *_):
        pass


@pytest.fixture
def provider():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def langfuse():
    """The stand-in for Langfuse of the plugin's own tests; nothing is known of its keys' owner."""
    home = Path(__file__).parents[3] / "plugins" / "langfuse" / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("langfuse_stand_in_e2e", home)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.LangfuseServer()
    with server.sink:
        yield server


@pytest.fixture
def phoenix():
    """Takes all that a Phoenix takes."""
    with RecordingSink() as sink:
        yield sink


@pytest.fixture
def loki():
    """Takes every line."""
    with RecordingSink() as sink:
        yield sink


ROUTES = {
    "chat": ("/v1/chat/completions", "gpt-4o-mini"),
    "messages": ("/v1/messages", "claude-sonnet-4-5"),
}


class All:
    """A gateway with every backend on, and what each service received."""

    def __init__(self, gateway, provider, langfuse, phoenix, loki, rotel, **more):
        self.langfuse, self.phoenix, self.loki, self.rotel = langfuse, phoenix, loki, rotel
        self.gateway = gateway(
            **{
                "OPENAI_BASE_URL": f"{provider}/v1",
                "OPENAI_API_KEY": "sk-server",
                "ANTHROPIC_BASE_URL": provider,
                "ANTHROPIC_API_KEY": "sk-ant-server",
                "ADMIN_API_KEY": "admin-key",
                **langfuse.environ(),
                "ARIZE_ENABLED": "true",
                "ARIZE_COLLECTOR_ENDPOINT": phoenix.url,
                "LOKI_ENABLED": "true",
                "LOKI_PUSH_URL": loki.url,
                "OTEL_ENABLED": "true",
                "OTEL_EXPORTER_OTLP_ENDPOINT": rotel.endpoint,
                "PROMETHEUS_ENABLED": "true",
                "CONSOLE_ENABLED": "true",
                **more,
            }
        )
        self._printed = ""

    def post(self, path, body, **headers):
        request = urllib.request.Request(
            self.gateway.url + path,
            json.dumps(body).encode(),
            {"content-type": "application/json", **headers},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.headers, answer.read()

    def ask(self, kind, *, stream=False):
        """Send one request; return its trace id and its answer."""
        path, model = ROUTES[kind]
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Is?"}]}
        if stream and kind == "chat":
            body["stream_options"] = {"include_usage": True}
        headers, answer = self.post(path, body, **{"x-user-id": "u", "x-session-id": "s"})
        return headers["x-gatewayz-trace-id"], answer

    def settle(self):
        """Wait until every backend has what is due to it; return the ledger."""
        flushed = self.gateway.tracer.flush(15)
        assert flushed["complete"], flushed
        return self.gateway.tracer.status()["backends"]

    def status(self, path=""):
        request = urllib.request.Request(
            f"{self.gateway.url}/api/instrumentation{path}/status",
            headers={"authorization": "Bearer admin-key"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    # -- what arrived ------------------------------------------------------------------------------

    def phoenix_spans(self):
        found = []
        for request in self.phoenix.requests:
            if request.path == "/v1/traces":
                message = ExportTraceServiceRequest.FromString(request.body)
                found += [s for r in message.resource_spans for o in r.scope_spans for s in o.spans]
        return found

    def annotations(self):
        return [
            item
            for request in self.phoenix.requests
            if request.path.endswith("_annotations")
            for item in request.json()["data"]
        ]

    def lines(self, event):
        found = []
        for request in self.loki.requests:
            for stream in request.json()["streams"]:
                for _, text, ids in stream["values"]:
                    line = json.loads(text)
                    if line["event"] == event:
                        found.append(line | ids)
        return found

    def evaluations(self, trace_id):
        return [s for s in self.rotel.spans(trace_id) if s["Name"].startswith("evaluation")]

    def metrics(self):
        """Return the samples of the page by name, with their labels, values and exemplars."""
        request = urllib.request.Request(
            f"{self.gateway.url}/metrics", headers={"accept": "application/openmetrics-text"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read().decode()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample)
        return found

    def printed(self, capsys):
        # Reading empties it.
        self._printed += capsys.readouterr().err
        return [line for line in self._printed.splitlines() if "trace=" in line]


@pytest.fixture
def everything(gateway, provider, langfuse, phoenix, loki, rotel):
    """Return a function that starts a gateway with every backend on."""

    def start(**more):
        return All(gateway, provider, langfuse, phoenix, loki, rotel, **more)

    return start
