"""One request is one span in a real collector and one count in a real Prometheus, all alike."""

import json
import urllib.request

import pytest

pytestmark = pytest.mark.slow


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
