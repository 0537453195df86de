"""The arm `litellm` of the bench `inference`: LiteLLM's own langfuse, arize, otel and prometheus.

Runs in a Python environment of its own, without gatewayz. Each inference does what LiteLLM's client
wrapper, and so its proxy, does around a model call: a `Logging` object, the asynchronous callbacks
on the event loop, the synchronous ones in its thread pool.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime as dt
import os
import uuid
from typing import TYPE_CHECKING, Any

from tests.benches.inference_arm import ANSWERED_BY, MODEL, PROVIDER, TAGS, TOKENS_IN, TOKENS_OUT

if TYPE_CHECKING:
    from tests.benches.inference_arm import Call

__all__ = ["LiteLLM"]

_COUNTER = "litellm_proxy_total_requests_metric_total"
_FLUSH_MS = 60_000


class LiteLLM:
    """LiteLLM's four callbacks, with their defaults, sending over HTTP."""

    def __init__(self, sink: str) -> None:
        os.environ.update(
            LANGFUSE_PUBLIC_KEY="pk-lf-bench",
            LANGFUSE_SECRET_KEY="sk-lf-bench",
            LANGFUSE_HOST=sink,
            ARIZE_SPACE_ID="bench",
            ARIZE_API_KEY="bench",
            ARIZE_HTTP_ENDPOINT=f"{sink}/arize/v1/traces",
            OTEL_EXPORTER="otlp_http",
            OTEL_ENDPOINT=f"{sink}/v1/traces",
            # Its list of prices, from the package instead of from GitHub.
            LITELLM_LOCAL_MODEL_COST_MAP="true",
        )
        import litellm  # type: ignore[import-not-found]
        from litellm.litellm_core_utils import litellm_logging, rules, thread_pool_executor  # type: ignore[import-not-found]
        from litellm.utils import function_setup  # type: ignore[import-not-found]

        litellm.callbacks = ["langfuse", "arize", "otel", "prometheus"]
        self._litellm = litellm
        self._set_up = function_setup
        self._rules = rules.Rules()
        self._handed: list[concurrent.futures.Future[Any]] = []
        self._watch(thread_pool_executor.executor)
        self._loggers = litellm_logging._in_memory_loggers
        self._loop = asyncio.new_event_loop()

    def _watch(self, pool: Any) -> None:
        """Remember what its thread pool is given, to know when that is done."""
        submit = pool.submit

        def remembered(*job: Any, **named: Any) -> concurrent.futures.Future[Any]:
            handed: concurrent.futures.Future[Any] = submit(*job, **named)
            self._handed.append(handed)
            return handed

        pool.submit = remembered

    def infer(self, call: Call) -> None:
        self._loop.run_until_complete(self._infer(call))

    async def _infer(self, call: Call) -> None:
        # Times without a zone: its callbacks compare them with `datetime.now()`.
        began = dt.datetime.now()
        metadata = {"tags": TAGS, "session_id": call.session, "trace_user_id": call.user}
        logging, _ = self._set_up(
            "acompletion",
            self._rules,
            began,
            model=MODEL,
            messages=call.messages,
            user=call.user,
            metadata=metadata,
            litellm_call_id=str(uuid.uuid4()),
        )
        logging.update_environment_variables(
            model=MODEL,
            user=call.user,
            optional_params={},
            litellm_params={"metadata": metadata, "api_base": ""},
            custom_llm_provider=PROVIDER,
        )
        answer = self._litellm.ModelResponse(
            model=ANSWERED_BY,
            choices=[{"index": 0, "message": call.answer, "finish_reason": "stop"}],
            usage={
                "prompt_tokens": TOKENS_IN,
                "completion_tokens": TOKENS_OUT,
                "total_tokens": TOKENS_IN + TOKENS_OUT,
            },
        )
        ended = dt.datetime.now()
        await logging.async_success_handler(result=answer, start_time=began, end_time=ended)
        logging.handle_sync_success_callbacks_for_async_calls(answer, began, ended)

    def flush(self) -> None:
        concurrent.futures.wait(self._handed)
        self._handed.clear()
        for logger in self._loggers:
            provider = _provider(logger)
            if provider is not None and not provider.force_flush(_FLUSH_MS):
                msg = f"{logger}: force_flush() did not end in time"
                raise RuntimeError(msg)

    def counted(self) -> float:
        from prometheus_client import REGISTRY

        samples = (s for metric in REGISTRY.collect() for s in metric.samples)
        return sum(s.value for s in samples if s.name == _COUNTER)


def _provider(logger: Any) -> Any:
    """Return what flushes the spans of one of LiteLLM's loggers, None where it has none."""
    if hasattr(logger, "tracing"):
        return logger.tracing.provider
    if hasattr(logger, "_tracer_provider"):
        return logger._tracer_provider
    return logger.tracer.span_processor if hasattr(logger, "tracer") else None
