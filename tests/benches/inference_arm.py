"""One arm of the bench `inference`, in a process of its own: does inferences and times them.

Argument: {"arm": name, "sink": URL, "paced": count, "rate": per second, "blocks": count, "block":
count}. First `paced` inferences at `rate` a second; then `blocks` times `block` of them as fast as
they go, each block followed by a flush. Each one is timed, and the processor time of both parts.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL, ANSWERED_BY, PROVIDER = "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai"
TOKENS_IN, TOKENS_OUT, COST_USD = 512, 256, 0.000231
TAGS = ["eval", "beta"]
_WARM_UP = 200
_FLUSH_S = 60


class Call:
    """What one inference is about: 2 KB in, 1 KB out."""

    def __init__(self, number: int) -> None:
        question = f"Question {number}: " + "lorem ipsum dolor sit " * 84
        self.messages = [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": question},
        ]
        self.answer = {"role": "assistant", "content": f"Answer {number}: " + "consectetur " * 80}
        self.user = f"user-{number % 50}"
        self.session = f"session-{number}"


class Arm(Protocol):
    """One way to trace an inference."""

    def infer(self, call: Call) -> None:
        """Do what an application does around its model call, without the call."""

    def flush(self) -> None:
        """Deliver everything."""

    def counted(self) -> float:
        """Return how many requests the Prometheus counters have."""


class Facade:
    """The facade, with whatever backends the environment enables."""

    def __init__(self, environ: dict[str, str]) -> None:
        os.environ.update(environ)
        from gatewayz import AITracer

        self._tracer = AITracer
        self._enabled = bool(environ)
        if self._enabled:
            AITracer.start()

    def infer(self, call: Call) -> None:
        with self._tracer.trace_inference(
            provider=PROVIDER, model=MODEL, user_id=call.user, session_id=call.session, tags=TAGS
        ) as ctx:
            ctx.set_input(call.messages)
            ctx.set_output(call.answer)
            ctx.set_response_model(ANSWERED_BY)
            ctx.set_token_usage(TOKENS_IN, TOKENS_OUT)
            ctx.set_cost(COST_USD)

    def flush(self) -> None:
        if self._enabled and not self._tracer.flush(_FLUSH_S)["complete"]:
            msg = f"not everything was delivered: {self._tracer.status()}"
            raise RuntimeError(msg)

    def counted(self) -> float:
        for instance in self._tracer.instances():
            if instance.name == "prometheus" and instance.backend is not None:
                series = instance.backend.snapshot()["counters"]["gatewayz_requests_total"]
                return float(sum(value for _, value, _ in series))
        return 0.0


class ByHand:
    """OpenTelemetry's SDK and prometheus_client, used as their documentation shows.

    The attributes are those the facade's otel backend sends, the metrics those of its prometheus
    backend (less exemplars and the gauge of requests in flight, so a little less work).
    """

    def __init__(self, sink: str, *, content: bool) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from prometheus_client import REGISTRY, Counter, Histogram

        self._content = content
        self._client = trace.SpanKind.CLIENT
        self._provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
        exporter = OTLPSpanExporter(f"{sink}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("bench")
        self._registry = REGISTRY
        labels = ["operation", "provider", "request_model", "response_model"]
        seconds = [0.01 * 2**power for power in range(14)]
        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Duration.",
            [*labels, "error"],
            buckets=seconds,
        )
        self._token_usage = Histogram(
            "gen_ai_client_token_usage",
            "Tokens.",
            [*labels, "type"],
            buckets=[4**p for p in range(14)],
        )
        self._requests = Counter(
            "gatewayz_requests", "Requests.", ["provider", "model", "operation", "outcome", "team"]
        )
        self._tokens = Counter("gatewayz_tokens", "Tokens.", ["provider", "model", "kind"])
        self._cost = Counter("gatewayz_cost_usd", "Cost.", ["provider", "model", "team"])

    def infer(self, call: Call) -> None:
        began = time.perf_counter()
        with self._tracer.start_as_current_span(f"chat {MODEL}", kind=self._client) as span:
            span.set_attributes(
                {
                    "gatewayz.kind": "generation",
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": PROVIDER,
                    "gen_ai.system": PROVIDER,
                    "gen_ai.request.model": MODEL,
                    "user.id": call.user,
                    "session.id": call.session,
                    "gen_ai.conversation.id": call.session,
                    "gatewayz.tags": TAGS,
                }
            )
            if self._content:
                system, asked = call.messages
                parts = [_message(system), _message(asked)]
                span.set_attribute("gen_ai.input.messages", json.dumps(parts))
                answered = [{**_message(call.answer), "finish_reason": "stop"}]
                span.set_attribute("gen_ai.output.messages", json.dumps(answered))
            span.set_attributes(
                {
                    "gen_ai.response.model": ANSWERED_BY,
                    "gen_ai.usage.input_tokens": TOKENS_IN,
                    "gen_ai.usage.output_tokens": TOKENS_OUT,
                    "gatewayz.usage.total_tokens": TOKENS_IN + TOKENS_OUT,
                    "gatewayz.cost.total_usd": COST_USD,
                    "gatewayz.cost.source": "caller",
                    "gatewayz.outcome": "ok",
                }
            )
        inference = ("chat", PROVIDER, MODEL, ANSWERED_BY)
        self._duration.labels(*inference, "").observe(time.perf_counter() - began)
        self._token_usage.labels(*inference, "input").observe(TOKENS_IN)
        self._token_usage.labels(*inference, "output").observe(TOKENS_OUT)
        self._requests.labels(PROVIDER, MODEL, "chat", "ok", "").inc()
        self._tokens.labels(PROVIDER, MODEL, "input").inc(TOKENS_IN)
        self._tokens.labels(PROVIDER, MODEL, "output").inc(TOKENS_OUT)
        self._cost.labels(PROVIDER, MODEL, "").inc(COST_USD)

    def flush(self) -> None:
        if not self._provider.force_flush(_FLUSH_S * 1000):
            msg = "force_flush() did not end in time"
            raise RuntimeError(msg)

    def counted(self) -> float:
        labels = {
            "provider": PROVIDER,
            "model": MODEL,
            "operation": "chat",
            "outcome": "ok",
            "team": "",
        }
        return self._registry.get_sample_value("gatewayz_requests_total", labels) or 0.0


def _message(message: dict[str, str]) -> dict[str, Any]:
    return {"role": message["role"], "parts": [{"type": "text", "content": message["content"]}]}


def arm(name: str, sink: str) -> Arm:
    """Return an arm by its name."""
    # All of them send the same bytes the same way: by default the facade compresses, the SDK does not.
    os.environ["OTEL_EXPORTER_OTLP_COMPRESSION"] = "gzip"
    otel = {"OTEL_ENABLED": "true", "OTEL_ENDPOINT": sink, "OTEL_SERVICE_NAME": "bench"}
    both = {**otel, "PROMETHEUS_ENABLED": "true"}
    four = {
        **both,
        "LANGFUSE_ENABLED": "true",
        "LANGFUSE_PUBLIC_KEY": "pk-lf-bench",
        "LANGFUSE_SECRET_KEY": "sk-lf-bench",
        "LANGFUSE_HOST": sink,
        "ARIZE_ENABLED": "true",
        "ARIZE_COLLECTOR_ENDPOINT": f"{sink}/arize",
    }
    if name == "off":
        return Facade({})
    if name == "on":
        return Facade(both)
    if name == "on_content":
        return Facade({**both, "OTEL_CAPTURE_CONTENT": "true"})
    if name in {"by_hand", "by_hand_content"}:
        return ByHand(sink, content=name == "by_hand_content")
    if name == "four":
        return Facade(four)
    if name == "four_by_hand":
        from tests.benches.four_sdks import FourByHand

        return FourByHand(sink)
    if name == "litellm":
        from tests.benches.litellm_callbacks import LiteLLM

        return LiteLLM(sink)
    raise ValueError(name)


def main() -> None:
    """Measure one arm and print the figures."""
    config = json.loads(sys.argv[1])
    traced = arm(config["arm"], config["sink"])
    infer = traced.infer
    calls = itertools.cycle([Call(number) for number in range(64)])
    for _ in range(_WARM_UP):
        infer(next(calls))
    traced.flush()

    count = config["paced"]
    cpu = time.process_time()
    paced = at_a_rate(infer, list(itertools.islice(calls, count)), config["rate"])
    traced.flush()
    paced_cpu_s = (time.process_time() - cpu) / count

    crowded: list[int] = []
    cpu = time.process_time()
    for _ in range(config["blocks"]):
        crowded += back_to_back(infer, list(itertools.islice(calls, config["block"])))
        traced.flush()
    figures = {
        "paced_p50_us": percentile_us(paced, 0.5),
        "paced_p99_us": percentile_us(paced, 0.99),
        "paced_cpu_us": paced_cpu_s * 1e6,
        "p50_us": percentile_us(crowded, 0.5),
        "p99_us": percentile_us(crowded, 0.99),
        "cpu_us": (time.process_time() - cpu) / len(crowded) * 1e6,
        "inferences": _WARM_UP + count + len(crowded),
        "counted": traced.counted(),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def at_a_rate(infer: Callable[[Call], None], calls: list[Call], rate: float) -> list[int]:
    """Do inferences at a rate, asleep between them; return the nanoseconds each took."""
    clock = time.perf_counter_ns
    took = []
    every = int(1e9 / rate)
    due = clock()
    for call in calls:
        due += every
        while (left := due - clock()) > 0:
            time.sleep(left / 1e9)
        at = clock()
        infer(call)
        took.append(clock() - at)
    return took


def back_to_back(infer: Callable[[Call], None], calls: list[Call]) -> list[int]:
    """Do inferences as fast as they go; return the nanoseconds each took."""
    clock = time.perf_counter_ns
    took = []
    for call in calls:
        at = clock()
        infer(call)
        took.append(clock() - at)
    return took


def percentile_us(took: list[int], share: float) -> float:
    """Return a percentile of nanoseconds, in microseconds."""
    return sorted(took)[int(len(took) * share)] / 1000


if __name__ == "__main__":
    main()
