"""The arm `four_by_hand` of the bench `inference`: four vendors' libraries, side by side.

The langfuse SDK's client, arize-otel's exporter behind a TracerProvider, the OpenTelemetry SDK and
prometheus_client. Spans have the attributes that the facade's backends send, which `inference`
compares at the collector.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.benches.inference_arm import (
    ANSWERED_BY,
    COST_USD,
    MODEL,
    PROVIDER,
    TAGS,
    TOKENS_IN,
    TOKENS_OUT,
    ByHand,
)

if TYPE_CHECKING:
    from tests.benches.inference_arm import Call

__all__ = ["FourByHand"]

_FLUSH_S = 60


class FourByHand(ByHand):
    """What each library's documentation shows, one after the other.

    The observations are not each other's parents, as they would be where each were the current
    span: three services get a root span each, as the facade gives them. (Three trace ids, that is;
    the facade has one.)
    """

    def __init__(self, sink: str) -> None:
        super().__init__(sink, content=False)
        from arize.otel import HTTPSpanExporter  # type: ignore[import-untyped]
        from langfuse import Langfuse, propagate_attributes
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import Status, StatusCode

        self._ok = Status(StatusCode.OK)
        self._langfuse = Langfuse(
            public_key="pk-lf-bench",
            secret_key="sk-lf-bench",
            base_url=sink,
            environment="production",
            tracer_provider=TracerProvider(),
        )
        self._propagated = propagate_attributes
        resource = Resource.create({"openinference.project.name": "default"})
        self._arize_provider = TracerProvider(resource=resource)
        exporter = HTTPSpanExporter(
            endpoint=f"{sink}/arize/v1/traces", space_id="bench", api_key="bench"
        )
        self._arize_provider.add_span_processor(BatchSpanProcessor(exporter))
        self._arize = self._arize_provider.get_tracer("bench")

    def infer(self, call: Call) -> None:
        self._in_langfuse(call)
        self._in_arize(call)
        super().infer(call)

    def _in_langfuse(self, call: Call) -> None:
        about = {
            "provider": PROVIDER,
            "operation": "chat",
            "outcome": "ok",
            "response_model": ANSWERED_BY,
            "cost_source": "caller",
        }
        with (
            self._propagated(
                user_id=call.user,
                session_id=call.session,
                tags=[PROVIDER, *TAGS],
                trace_name=f"chat {MODEL}",
            ),
            self._langfuse.start_as_current_observation(
                name=f"chat {MODEL}", as_type="generation", model=MODEL, input=call.messages
            ) as observed,
        ):
            observed.update(
                output=call.answer,
                level="DEFAULT",
                metadata=about,
                usage_details={"input": TOKENS_IN, "output": TOKENS_OUT},
                cost_details={"total": COST_USD},
            )

    def _in_arize(self, call: Call) -> None:
        with self._arize.start_as_current_span(f"chat {MODEL}", kind=self._client) as span:
            span.set_attributes(
                {
                    "openinference.span.kind": "LLM",
                    "llm.request.model_name": MODEL,
                    "llm.provider": PROVIDER,
                    "llm.system": PROVIDER,
                    "user.id": call.user,
                    "session.id": call.session,
                    "tag.tags": TAGS,
                    "input.value": json.dumps(call.messages),
                    "input.mime_type": "application/json",
                }
            )
            for number, message in enumerate(call.messages):
                at = f"llm.input_messages.{number}.message"
                span.set_attribute(f"{at}.role", message["role"])
                span.set_attribute(f"{at}.content", message["content"])
            at = "llm.output_messages.0.message"
            span.set_attributes(
                {
                    "output.value": json.dumps(call.answer),
                    "output.mime_type": "application/json",
                    f"{at}.role": call.answer["role"],
                    f"{at}.content": call.answer["content"],
                    "llm.model_name": ANSWERED_BY,
                    "llm.response.model_name": ANSWERED_BY,
                    "llm.token_count.prompt": TOKENS_IN,
                    "llm.token_count.completion": TOKENS_OUT,
                    "llm.token_count.total": TOKENS_IN + TOKENS_OUT,
                    "llm.cost.total": COST_USD,
                    "gatewayz.cost.source": "caller",
                    "gatewayz.outcome": "ok",
                }
            )
            span.set_status(self._ok)

    def flush(self) -> None:
        self._langfuse.flush()
        if not self._arize_provider.force_flush(_FLUSH_S * 1000):
            msg = "arize: force_flush() did not end in time"
            raise RuntimeError(msg)
        super().flush()
