"""One request is one span in a real collector and one count in a real Prometheus, all alike."""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.slow

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


def post(url, body, **headers):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return dict(answer.headers), answer.read()


def as_float(samples):
    return sum(float(s["value"][1]) for s in samples)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"], ids=["chat", "messages"])
def test_a_request_is_one_span_and_one_count_with_the_same_figures_everywhere(
    gateway, provider, rotel, prometheus, until, path, stream
):
    gw = gateway(
        OPENAI_BASE_URL=f"{provider}/v1",
        OPENAI_API_KEY="sk-server",
        ANTHROPIC_BASE_URL=provider,
        ANTHROPIC_API_KEY="sk-ant-server",
        OTEL_ENABLED="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=rotel.endpoint,
        PROMETHEUS_ENABLED="true",
    )
    prometheus.scrape(f"127.0.0.1:{gw.port}")
    chat = path.endswith("completions")
    model = "gpt-4o-mini" if chat else "claude-sonnet-4-5"
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Is it?"}]}
    if stream and chat:
        body["stream_options"] = {"include_usage": True}
    # Prometheus needs a sample from before the request to see a counter rise.
    until(lambda: prometheus.query(f'up{{instance="127.0.0.1:{gw.port}"}} == 1'))
    headers, _ = post(gw.url + path, body, **{"x-user-id": "user-7", "x-session-id": "session-7"})
    trace_id = headers["x-gatewayz-trace-id"]

    event = gw.event(trace_id)
    assert (event.usage.input_tokens, event.usage.output_tokens) == (1200, 300)
    assert (event.usage.cache_read_tokens, event.usage.reasoning_tokens) == (1000, 250)
    if not stream:
        assert float(headers["x-gatewayz-cost-usd"]) == float(event.cost.amount_usd)

    (span,) = until(lambda: rotel.spans(trace_id))
    found = span["attributes"]
    assert span["ID"] == event.span_id
    assert found["gen_ai.request.model"] == model
    assert found["gen_ai.provider.name"] == ("openai" if chat else "anthropic")
    assert found["gen_ai.usage.input_tokens"] == 1200
    assert found["gen_ai.usage.output_tokens"] == 300
    assert found["gen_ai.usage.cache_read.input_tokens"] == 1000
    assert found["gen_ai.usage.reasoning.output_tokens"] == 250
    assert found["user.id"] == "user-7"
    assert found["session.id"] == found["gen_ai.conversation.id"] == "session-7"
    assert float(found["gatewayz.cost.total_usd"].split("(")[-1].rstrip(")")) == pytest.approx(
        float(event.cost.amount_usd)
    )
    assert int(span["Start time"]) == event.start_time_ns
    assert int(span["End time"]) == event.end_time_ns
    if stream:
        first = (event.first_token_time_ns - event.start_time_ns) / 1e9
        assert float(found["gen_ai.response.time_to_first_chunk"]) == pytest.approx(first)

    mine = f'instance="127.0.0.1:{gw.port}"'
    until(lambda: as_float(prometheus.query(f"gatewayz_requests_total{{{mine}}}")) == 1, 30)
    tokens = prometheus.query(f"gatewayz_tokens_total{{{mine}}}")
    assert {t["metric"]["kind"]: float(t["value"][1]) for t in tokens} == {
        "input": 1200,
        "output": 300,
        "cache_read": 1000,
        "reasoning": 250,
    } | {t["metric"]["kind"]: 0.0 for t in tokens if float(t["value"][1]) == 0}
    cost = as_float(prometheus.query(f"gatewayz_cost_usd_total{{{mine}}}"))
    assert cost == pytest.approx(float(event.cost.amount_usd))
    seconds = as_float(prometheus.query(f"gen_ai_client_operation_duration_seconds_sum{{{mine}}}"))
    assert seconds == pytest.approx((event.end_time_ns - event.start_time_ns) / 1e9, abs=1e-5)
    exemplars = until(
        lambda: prometheus.exemplars(f"gen_ai_client_operation_duration_seconds_bucket{{{mine}}}")
    )
    assert {e["labels"]["trace_id"] for x in exemplars for e in x["exemplars"]} == {trace_id}
    assert len(rotel.spans(trace_id)) == 1
