"""`LangfuseConfig` and `LangfuseTracer`: Langfuse used directly, beside the facade."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

from gatewayz.errors import SettingsError
from gatewayz_langfuse.client import LangfuseClient
from gatewayz_langfuse.settings import DEFAULT_HOST

if TYPE_CHECKING:
    from gatewayz import InferenceContext, Tracer
    from gatewayz.registry import Instance

__all__ = ["LangfuseConfig", "LangfuseTracer"]


class LangfuseConfig:
    """The process's connection to Langfuse, as the environment configures it.

    All methods are class methods. `instance` names another destination than `langfuse`, such as
    `langfuse/team-a`. A subclass with a `tracer` of its own works on that one.
    """

    tracer: ClassVar[Tracer | None] = None
    """The tracer whose langfuse backend is meant; None is `gatewayz.AITracer`."""
    _lock: ClassVar[threading.RLock] = threading.RLock()
    _clients: ClassVar[dict[tuple[int, str], tuple[Tracer, LangfuseClient]]] = {}

    @classmethod
    def get_client(cls, instance: str = "langfuse") -> LangfuseClient | None:
        """Return the client, the same one each time; None where Langfuse is not enabled or failed.

        The first call loads the enabled backends, which takes a moment.
        """
        found = cls._found(instance)
        if found is None or found.backend is None or found.state != "active":
            return None
        tracer = cls.active_tracer()
        with cls._lock:
            known = cls._clients.get((id(tracer), instance))
            if known is None:
                client = LangfuseClient(tracer, instance, found.backend.settings)
                # The tracer is kept too, so that no other one gets its number.
                known = cls._clients[id(tracer), instance] = (tracer, client)
        return known[1]

    @classmethod
    def flush(cls, timeout_s: float = 10.0, instance: str = "langfuse") -> dict[str, Any]:
        """Deliver what waits for Langfuse, in at most `timeout_s` seconds; return the ledger.

        `{"complete": bool, "backends": {…}}`; nothing happens where Langfuse is not enabled.
        """
        client = cls.get_client(instance)
        return {"complete": True, "backends": {}} if client is None else client.flush(timeout_s)

    @classmethod
    def is_enabled(cls, instance: str = "langfuse") -> bool:
        """Tell whether Langfuse is switched on, be it working or not."""
        found = cls._found(instance)
        return found is not None and found.enabled

    @classmethod
    def status(cls, instance: str = "langfuse") -> dict[str, Any]:
        """Return what `GET /api/instrumentation/langfuse/status` answers: six keys, no secret."""
        found = cls._found(instance)
        settings = None if found is None or found.backend is None else found.backend.settings
        return {
            "enabled": found is not None and found.enabled,
            "initialized": found is not None and found.state == "active",
            "host": DEFAULT_HOST if settings is None else settings.host,
            "public_key_configured": settings is not None,
            "secret_key_configured": settings is not None,
            "environment": cls.active_tracer().settings.environment,
        }

    @classmethod
    def active_tracer(cls) -> Tracer:
        """Return the tracer whose langfuse backend is meant."""
        if cls.tracer is not None:
            return cls.tracer
        from gatewayz import AITracer

        return AITracer

    @classmethod
    def _found(cls, instance: str) -> Instance | None:
        tracer = cls.active_tracer()
        try:
            tracer.start()
        except SettingsError:
            # The tracer has logged it; without settings there is no Langfuse either.
            return None
        return next((i for i in tracer.instances() if i.name == instance), None)


class LangfuseTracer:
    """Traces to Langfuse alone, with the context of the facade."""

    config: ClassVar[type[LangfuseConfig]] = LangfuseConfig

    @classmethod
    def trace_generation(
        cls, provider: str = "", model: str = "", *, instance: str = "langfuse", **options: Any
    ) -> InferenceContext:
        """Trace one generation: `with` or `async with` around the model call.

        Options and context are those of `AITracer.trace_inference`: `set_input`, `set_output`,
        `set_token_usage`, `set_cost`, `set_prompt`, `score` and the rest. It reaches Langfuse and
        no other backend; where Langfuse is not enabled the block simply runs.
        """
        return cls.config.active_tracer().trace_inference(
            provider, model, backend=instance, **options
        )

    @classmethod
    def flush(cls, timeout_s: float = 10.0) -> dict[str, Any]:
        """Deliver what waits for Langfuse; as `LangfuseConfig.flush`."""
        return cls.config.flush(timeout_s)
